-- Writes what PostgreSQL knows of a license into Redis.
-- ARGV: 2 token of the lock (KEYS[8]), 3 version, 4 seats, 5 overage, 6 ttl (ms), 7 standing, 8 ends, 9 tenant, then for each
--       session that has not ended: key, due (ms), seat, holder, hardware's hash, idempotency key, request hash
-- A cold license gets every session whose record is less than one TTL past, with a full TTL: a session that died just now
-- is gone one TTL later, and a live one never notices. A warm one gets what it lacks and loses nothing, except half-done
-- grants that sit on a seat which PostgreSQL has given to somebody else.
-- Returns {'rebuilt', number of sessions written, now}.
-- Atomic because between the marker and the last session a seat would look free.
local version, ttl = tonumber(ARGV[3]), tonumber(ARGV[6])
local cold = call('HEXISTS', POLICY, 'warm') == 0
local on_seat = {}
if cold then
    for key = 2, 6 do call('DEL', KEYS[key]) end
else
    local all = call('HGETALL', SESSIONS)
    for i = 1, #all, 2 do on_seat[struct.unpack('>I4', all[i + 1], 9)] = all[i] end
end
if version > tonumber(call('HGET', POLICY, 'version') or 0) then
    write_policy(version, ARGV[4], ARGV[5], ttl, ARGV[7], ARGV[8], ARGV[9])
end
if cold then call('HSET', POLICY, 'warm', now) end

local written = 0
for i = 10, #ARGV, 7 do
    local session, due, seat, holder = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
    if due > now or (cold and due > now - ttl) then
        if expiry(session) <= now then
            local other = on_seat[seat]
            if other and other ~= session then remove(other) end
            sit(session, seat, holder, ARGV[i + 4], ARGV[i + 5], now + ttl)
            if ARGV[i + 5] ~= '' then
                call('HSET', REPLAYS, ARGV[i + 5], ARGV[i + 6] .. session .. struct.pack('>I8', 0))
            end
            on_seat[seat] = session
            written = written + 1
        end
    end
end
keep()
if call('GET', KEYS[8]) == ARGV[2] then call('DEL', KEYS[8]) end
return { 'rebuilt', written, now }
