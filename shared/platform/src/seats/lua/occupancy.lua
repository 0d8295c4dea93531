-- How many seats are in use, and by which policy version Redis goes. Takes no seat.
-- Returns {'cold'} or {'occupied', used, version}.
-- A script so that time and count come from one moment and one clock.
local known = call('HMGET', POLICY, 'warm', 'version')
if not known[1] then return { 'cold' } end
settle()
return { 'occupied', used(), tonumber(known[2]) }
