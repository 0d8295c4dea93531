-- Tells Redis the policy of a license as PostgreSQL has it. ARGV: 2 version, 3 seats, 4 overage, 5 ttl (ms), 6 standing, 7 ends, 8 tenant
-- Returns {'cold'}, {'told'} or {'known'}.
-- Atomic because the newer version wins, whoever comes last.
local version = call('HGET', POLICY, 'version')
if not version then return { 'cold' } end
keep()
if tonumber(version) >= tonumber(ARGV[2]) then
    call('HSET', POLICY, 'checked', now)
    return { 'known' }
end
write_policy(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return { 'told' }
