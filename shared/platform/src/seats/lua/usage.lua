-- Tells what was counted of licenses, and changes nothing. KEYS: the usage of each license (on a cluster, those of one slot)
-- Returns {now, then for each license: its counters, each followed by its number}.
-- A script so that many licenses are asked in one call, and the time comes from the clock that has counted.
local answer = { now }
for i = 1, #KEYS do answer[i + 1] = call('HGETALL', KEYS[i]) end
return answer
