-- Asks when sessions of a license expire, and changes nothing. ARGV: from 2 on for each session: its key
-- Returns {'cold', now}, or {'looked', now, then for each session: when it expires, 0 if Redis does not know it}.
-- Atomic for each license so that one time holds for all of them.
if call('HEXISTS', POLICY, 'warm') == 0 then return { 'cold', now } end
local answer = { 'looked', now }
for i = 2, #ARGV do answer[#answer + 1] = (expiry(ARGV[i])) end
return answer
