-- Counts a request against a limit (GCRA); put in front of each script that does so when it is loaded.
-- `key` keeps when the allowance is whole again, in µs. `interval` is what one request takes off it (0: nothing is counted),
-- `tolerance` how much may be missing for another one to pass, in µs too.
-- Where it is known to be the first request, `key` is not read. Returns whether it may pass, and how much is missing now.
local function pass(key, interval, tolerance, is_first)
    if interval == 0 then return true, 0 end
    local moment = now * 1000
    local whole = is_first and moment or math.max(tonumber(call('GET', key)) or 0, moment)
    if whole - moment > tolerance then return false, whole - moment end
    whole = whole + interval
    -- Where all of it is back, there is nothing left to know.
    call('SET', key, digits(whole), 'PX', digits(math.ceil((whole - moment) / 1000)))
    return true, whole - moment
end
