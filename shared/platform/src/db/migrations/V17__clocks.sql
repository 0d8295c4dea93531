-- Sessions expire by two clocks: that of Redis, which the engine passes, and that of this server. Nobody expires while they are
-- more than ten seconds apart, because one of them is wrong. Smaller differences are those of any two clocks.
--
-- `moved` stands for this server's clock where a test moves it. It is null in production.

CREATE FUNCTION clocks_agree(redis_now timestamptz, moved timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN redis_now BETWEEN coalesce(moved, statement_timestamp()) - interval '10 seconds'
                     AND coalesce(moved, statement_timestamp()) + interval '10 seconds';

-- The moment by which a record counts as due: Redis' time, or -infinity where no session of a license with this TTL may expire now.
CREATE FUNCTION due_by(redis_now timestamptz, session_ttl interval, moved timestamptz) RETURNS timestamptz LANGUAGE sql STABLE
RETURN CASE WHEN clocks_agree(redis_now, moved) THEN redis_now ELSE timestamptz '-infinity' END;

-- What to add to an expiry by Redis' clock before it is recorded: nothing, or what that clock is behind this server's. A record
-- must not fall due at the moment at which a wrong clock is set; one that is too late is only freed late.
CREATE FUNCTION clock_shift(redis_now timestamptz, moved timestamptz) RETURNS interval LANGUAGE sql STABLE
RETURN CASE WHEN clocks_agree(redis_now, moved) THEN interval '0'
            ELSE greatest(coalesce(moved, statement_timestamp()) - redis_now, interval '0') END;

GRANT EXECUTE ON FUNCTION clocks_agree(timestamptz, timestamptz), due_by(timestamptz, interval, timestamptz),
    clock_shift(timestamptz, timestamptz) TO coditect_functions, coditect_jobs;
