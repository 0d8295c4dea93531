-- Frees the seat of one session, if it still has it. ARGV: 2 session key
-- Returns {'cold'} or {'released', used}.
-- Atomic because the number must not be freed for a later session that took it in between.
if call('HEXISTS', POLICY, 'warm') == 0 then return { 'cold' } end
remove(ARGV[2])
settle()
return { 'released', used() }
