-- Renews one session. ARGV: 2 session key
-- Returns {'cold'}, {'absent'|'expired', now}, {'refused', now, expires, why},
--         {'renewed', now, expires, used, seats, ttl, 1 where the policy is due to be checked against PostgreSQL, else 0}.
-- Atomic because a session must not be renewed after it has been found dead, nor die between the look and the renewal.
local policy = call('HMGET', POLICY, 'warm', 'seats', 'ttl', 'standing', 'ends', 'checked')
if not policy[1] then return { 'cold' } end
local expires = call('ZSCORE', EXPIRY, ARGV[2])
if not expires then return { 'absent', now } end
expires = tonumber(expires)
if expires <= now then return { 'expired', now } end
if policy[4] ~= '' then return { 'refused', now, expires, policy[4] } end
if policy[5] ~= '' and tonumber(policy[5]) <= now then return { 'refused', now, expires, 'license_expired' } end

local ttl, check = tonumber(policy[3]), 0
call('ZADD', EXPIRY, now + ttl, ARGV[2])
count(':heartbeats')
-- Whoever finds the policy ten seconds old is the one that looks it up again.
if now - tonumber(policy[6]) >= 10000 then
    call('HSET', POLICY, 'checked', now)
    keep()
    check = 1
end
return { 'renewed', now, now + ttl, used(), tonumber(policy[2]), ttl, check }
