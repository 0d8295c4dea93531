-- Puts the policy of a license right where it cannot be: no version, another content of the same, or a later one than PostgreSQL has.
-- ARGV: 2 the version that was found wrong, 3 version, 4 seats, 5 overage, 6 ttl (ms), 7 standing, 8 ends, 9 tenant
-- Returns {'cold'}, {'corrected'} or {'changed'}: somebody has told a version since.
-- Atomic because what was told since must stay.
if call('HEXISTS', POLICY, 'warm') == 0 then return { 'cold' } end
if (call('HGET', POLICY, 'version') or '') ~= ARGV[2] then return { 'changed' } end
write_policy(ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
return { 'corrected' }
