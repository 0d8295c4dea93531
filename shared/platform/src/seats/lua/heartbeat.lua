-- Renews one session. The hot path: it goes without the prelude, whose every line would cost here.
-- KEYS: 1 policy, 2 expiry, 3 usage, as the prelude has them. ARGV: 1 the time or '', 2 session key
-- Returns {'cold'}, {'absent'|'expired', now}, {'refused', now, expires, why},
--         {'renewed', now, expires, used, seats, 1 where the policy is due to be checked against PostgreSQL, else 0}.
-- Atomic because a session must not be renewed after it has been found dead, nor die between the look and the renewal.
local call, session = redis.call, ARGV[2]
local now = tonumber(ARGV[1])
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local policy = call('HMGET', KEYS[1], 'warm', 'seats', 'ttl', 'standing', 'ends', 'checked')
if not policy[1] then return { 'cold' } end
local expires = tonumber(call('ZSCORE', KEYS[2], session) or -1)
if expires < 0 then return { 'absent', now } end
if expires <= now then return { 'expired', now } end
if policy[4] ~= '' then return { 'refused', now, expires, policy[4] } end
if policy[5] ~= '' and tonumber(policy[5]) <= now then return { 'refused', now, expires, 'license_expired' } end

expires = now + tonumber(policy[3])
call('ZADD', KEYS[2], expires, session)
call('HINCRBY', KEYS[3], math.floor(now / 3600000) .. ':heartbeats', 1)
local check = 0
-- Whoever finds the policy ten seconds old is the one that looks it up again.
if now - tonumber(policy[6]) >= 10000 then
    call('HSET', KEYS[1], 'checked', now)
    check = 1
end
return { 'renewed', now, expires, call('ZCOUNT', KEYS[2], '(' .. now, '+inf'), tonumber(policy[2]), check }
