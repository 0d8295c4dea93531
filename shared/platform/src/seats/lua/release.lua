-- Frees the seat of one session, if it still has it. ARGV: 2 session key, 3 interval, 4 tolerance
-- KEYS[9] is what is kept of the session's limit once it has ended, counted as gcra.lua has it.
-- Returns {'cold'}, or {'released'|'limited', what is missing of the allowance, used}. It is freed in either case: a limit
-- refuses answers to repeated releases, and never keeps a seat from others.
-- Atomic because the number must not be freed for a later session that took it in between.
if call('HEXISTS', POLICY, 'warm') == 0 then return { 'cold' } end
local sat = remove(ARGV[2])
-- While it sits, nobody has counted it here.
local may, missing = pass(KEYS[9], tonumber(ARGV[3]), tonumber(ARGV[4]), sat)
settle()
return { may and 'released' or 'limited', missing, used() }
