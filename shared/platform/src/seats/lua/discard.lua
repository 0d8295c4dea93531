-- Takes out sessions that PostgreSQL has as ended or does not know. ARGV: 2 "mend" or '', from 3 on for each session: key, "ended" or "unknown"
-- One that PostgreSQL does not know is a grant that was not finished, as long as it has never beaten: it is left alone for ten
-- seconds, in which some function may still be at it. One that has beaten was somebody's: the record has lost it, and it stays.
-- Returns {for each session: 'gone' (it was not there), 'discarded', 'fresh' or 'alive'}; unless it mends, it only tells.
-- Atomic because a session must not beat between the look and its removal.
local answer, ttl = {}, tonumber(call('HGET', POLICY, 'ttl')) or 0
for i = 3, #ARGV, 2 do
    local session = ARGV[i]
    local expires, record = expiry(session)
    local said = 'discarded'
    if expires <= now then
        said = 'gone'
    elseif ARGV[i + 1] == 'unknown' then
        -- An older version has kept no more than that it is there.
        if (#record ~= 68 and #record ~= 84) or struct.unpack('>I8', record, #record - 7) > 0 then
            said = 'alive'
        elseif expires > now + ttl - 10000 then
            said = 'fresh'
        end
    end
    if said == 'discarded' and ARGV[2] == 'mend' then remove(session) end
    answer[#answer + 1] = said
end
return answer
