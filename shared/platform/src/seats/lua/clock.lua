-- The time; put in front of every script but the heartbeat's when it is loaded.
-- ARGV[1] is the time in ms where a test moves it, '' in production: then Redis' own clock counts, and no other.
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A number as an argument of a command: Redis itself would write it out as a float of 17 digits, which takes longer than some commands do.
local function digits(number)
    return string.format('%d', number)
end
