-- What every script of a license shares; put in front of each when it is loaded.
-- KEYS, in this order for every script, all on the license's hash slot:
--   1 policy   hash    version, seats, overage, ttl (ms), standing ('' or why not), ends (ms or ''), tenant (16 bytes), checked (ms),
--                      warm (ms), kept (ms)
--   2 expiry   zset    session key -> expires at (ms), or an earlier moment: an index that a heartbeat does not touch
--   3 sessions hash    session key -> expires at (8 bytes, ms), seat (4), holder (16), hardware's hash (32),
--                      idempotency key (0 or 16), when its limit's allowance is whole again (8, µs; 0 where an older
--                      version has written it)
--   4 holders  hash    holder -> session key
--   5 taken    bitmap  bit n-1 is set while seat n is held
--   6 replays  hash    idempotency key -> request hash (16), session key (16), pending since (8 bytes, ms), answer
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

local function sit(session, seat, holder, hardware, idempotency, expires)
    call('ZADD', EXPIRY, digits(expires), session)
    call('HSET', SESSIONS, session, struct.pack('>I8I4', expires, seat) .. holder .. hardware .. idempotency .. struct.pack('>I8', 0))
    call('HSET', HOLDERS, holder, session)
    call('SETBIT', TAKEN, digits(seat - 1), '1')
end

-- Takes one session out, and nothing of a later session of the same holder. Returns whether it was there.
local function remove(session)
    local record = call('HGET', SESSIONS, session)
    call('ZREM', EXPIRY, session)
    if not record then return false end
    call('HDEL', SESSIONS, session)
    call('SETBIT', TAKEN, digits(struct.unpack('>I4', record, 9) - 1), '0')
    local holder, idempotency = string.sub(record, 13, 28), #record >= 76 and string.sub(record, 61, 76) or ''
    if call('HGET', HOLDERS, holder) == session then call('HDEL', HOLDERS, holder) end
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

-- Seats in use: once it is settled, all that are in the index.
local function used()
    if is_settled then return call('ZCARD', EXPIRY) end
    return call('ZCOUNT', EXPIRY, '(' .. digits(now), '+inf')
end

local function write_policy(version, seats, overage, ttl, standing, ends, tenant)
    call('HSET', POLICY, 'version', version, 'seats', seats, 'overage', overage, 'ttl', ttl,
        'standing', standing, 'ends', ends, 'tenant', tenant, 'checked', digits(now))
end
