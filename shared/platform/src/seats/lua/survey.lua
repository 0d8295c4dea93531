-- Goes through what Redis has of a license, some hundred entries a call, and tells where its indexes differ from its sessions.
-- ARGV: 2 "mend" or '', 3 where to go on, as the last call has told: part and cursor ('1', '0' at first)
-- Returns {'cold'} or {'surveyed', now, part and cursor to go on from ('' at the end), how many entries were wrong (and are mended now),
--          policy: version, seats, overage, ttl, standing, ends and tenant, then for each session: key, when it expires}.
-- Atomic for the entries of one call: between two scripts the indexes always agree with the sessions, so what differs is damage.
local mend, part, cursor = ARGV[2] == 'mend', tonumber(ARGV[3]), ARGV[4]
local policy = call('HMGET', POLICY, 'warm', 'version', 'seats', 'overage', 'ttl', 'standing', 'ends', 'tenant')
if not policy[1] then return { 'cold' } end
local answer, wrong = { 'surveyed', now, '', '', 0 }, 0
for i = 2, 8 do answer[i + 4] = policy[i] or '' end

local function found(is_wrong, ...)
    if not is_wrong then return end
    wrong = wrong + 1
    if mend then call(...) end
end

local parts = {
    -- Each session is in the index, not later than it expires; its number is taken; and while it lives its holder leads to it.
    function(entries)
        for i = 1, #entries, 2 do
            local session, record = entries[i], entries[i + 1]
            local expires, seat = struct.unpack('>I8I4', record)
            local score = tonumber(call('ZSCORE', EXPIRY, session) or '')
            found(not score or score > expires, 'ZADD', EXPIRY, expires, session)
            found(call('GETBIT', TAKEN, seat - 1) == 0, 'SETBIT', TAKEN, seat - 1, 1)
            if expires > now then
                local holder = string.sub(record, 13, 28)
                local mine = call('HGET', HOLDERS, holder) or ''
                found(not place_in(mine, session), 'HSET', HOLDERS, holder, mine .. session)
            end
            answer[#answer + 1] = session
            answer[#answer + 1] = expires
        end
    end,
    -- What is in the index, and what a holder leads to, is a session.
    function(entries)
        for i = 1, #entries, 2 do found(call('HEXISTS', SESSIONS, entries[i]) == 0, 'ZREM', EXPIRY, entries[i]) end
    end,
    function(entries)
        for i = 1, #entries, 2 do
            local mine = {}
            for at = 1, #entries[i + 1], 16 do
                local session = string.sub(entries[i + 1], at, at + 15)
                if call('HEXISTS', SESSIONS, session) == 1 then mine[#mine + 1] = session end
            end
            if #mine == 0 then
                found(true, 'HDEL', HOLDERS, entries[i])
            else
                found(16 * #mine < #entries[i + 1], 'HSET', HOLDERS, entries[i], table.concat(mine))
            end
        end
    end,
}
local scans = { { 'HSCAN', SESSIONS }, { 'ZSCAN', EXPIRY }, { 'HSCAN', HOLDERS } }
local left = 500
while scans[part] and left > 0 do
    local page = call(scans[part][1], scans[part][2], cursor, 'COUNT', left)
    parts[part](page[2])
    cursor, left = page[1], left - #page[2] / 2 - 1
    if cursor == '0' then part = part + 1 end
end

-- At last, when all else is right: every number that is taken is some session's. Only where there are more than holders are all
-- sessions read.
if not scans[part] then
    if call('BITCOUNT', TAKEN) > call('HLEN', HOLDERS) then
        local numbers, count = {}, 0
        for _, record in ipairs(call('HVALS', SESSIONS)) do
            local seat = struct.unpack('>I4', record, 9)
            if not numbers[seat] then numbers[seat], count = true, count + 1 end
        end
        if call('BITCOUNT', TAKEN) > count then
            wrong = wrong + 1
            if mend then
                call('DEL', TAKEN)
                for seat in pairs(numbers) do call('SETBIT', TAKEN, digits(seat - 1), 1) end
                keep()
            end
        end
    end
    local shared = tonumber(call('HGET', POLICY, 'shared') or 0)
    if shared ~= call('ZCARD', EXPIRY) - call('HLEN', HOLDERS) then
        wrong = wrong + 1
        if mend then count_shared() end
    end
else
    answer[3], answer[4] = tostring(part), cursor
end
answer[5] = wrong
return answer
