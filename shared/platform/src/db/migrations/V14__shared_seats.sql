-- Several programs on one device share its seat, each with a session of its own.
--
-- A seat is occupied by one row, the primary: `share` 0. The sessions that share the seat have
-- numbers from 1 on. Both guards hold for primaries as before, and each number is there once.
-- A version that knows nothing of this writes 0, and its statements go by the same indexes.
--
-- A live session that shares a seat has a live primary with its license, seat and holder: whoever
-- adds one locks and marks the primary in the same statement, and when a primary ends, whatever ends
-- it, the trigger below makes one of those who share the seat the primary.
ALTER TABLE sessions
    ADD COLUMN share integer NOT NULL DEFAULT 0,
    -- The greatest number that was given out on the seat. Only the primary's counts.
    ADD COLUMN shares_given integer NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX sessions_live_seat_share ON sessions (license_id, seat, share)
    WHERE ended_reason IS NULL;
CREATE UNIQUE INDEX sessions_live_holder_share ON sessions (license_id, holder, share)
    WHERE ended_reason IS NULL;
DROP INDEX sessions_live_seat, sessions_live_holder;
ALTER INDEX sessions_live_seat_share RENAME TO sessions_live_seat;
ALTER INDEX sessions_live_holder_share RENAME TO sessions_live_holder;

GRANT UPDATE (share, shares_given) ON sessions TO coditect_functions, coditect_jobs, coditect_admin;

-- Each statement in it sees what was committed until then, and what the statement that ended the
-- primary has done. Who waits for a row here goes by what the row has become.
CREATE FUNCTION pass_seat_on() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The statement that ended the primary may have given the seat to its holder again.
    UPDATE public.sessions s SET shares_given = greatest(s.shares_given, OLD.shares_given)
    WHERE s.license_id = OLD.license_id AND s.holder = OLD.holder AND s.seat = OLD.seat
      AND s.share = 0 AND s.ended_reason IS NULL;
    IF NOT FOUND THEN
        UPDATE public.sessions SET share = 0, shares_given = OLD.shares_given
        WHERE id = (
            SELECT s.id FROM public.sessions s
            WHERE s.license_id = OLD.license_id AND s.holder = OLD.holder
              AND s.share > 0 AND s.ended_reason IS NULL
            ORDER BY s.expires_at DESC LIMIT 1 FOR UPDATE
        );
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION pass_seat_on() FROM PUBLIC;
-- A seat that was never shared pays for the look at the condition alone.
CREATE TRIGGER pass_seat_on AFTER UPDATE OF ended_reason ON sessions FOR EACH ROW
    WHEN (OLD.ended_reason IS NULL AND NEW.ended_reason IS NOT NULL
          AND OLD.share = 0 AND OLD.shares_given > 0)
    EXECUTE FUNCTION pass_seat_on();

