-- Time in which nobody could renew a session does not count against it. Each sweep notes that the servers answer; after a gap
-- every session gets a full TTL from the moment at which they answer again.
CREATE TABLE pulse (
    is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    -- When a sweep has begun last.
    beaten_at  timestamptz NOT NULL,
    -- How long sweeps may stay away before that is a gap: a few of them, and harmless to every TTL in use.
    longest_gap interval NOT NULL,
    -- The end of the last gap. Null: there was none.
    resumed_at timestamptz
);
ALTER TABLE pulse ENABLE ROW LEVEL SECURITY;
ALTER TABLE pulse FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON pulse TO coditect_functions, coditect_jobs USING (true);
GRANT SELECT ON pulse TO coditect_functions, coditect_jobs;
GRANT INSERT, UPDATE ON pulse TO coditect_jobs;
GRANT UPDATE (resumed_at) ON pulse TO coditect_functions;

-- Since when sessions could be renewed without a gap: infinity while there is one, null where there was none.
CREATE FUNCTION renewable_since(moved timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
RETURN (SELECT CASE WHEN beaten_at < coalesce(moved, statement_timestamp()) - longest_gap THEN timestamptz 'infinity'
                    ELSE resumed_at END FROM public.pulse);
GRANT EXECUTE ON FUNCTION renewable_since(timestamptz) TO coditect_functions, coditect_jobs;

-- As before, and not within one TTL after a gap. `since` is what `renewable_since` says, for statements that ask for many rows.
CREATE FUNCTION due_by(redis_now timestamptz, session_ttl interval, since timestamptz, moved timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE
RETURN CASE WHEN clocks_agree(redis_now, moved) AND coalesce(since + session_ttl <= coalesce(moved, statement_timestamp()), true)
            THEN redis_now ELSE timestamptz '-infinity' END;
GRANT EXECUTE ON FUNCTION due_by(timestamptz, interval, timestamptz, timestamptz) TO coditect_functions, coditect_jobs;

CREATE OR REPLACE FUNCTION due_by(redis_now timestamptz, session_ttl interval, moved timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE
RETURN due_by(redis_now, session_ttl, renewable_since(moved), moved);
