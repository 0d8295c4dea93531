-- Takes out counters that have been recorded. KEYS: the usage of each license. ARGV: from 2 on for each license: how many
-- counters, then each with the number that was recorded
-- Returns {how many were taken out}.
-- Atomic because a counter that has grown since then must stay.
local taken, arg = 0, 2
for i = 1, #KEYS do
    for _ = 1, tonumber(ARGV[arg]) do
        local counter, recorded = ARGV[arg + 1], tonumber(ARGV[arg + 2])
        local counted = call('HGET', KEYS[i], counter)
        if counted and (tonumber(counted) or 0) <= recorded then taken = taken + call('HDEL', KEYS[i], counter) end
        arg = arg + 2
    end
    arg = arg + 1
end
return { taken }
