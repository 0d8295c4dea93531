-- How many seats are in use, and by which policy version Redis goes. Takes no seat. ARGV: 2 interval, 3 tolerance
-- KEYS[9] is what is kept of the limit of the license key at this address, counted as gcra.lua has it.
-- Returns {'cold'}, or, each with what is missing of the allowance behind the word: {'limited'} or {'occupied', used, version}.
-- A script so that time and count come from one moment and one clock.
local known = call('HMGET', POLICY, 'warm', 'version')
if not known[1] then return { 'cold' } end
local may, missing = pass(KEYS[9], tonumber(ARGV[2]), tonumber(ARGV[3]))
if not may then return { 'limited', missing } end
settle()
return { 'occupied', missing, used(), tonumber(known[2]) }
