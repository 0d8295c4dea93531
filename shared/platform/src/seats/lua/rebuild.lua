-- Writes what PostgreSQL knows of a license into Redis.
-- ARGV: 2 token of the lock (KEYS[8]), 3 version, 4 seats, 5 overage, 6 ttl (ms), 7 standing, 8 ends, 9 tenant, then for each
--       session that has not ended: key, due (ms), seat, holder, hardware's hash, idempotency key, request hash
-- A cold license gets every session whose record is less than one TTL past, with a full TTL: a session that died just now
-- is gone one TTL later, and a live one never notices. A warm one gets what it lacks and loses nothing, except sessions on a
-- seat which PostgreSQL has given to another holder, or of a holder to which it has given another seat: these are grants that
-- nobody finished, or have ended.
-- Returns {'rebuilt', number of sessions written, now}.
-- Atomic because between the marker and the last session a seat would look free.
local version, ttl = tonumber(ARGV[3]), tonumber(ARGV[6])
local cold = call('HEXISTS', POLICY, 'warm') == 0
-- What is here: each session's record, and the sessions on each seat and of each holder.
local here, on_seat, of_holder = {}, {}, {}

local function note(sessions, name, session)
    local these = sessions[name]
    if these then these[#these + 1] = session else sessions[name] = { session } end
end

if cold then
    for key = 2, 6 do call('DEL', KEYS[key]) end
else
    local all = call('HGETALL', SESSIONS)
    for i = 1, #all, 2 do
        here[all[i]] = all[i + 1]
        note(on_seat, struct.unpack('>I4', all[i + 1], 9), all[i])
        note(of_holder, string.sub(all[i + 1], 13, 28), all[i])
    end
end
if version > tonumber(call('HGET', POLICY, 'version') or 0) then
    write_policy(version, ARGV[4], ARGV[5], ttl, ARGV[7], ARGV[8], ARGV[9])
end
if cold then call('HSET', POLICY, 'warm', now) end

local function is_alive(session)
    local known = here[session]
    return known and struct.unpack('>I8', known) > now
end

-- Takes out those that are not where PostgreSQL has the holder.
local function clear(sessions, seat, holder)
    for _, other in ipairs(sessions or {}) do
        local known = here[other]
        if known and (struct.unpack('>I4', known, 9) ~= seat or string.sub(known, 13, 28) ~= holder) then
            remove(other)
            here[other] = nil
        end
    end
end

local written, seat_of, is_listed, mine = 0, {}, {}, {}
for i = 10, #ARGV, 7 do
    local session, due, seat, holder = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
    if due > now or (cold and due > now - ttl) then
        if not seat_of[holder] then
            seat_of[holder] = seat
            clear(on_seat[seat], seat, holder)
            clear(of_holder[holder], seat, holder)
            for _, other in ipairs(of_holder[holder] or {}) do
                if is_alive(other) then
                    note(mine, holder, other)
                    is_listed[other] = true
                end
            end
        end
        if not is_alive(session) then
            write_session(session, seat, holder, ARGV[i + 4], ARGV[i + 5], now + ttl)
            if ARGV[i + 5] ~= '' then
                call('HSET', REPLAYS, ARGV[i + 5], ARGV[i + 6] .. session .. struct.pack('>I8', 0))
            end
            written = written + 1
        end
        if not is_listed[session] then
            note(mine, holder, session)
            is_listed[session] = true
        end
    end
end
for holder, seat in pairs(seat_of) do
    call('HSET', HOLDERS, holder, table.concat(mine[holder]))
    call('SETBIT', TAKEN, digits(seat - 1), '1')
end
count_shared()
keep()
if call('GET', KEYS[8]) == ARGV[2] then call('DEL', KEYS[8]) end
return { 'rebuilt', written, now }
