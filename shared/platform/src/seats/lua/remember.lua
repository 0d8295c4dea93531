-- Keeps the answer of a granted request for as long as its session lives. ARGV: 2 idempotency key, 3 session key, 4 answer, 5 its status
-- Returns {'remembered'} or {'gone'}.
-- Atomic because the key may meanwhile belong to another session.
local replay = call('HGET', REPLAYS, ARGV[2])
if not replay or string.sub(replay, 17, 32) ~= ARGV[3] then return { 'gone' } end
call('HSET', REPLAYS, ARGV[2], string.sub(replay, 1, 32) .. struct.pack('>I8', tonumber(ARGV[5])) .. ARGV[4])
return { 'remembered' }