-- As before, but seats: sessions that share one count once.
CREATE OR REPLACE FUNCTION total_usage(whose uuid, since timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := since + interval '1 hour';
    today timestamptz := date_trunc('day', since, 'UTC');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('usage_totals ' || whose, 0));
    WITH sat AS (
        SELECT license_id, seat, user_email, hardware_id, greatest(started_at, since) AS came,
               least(coalesce(ended_at, until), until) AS went
        FROM public.sessions WHERE tenant_id = whose AND ended_at IS NULL AND started_at < until
        UNION ALL
        SELECT license_id, seat, user_email, hardware_id, greatest(started_at, since),
               least(ended_at, until)
        FROM public.sessions WHERE tenant_id = whose AND ended_at > since AND started_at < until
    ), apart AS (
        -- Sessions that share a seat take it once: each counts from where the ones before end.
        SELECT license_id, greatest(came, max(went) OVER (
                   PARTITION BY license_id, seat ORDER BY came, went
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS came, went FROM sat
    ), taken AS (
        SELECT license_id, came, went FROM apart WHERE came < went
    ), steps AS (
        SELECT license_id, came AS at, 1 AS step FROM taken
        UNION ALL SELECT license_id, went, -1 FROM taken
    ), there AS (
        SELECT license_id, sum(step) OVER (PARTITION BY license_id ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS of_license,
               sum(step) OVER (ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS of_tenant FROM steps
    ), peaks AS (
        SELECT license_id AS subject, max(of_license) AS peak FROM there GROUP BY license_id
        UNION ALL SELECT whose, max(of_tenant) FROM there HAVING count(*) > 0
    ), seconds AS (
        SELECT coalesce(license_id, whose) AS subject, sum(extract(epoch FROM went - came)) AS seat_seconds
        FROM taken GROUP BY GROUPING SETS ((license_id), ())
    ), presence AS (
        SELECT p.*, s.seat_seconds FROM (
            SELECT coalesce(license_id, whose) AS subject, count(DISTINCT lower(user_email)) AS users,
                   count(DISTINCT hardware_id) AS devices
            FROM sat GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
        ) AS p LEFT JOIN seconds s USING (subject)
    ), counted AS (
        SELECT coalesce(license_id, whose) AS subject, sum(acquired) AS acquired, sum(denied) AS denied, sum(overage) AS overage,
               sum(heartbeats) AS heartbeats, max(peak) AS peak
        FROM public.usage_hourly WHERE tenant_id = whose AND hour = since GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    )
    INSERT INTO public.usage_totals AS t (tenant_id, subject_id, is_of_tenant, span, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds,
                                   users, devices)
    SELECT whose, subject, subject = whose, 'hour', since, coalesce(c.acquired, 0), coalesce(c.denied, 0), coalesce(c.overage, 0),
           coalesce(c.heartbeats, 0), coalesce(greatest(c.peak, k.peak), 0), coalesce(p.seat_seconds, 0), coalesce(p.users, 0), coalesce(p.devices, 0)
    FROM counted c FULL JOIN presence p USING (subject) LEFT JOIN peaks k USING (subject)
    ON CONFLICT (subject_id, span, starts_at) DO UPDATE SET acquired = excluded.acquired, denied = excluded.denied,
        overage = excluded.overage, heartbeats = excluded.heartbeats, peak = excluded.peak, seat_seconds = excluded.seat_seconds,
        users = excluded.users, devices = excluded.devices;

    -- The hours of a day add up, but for who was there: somebody who comes every hour is one all day.
    SELECT max(starts_at) + interval '1 hour' INTO until FROM public.usage_totals
    WHERE subject_id = whose AND span = 'hour' AND starts_at >= today AND starts_at < today + interval '1 day';
    WITH sat AS (
        SELECT license_id, user_email, hardware_id FROM public.sessions WHERE tenant_id = whose AND ended_at IS NULL AND started_at < until
        UNION ALL
        SELECT license_id, user_email, hardware_id FROM public.sessions WHERE tenant_id = whose AND ended_at > today AND started_at < until
    ), presence AS (
        SELECT coalesce(license_id, whose) AS subject_id, count(DISTINCT lower(user_email)) AS users, count(DISTINCT hardware_id) AS devices
        FROM sat GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    ), hours AS (
        SELECT subject_id, is_of_tenant, sum(acquired) AS acquired, sum(denied) AS denied, sum(overage) AS overage,
               sum(heartbeats) AS heartbeats, max(peak) AS peak, sum(seat_seconds) AS seat_seconds
        FROM public.usage_totals WHERE tenant_id = whose AND span = 'hour' AND is_of_tenant IN (true, false)
            AND starts_at >= today AND starts_at < today + interval '1 day'
        GROUP BY subject_id, is_of_tenant
    )
    INSERT INTO public.usage_totals AS t (tenant_id, subject_id, is_of_tenant, span, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds,
                                   users, devices)
    SELECT whose, subject_id, is_of_tenant, 'day', today, acquired, denied, overage, heartbeats, peak, seat_seconds,
           coalesce(users, 0), coalesce(devices, 0)
    FROM hours LEFT JOIN presence USING (subject_id)
    ON CONFLICT (subject_id, span, starts_at) DO UPDATE SET acquired = excluded.acquired, denied = excluded.denied,
        overage = excluded.overage, heartbeats = excluded.heartbeats, peak = excluded.peak, seat_seconds = excluded.seat_seconds,
        users = excluded.users, devices = excluded.devices;
END
$$;
