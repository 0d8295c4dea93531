-- Takes the lowest free seat of a license for a holder, or finds the one that the holder has.
-- ARGV: 2 version, 3 seats, 4 overage, 5 ttl (ms), 6 standing, 7 ends, 8 tenant, 9 new session key, 10 holder,
--       11 hardware's hash, 12 idempotency key ('' or 16 bytes), 13 request hash (16 bytes), 14 interval, 15 tolerance
-- KEYS[9] is what is kept of the limit of the license key on this device, counted as gcra.lua has it.
-- Returns {'cold'|'stale'}, or, each with what is missing of the allowance behind the word: {'limited'},
--         {'granted'|'held', session key, seat, now, expires, used}, {'full', now, used, earliest expiry},
--         {'replayed', answer}, {'in_flight'} or {'reused'}.
-- Atomic because the choice of a number and its taking must be one step: two containers would choose the same.
local version, seats, overage, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local session, holder, idempotency = ARGV[9], ARGV[10], ARGV[12]
local hour = digits(math.floor(now / 3600000))

local function count(counter)
    call('HINCRBY', USAGE, hour .. counter, '1')
end

local known = call('HMGET', POLICY, 'warm', 'version', 'kept')
if not known[1] then return { 'cold' } end
if tonumber(known[2]) > version then return { 'stale' } end
if tonumber(known[2]) < version then write_policy(version, seats, overage, ttl, ARGV[6], ARGV[7], ARGV[8]) end

local may, missing = pass(KEYS[9], tonumber(ARGV[14]), tonumber(ARGV[15]))
if not may then return { 'limited', missing } end

local function live(candidate)
    return expiry(candidate) > now
end

-- When the first seat falls free, if its holder stays silent.
local function earliest()
    local score
    for _ = 1, 128 do
        local first = call('ZRANGE', EXPIRY, '0', '0', 'WITHSCORES')
        if not first[1] then return now + ttl end
        score = tonumber(first[2])
        local expires = expiry(first[1])
        if expires <= score then return score end
        call('ZADD', EXPIRY, digits(expires), first[1])
    end
    return score
end

if idempotency ~= '' then
    local replay = call('HGET', REPLAYS, idempotency)
    if replay and live(string.sub(replay, 17, 32)) then
        if string.sub(replay, 1, 16) ~= ARGV[13] then return { 'reused', missing } end
        if #replay > 40 then return { 'replayed', missing, string.sub(replay, 41) } end
        -- No function works on one request for ten seconds: after that it has died, and the seat is the holder's again.
        if struct.unpack('>I8', replay, 33) + 10000 > now then return { 'in_flight', missing } end
    end
end

local mine = call('HGET', HOLDERS, holder)
if mine then
    local expires, record = expiry(mine)
    if expires > now then
        call('HSET', SESSIONS, mine, struct.pack('>I8', now + ttl) .. string.sub(record, 9))
        call('ZADD', EXPIRY, digits(now + ttl), mine)
        return { 'held', missing, mine, struct.unpack('>I4', record, 9), now, now + ttl, used() }
    end
end

-- Expired sessions give their seats back, a batch at a time: as many as are needed to find a number within the limit.
local limit, seat = seats + overage, nil
repeat
    local settled = settle()
    seat = call('BITPOS', TAKEN, '0') + 1
until seat <= limit or settled == 0

local in_use = used()
if in_use >= limit or seat > limit then
    count(':denied')
    return { 'full', missing, now, in_use, earliest() }
end

sit(session, seat, holder, ARGV[11], idempotency, now + ttl)
if idempotency ~= '' then
    call('HSET', REPLAYS, idempotency, ARGV[13] .. session .. struct.pack('>I8', now))
end
-- What this session has made anew has no time to live yet; else it is enough to move all of them once an hour.
if now - tonumber(known[3] or 0) >= 3600000 then
    keep()
else
    if in_use == 0 then keep_all_but_policy(2, 5) end
    if idempotency ~= '' then keep_all_but_policy(6, 6) end
end
in_use = in_use + 1
count(':acquired')
if in_use > seats then count(':overage') end
local peak = hour .. ':peak'
if in_use > tonumber(call('HGET', USAGE, peak) or 0) then call('HSET', USAGE, peak, digits(in_use)) end
return { 'granted', missing, session, seat, now, now + ttl, in_use }
