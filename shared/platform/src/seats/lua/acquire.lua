-- Takes the lowest free seat of a license for a holder; or gives it another session on the seat that the holder has.
-- ARGV: 2 version, 3 seats, 4 overage, 5 ttl (ms), 6 standing, 7 ends, 8 tenant, 9 new session key, 10 holder,
--       11 hardware's hash, 12 idempotency key ('' or 16 bytes), 13 request hash (16 bytes), 14 interval, 15 tolerance,
--       16 key of the session that the new one replaces (''), 17 most sessions on a seat,
--       18 'any' if the new one takes over the holder of the one that it replaces, else only the same holder's is replaced
-- KEYS[9] is what is kept of the limit of the license key on this device, counted as gcra.lua has it.
-- Returns {'cold'|'stale'}, or, each with what is missing of the allowance behind the word: {'limited'},
--         {'granted', session key, seat, now, expires, used},
--         {'shared'|'resumed', the same, holder, 1 if others are on the seat else 0, 1 if it replaces the session else 0},
--         {'crowded', now, earliest expiry on the seat}, {'full', now, used, earliest expiry},
--         {'replayed', answer, its status or an older version's moment}, {'in_flight'} or {'reused'}.
-- Atomic because the choice of a number and its taking must be one step: two containers would choose the same.
local version, seats, overage, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local session, holder, idempotency, replaced = ARGV[9], ARGV[10], ARGV[12], ARGV[16]
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

-- When the first seat falls free, if those on it stay silent: a shared one does with the last of them.
local function earliest()
    local first, score, place = nil, nil, 0
    for _ = 1, 128 do
        local found = call('ZRANGE', EXPIRY, digits(place), digits(place), 'WITHSCORES')
        if not found[1] then break end
        score = tonumber(found[2])
        if first and score >= first then break end
        local expires, theirs = expiry(found[1])
        if expires > score then
            call('ZADD', EXPIRY, digits(expires), found[1])
        else
            local last, mine = score, theirs and call('HGET', HOLDERS, string.sub(theirs, 13, 28)) or ''
            for at = 1, #mine, 16 do last = math.max(last, (expiry(string.sub(mine, at, at + 15)))) end
            first = math.min(first or last, last)
            place = place + 1
        end
    end
    return first or score or now + ttl
end

-- Whether it replaces the other session, if it may: then it is on that one's seat.
local replaces = 0
if replaced ~= '' then
    local expires, old = expiry(replaced)
    local theirs = old and string.sub(old, 13, 28)
    if expires > now and (ARGV[18] == 'any' or theirs == holder) and place_in(call('HGET', HOLDERS, theirs) or '', replaced) then
        replaces, holder = 1, theirs
    end
end

if idempotency ~= '' then
    local replay = call('HGET', REPLAYS, idempotency)
    if replay and live(string.sub(replay, 17, 32)) then
        if string.sub(replay, 1, 16) ~= ARGV[13] then return { 'reused', missing } end
        local since = struct.unpack('>I8', replay, 33)
        if #replay > 40 then return { 'replayed', missing, string.sub(replay, 41), since } end
        -- No function works on one request for ten seconds: after that it has died, and its session is the request's still.
        if since + 10000 > now then return { 'in_flight', missing } end
        local mine = string.sub(replay, 17, 32)
        local _, old = expiry(mine)
        call('HSET', SESSIONS, mine, struct.pack('>I8', now + ttl) .. string.sub(old, 9))
        call('ZADD', EXPIRY, digits(now + ttl), mine)
        local its_holder = string.sub(old, 13, 28)
        local others = call('HGET', HOLDERS, its_holder) ~= mine and 1 or 0
        return { 'resumed', missing, mine, struct.unpack('>I4', old, 9), now, now + ttl, used(), its_holder, others, replaces }
    end
end

local mine = call('HGET', HOLDERS, holder)
if mine then
    -- Those that have expired give up their places first: none of them stays on a seat that the holder has no more.
    local alive, dead, seat, first = {}, {}, nil, nil
    for at = 1, #mine, 16 do
        local other = string.sub(mine, at, at + 15)
        local expires, theirs = expiry(other)
        if expires > now then
            alive[#alive + 1] = other
            seat = seat or struct.unpack('>I4', theirs, 9)
            first = math.min(first or expires, expires)
        else
            dead[#dead + 1] = other
        end
    end
    if #dead > 0 then
        mine = table.concat(alive)
        if mine == '' then call('HDEL', HOLDERS, holder) else call('HSET', HOLDERS, holder, mine) end
        for _, other in ipairs(dead) do remove(other) end
        count_shared()
    end
    if seat then
        if #alive - replaces >= tonumber(ARGV[17]) then return { 'crowded', missing, now, first } end
        write_session(session, seat, holder, ARGV[11], idempotency, now + ttl)
        call('HSET', HOLDERS, holder, mine .. session)
        count_shared()
        if idempotency ~= '' then
            call('HSET', REPLAYS, idempotency, ARGV[13] .. session .. struct.pack('>I8', now))
            keep_all_but_policy(6, 6)
        end
        settle()
        return { 'shared', missing, session, seat, now, now + ttl, used(), holder, 1, replaces }
    end
end

-- Expired sessions give their seats back, a batch at a time: as many as are needed to find a number within the limit.
local limit, seat, in_use = seats + overage, nil, nil
repeat
    settle()
    seat, in_use = call('BITPOS', TAKEN, '0') + 1, used()
until is_settled or (seat <= limit and in_use < limit)

if in_use >= limit or seat > limit then
    count(':denied')
    return { 'full', missing, now, in_use, earliest() }
end

write_session(session, seat, holder, ARGV[11], idempotency, now + ttl)
call('HSET', HOLDERS, holder, session)
call('SETBIT', TAKEN, digits(seat - 1), '1')
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
