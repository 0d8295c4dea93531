-- Looks whether a request may pass, and counts nothing. KEYS and ARGV as limit.lua has them.
-- Returns {1 if it may pass else 0, how much is missing}.
-- A script so that the moment comes from the clock that counts.
local moment = now * 1000
local missing = math.max((tonumber(call('GET', KEYS[1])) or 0) - moment, 0)
return { missing <= tonumber(ARGV[3]) and 1 or 0, missing }
