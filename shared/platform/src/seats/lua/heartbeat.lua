-- Renews sessions, of one license or of several (those of one call share a slot where Redis is a cluster).
-- The hot path: it goes without the prelude, whose every line would cost here.
-- KEYS: for each license 1 policy, 2 expiry, 3 sessions, 4 usage, as the prelude has them.
-- ARGV: 1 the time or '', then for each license: number of sessions, their keys
-- Returns {now, then for each license: {'cold'} or
--         {why it refuses or '', used, seats, 1 where the policy is due to be checked against PostgreSQL else 0, tenant,
--          then for each session: when it expires and its record, or 0 and '' if it is not alive here}}.
-- Unless refused, the alive are renewed.
-- Atomic because a session must not be renewed after it has been found dead, nor die between the look and the renewal.
local call, now = redis.call, tonumber(ARGV[1])
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local beats = math.floor(now / 3600000) .. ':heartbeats'
local answer, arg = { now }, 2

for license = 1, #KEYS / 4 do
    local key = 4 * license
    local POLICY, EXPIRY, SESSIONS, USAGE = KEYS[key - 3], KEYS[key - 2], KEYS[key - 1], KEYS[key]
    local first, last = arg + 1, arg + tonumber(ARGV[arg])
    arg = last + 1
    local policy = call('HMGET', POLICY, 'warm', 'seats', 'ttl', 'standing', 'ends', 'checked', 'tenant')
    if not policy[1] then
        answer[license + 1] = { 'cold' }
    else
        local why = policy[4]
        if why == '' and policy[5] ~= '' and tonumber(policy[5]) <= now then why = 'license_expired' end
        local found = { why, 0, tonumber(policy[2]), 0, policy[7] }
        local until_, renewals = now + tonumber(policy[3]), {}
        local renewed = struct.pack('>I8', until_)
        local records = call('HMGET', SESSIONS, unpack(ARGV, first, last))
        for i, record in ipairs(records) do
            local expires = record and struct.unpack('>I8', record) or 0
            if expires <= now then
                expires, record = 0, ''
            elseif why == '' then
                expires = until_
                renewals[#renewals + 1] = ARGV[first + i - 1]
                renewals[#renewals + 1] = renewed .. string.sub(record, 9)
            end
            found[4 + 2 * i], found[5 + 2 * i] = expires, record
        end
        if renewals[1] then
            call('HSET', SESSIONS, unpack(renewals))
            call('HINCRBY', USAGE, beats, #renewals / 2)
            -- Whoever finds the policy ten seconds old is the one that looks it up again.
            if now - tonumber(policy[6]) >= 10000 then
                call('HSET', POLICY, 'checked', now)
                found[4] = 1
            end
        end
        -- The first in the index is the only one looked at: while it is not due, all of them count.
        found[2] = call('ZCARD', EXPIRY)
        local earliest = call('ZRANGE', EXPIRY, 0, 0, 'WITHSCORES')[2]
        if earliest and tonumber(earliest) <= now then
            found[2] = call('ZCOUNT', EXPIRY, '(' .. now, '+inf')
            -- Dead sessions, which others clear away, or live ones that the index has not followed: these count.
            for _, session in ipairs(call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, 16)) do
                local record = call('HGET', SESSIONS, session)
                local expires = record and struct.unpack('>I8', record) or 0
                if expires > now then
                    call('ZADD', EXPIRY, expires, session)
                    found[2] = found[2] + 1
                end
            end
        end
        answer[license + 1] = found
    end
end
return answer
