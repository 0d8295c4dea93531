-- Asks who rebuilds a license: one function at a time, for at most three seconds. ARGV: 2 token, 3 "cold" if only a cold license is to be rebuilt
-- KEYS[8] is the lock. Returns {'yours'|'taken'|'warm', now}.
-- A script so that the time comes from the same clock as every expiry, in the same call.
if call('HEXISTS', POLICY, 'warm') == 1 and ARGV[3] == 'cold' then return { 'warm', now } end
if call('SET', KEYS[8], ARGV[2], 'NX', 'PX', 3000) then return { 'yours', now } end
return { 'taken', now }
