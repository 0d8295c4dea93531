-- What every script of a license shares; put in front of each when it is loaded.
-- KEYS, in this order for every script, all on the license's hash slot:
--   1 policy   hash    version, seats, overage, ttl (ms), standing ('' or why not), ends (ms or ''), tenant (16 bytes), checked (ms),
--                      warm (ms), kept (ms), shared (how many sessions there are beyond one for each seat; none where no seat is shared)
--   2 expiry   zset    session key -> expires at (ms), or an earlier moment: an index that a heartbeat does not touch
--   3 sessions hash    session key -> expires at (8 bytes, ms), seat (4), holder (16), hardware's hash (32),
--                      idempotency key (0 or 16), when its limit's allowance is whole again (8, µs; 0 where an older
--                      version has written it)
--   4 holders  hash    holder -> session keys, one after the other: those that share the holder's seat
--   5 taken    bitmap  bit n-1 is set while seat n is held
--   6 replays  hash    idempotency key -> request hash (16), session key (16), pending since (8 bytes, ms), or, with an answer,
--                      its status (an older version leaves the moment), answer
--   7 usage    hash    <hour>:<counter> -> number
--   8 lock     string  token of whoever rebuilds
local POLICY, EXPIRY, SESSIONS, HOLDERS, TAKEN, REPLAYS, USAGE =
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]

-- Forgotten licenses are cleared away two days after their last use; the marker in `policy` goes an hour before all else, so that
-- what is left of a license can never pass for the whole. Rubbish collection only: no rule depends on it.
local function keep_all_but_policy(first, last)
    for key = first, last do call('PEXPIRE', KEYS[key], '176400000') end
end

local function keep()
    keep_all_but_policy(2, 6)
    call('HSET', POLICY, 'kept', digits(now))
    call('PEXPIRE', POLICY, '172800000')
end

-- When a session expires, and its record; 0 for one that is not there.
local function expiry(session)
    local record = call('HGET', SESSIONS, session)
    if not record then return 0 end
    return struct.unpack('>I8', record), record
end

local function write_session(session, seat, holder, hardware, idempotency, expires)
    call('ZADD', EXPIRY, digits(expires), session)
    call('HSET', SESSIONS, session, struct.pack('>I8I4', expires, seat) .. holder .. hardware .. idempotency .. struct.pack('>I8', 0))
end

-- Tells heartbeats, which count seats by it, how many sessions there are beyond one for each seat. What changes how a seat is
-- shared calls this; a session that is alone on its seat changes nothing of it by coming or going.
local function count_shared()
    local shared = call('ZCARD', EXPIRY) - call('HLEN', HOLDERS)
    if shared == 0 then
        call('HDEL', POLICY, 'shared')
    elseif call('HEXISTS', POLICY, 'warm') == 1 then
        call('HSET', POLICY, 'shared', digits(shared))
    end
end

-- Where a session stands among a holder's. Nil: it does not.
local function place_in(mine, session)
    local at = string.find(mine, session, 1, true)
    while at and at % 16 ~= 1 do at = string.find(mine, session, at + 1, true) end
    return at
end

-- A session goes that is not its holder's only one. Its seat stays taken while another session of the holder is on it.
local function leave(session, seat, holder, mine)
    local at = mine and place_in(mine, session)
    if at then
        mine = string.sub(mine, 1, at - 1) .. string.sub(mine, at + 16)
        if mine == '' then call('HDEL', HOLDERS, holder) else call('HSET', HOLDERS, holder, mine) end
    end
    local is_free = true
    for other = 1, #(mine or ''), 16 do
        local theirs = call('HGET', SESSIONS, string.sub(mine, other, other + 15))
        if theirs and struct.unpack('>I4', theirs, 9) == seat then
            is_free = false
            break
        end
    end
    if is_free then call('SETBIT', TAKEN, digits(seat - 1), '0') end
    count_shared()
end

-- Takes one session out, and nothing of another session of the same holder. Returns whether it was there.
local function remove(session)
    local gone = call('HGET', SESSIONS, session)
    call('ZREM', EXPIRY, session)
    if not gone then return false end
    call('HDEL', SESSIONS, session)
    local seat, holder, idempotency = struct.unpack('>I4', gone, 9), string.sub(gone, 13, 28), #gone >= 76 and string.sub(gone, 61, 76) or ''
    local mine = call('HGET', HOLDERS, holder)
    if mine == session then
        call('HDEL', HOLDERS, holder)
        call('SETBIT', TAKEN, digits(seat - 1), '0')
    else
        leave(session, seat, holder, mine)
    end
    if idempotency ~= '' then
        local replay = call('HGET', REPLAYS, idempotency)
        if replay and string.sub(replay, 17, 32) == session then call('HDEL', REPLAYS, idempotency) end
    end
    return true
end

-- Whether nothing in the index is due any more.
local is_settled = false

-- Sessions whose time has come by the index: those that beat meanwhile get their true place in it, the others give their
-- seats back. A batch at a time; returns how many it was. The sweep keeps the index so fresh that hardly a live one comes here.
local function settle()
    local due = call('ZRANGEBYSCORE', EXPIRY, '-inf', digits(now), 'LIMIT', '0', '128')
    for _, session in ipairs(due) do
        local expires = expiry(session)
        if expires > now then call('ZADD', EXPIRY, digits(expires), session) else remove(session) end
    end
    is_settled = #due < 128
    return #due
end

-- Seats in use: each has one holder. While dead sessions are left, not more than there are sessions that may be alive.
local function used()
    local seats = call('HLEN', HOLDERS)
    if is_settled then return seats end
    return math.min(seats, call('ZCOUNT', EXPIRY, '(' .. digits(now), '+inf'))
end

local function write_policy(version, seats, overage, ttl, standing, ends, tenant)
    call('HSET', POLICY, 'version', version, 'seats', seats, 'overage', overage, 'ttl', ttl,
        'standing', standing, 'ends', ends, 'tenant', tenant, 'checked', digits(now))
end
