-- Counts one request. KEYS: 1 what is kept of its caller. ARGV: 2 interval, 3 tolerance (µs, as gcra.lua has them)
-- Returns {1 if it may pass else 0, how much is missing}.
-- A script so that requests at the same moment are counted one by one, by Redis' clock.
local may, missing = pass(KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
return { may and 1 or 0, missing }
