-- Asks which sessions of a license are alive. ARGV: from 2 on for each session: key, due by PostgreSQL's record (ms)
-- Returns {'cold', now}, or {'swept', now, then for each session: when it expires if it is alive,
--         0 if it is dead (and now out of Redis), -1 if Redis has forgotten it: not alive here, but not due there}.
-- Atomic for each license because a session must not be renewed between being found dead and being taken out.
if call('HEXISTS', POLICY, 'warm') == 0 then return { 'cold', now } end
local answer = { 'swept', now }
for i = 2, #ARGV, 2 do
    local expires = expiry(ARGV[i])
    if expires > now then
        -- What is about to be PostgreSQL's record is also where the index puts it.
        call('ZADD', EXPIRY, expires, ARGV[i])
        answer[#answer + 1] = expires
    elseif tonumber(ARGV[i + 1]) <= now then
        remove(ARGV[i])
        answer[#answer + 1] = 0
    else
        answer[#answer + 1] = -1
    end
end
return answer
