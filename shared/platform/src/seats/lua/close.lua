-- Forgets all seats of a license whose window is over, so that it is read from the record anew. Usage is kept.
-- Returns {'busy'} while somebody rebuilds it, {'open'} if it is not over by what Redis was told, else {'closed'}.
-- Atomic because nothing of a license may be left that passes for the whole.
if call('EXISTS', KEYS[8]) == 1 then return { 'busy' } end
local ends = call('HGET', POLICY, 'ends')
if ends and (ends == '' or tonumber(ends) > now) then return { 'open' } end
for key = 1, 6 do call('DEL', KEYS[key]) end
return { 'closed' }
