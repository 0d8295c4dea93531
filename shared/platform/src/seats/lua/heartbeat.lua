-- Renews sessions, of one license or of several (those of one call share a slot where Redis is a cluster).
-- The hot path: it goes without the prelude, whose every line would cost here.
-- KEYS: for each license 1 policy, 2 expiry, 3 sessions, 4 usage, as the prelude has them.
-- ARGV: 1 the time or '', 2 interval and 3 tolerance of each session's limit (µs, as gcra.lua has them), then for each license:
--       number of sessions, their keys; those that are there twice must stand side by side
-- Returns {now, then for each license: {'cold'} or
--         {why it refuses or '', used, seats, 1 where the policy is due to be checked against PostgreSQL else 0, tenant, version,
--          then for each session: its record, only the last eight bytes of it if it is beyond its limit, '' if it is not alive here}}.
-- Unless refused, the alive are renewed.
-- Atomic because a session must not be renewed after it has been found dead, nor die between the look and the renewal, and
-- because no two requests may pass for one.
local call, now = redis.call, tonumber(ARGV[1])
local pack, numbers, sub = struct.pack, struct.unpack, string.sub
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local beats = string.format('%d:heartbeats', math.floor(now / 3600000))
local moment, interval, tolerance = now * 1000, tonumber(ARGV[2]), tonumber(ARGV[3])
-- What all but the busiest sessions have spent after this call: one request.
local one_spent = pack('>I8', moment + interval)
local answer, arg = { now }, 4

for license = 1, #KEYS / 4 do
    local key = 4 * license
    local POLICY, EXPIRY, SESSIONS, USAGE = KEYS[key - 3], KEYS[key - 2], KEYS[key - 1], KEYS[key]
    local first, last = arg + 1, arg + tonumber(ARGV[arg])
    arg = last + 1
    local policy = call('HMGET', POLICY, 'warm', 'seats', 'ttl', 'standing', 'ends', 'checked', 'tenant', 'shared', 'version')
    if not policy[1] then
        answer[license + 1] = { 'cold' }
    else
        local why = policy[4]
        if why == '' and policy[5] ~= '' and tonumber(policy[5]) <= now then why = 'license_expired' end
        local found = { why, 0, tonumber(policy[2]), 0, policy[7], policy[9] }
        local ttl, writes, written = tonumber(policy[3]), {}, 0
        local until_ = now + ttl
        local renewed = why == '' and pack('>I8', until_)
        local records = call('HMGET', SESSIONS, unpack(ARGV, first, last))
        local before
        for i, record in ipairs(records) do
            local session = ARGV[first + i - 1]
            -- A session that is there twice is renewed, and counted, from what its first time has left.
            if session == before then record = records[i - 1] end
            before = session
            local expires = record and numbers('>I8', record) or 0
            if expires <= now then
                record = ''
            else
                local size, spent, whole = #record, one_spent, 0
                if size == 68 or size == 84 then
                    size = size - 8
                    whole = numbers('>I8', record, size + 1)
                end
                if whole > moment and interval > 0 then
                    if whole - moment <= tolerance then
                        spent = pack('>I8', whole + interval)
                    elseif expires - now > ttl / 2 then
                        spent = nil
                    else
                        -- Beyond its limit, whatever that is, but no live session is ever lost to it: this beat is on the house.
                        spent = sub(record, -8)
                    end
                end
                if spent then
                    record = (renewed or sub(record, 1, 8)) .. sub(record, 9, size) .. spent
                    records[i], writes[written + 1], writes[written + 2] = record, session, record
                    written = written + 2
                else
                    records[i], record = record, sub(record, -8)
                end
            end
            found[6 + i] = record
        end
        if written > 0 then call('HSET', SESSIONS, unpack(writes)) end
        if written > 0 and renewed then
            -- As text, or Redis would write it out as a float of 17 digits.
            call('HINCRBY', USAGE, beats, string.format('%d', written / 2))
            -- Whoever finds the policy ten seconds old is the one that looks it up again.
            if now - tonumber(policy[6]) >= 10000 then
                call('HSET', POLICY, 'checked', now)
                found[4] = 1
            end
        end
        -- The first in the index is the only one looked at: while it is not due, all of them count.
        local shared = tonumber(policy[8] or 0)
        found[2] = call('ZCARD', EXPIRY) - shared
        local earliest = call('ZRANGE', EXPIRY, '0', '0', 'WITHSCORES')[2]
        if earliest and tonumber(earliest) <= now then
            local alive = call('ZCOUNT', EXPIRY, '(' .. now, '+inf')
            -- Dead sessions, which others clear away, or live ones that the index has not followed: these count.
            for _, session in ipairs(call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, 16)) do
                local record = call('HGET', SESSIONS, session)
                local expires = record and numbers('>I8', record) or 0
                if expires > now then
                    call('ZADD', EXPIRY, expires, session)
                    alive = alive + 1
                end
            end
            -- Where seats are shared, a dead session says nothing of its seat: they count until it is cleared away.
            if shared == 0 then found[2] = alive end
        end
        answer[license + 1] = found
    end
end
return answer
