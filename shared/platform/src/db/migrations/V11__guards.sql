-- The two guards of the seats, by the other of the two columns that say whether a session has ended (a CHECK holds them together). What
-- the seat engine asks names `ended_reason`, as these do; the lists and the sweep name `ended_at`. So no statement of the engine can be
-- planned by an index that is there for lists: while the tables are empty all cost the same, and a plan that is made then is kept
-- while they fill up.
DROP INDEX sessions_live_seat, sessions_live_holder;
CREATE UNIQUE INDEX sessions_live_seat ON sessions (license_id, seat) WHERE ended_reason IS NULL;
CREATE UNIQUE INDEX sessions_live_holder ON sessions (license_id, holder) WHERE ended_reason IS NULL;
