-- The administration: how its lists are read, what it blocks, and creations that may be asked for twice.

-- For staff over all tenants, whose lists would else be sorted anew for every page.
CREATE INDEX users_newest ON users (created_at, id);
-- NULLS LAST keeps these from being taken for the list of one tenant, which would be looked for among the newer licenses of all others.
CREATE INDEX licenses_newest ON licenses (created_at DESC NULLS LAST, id DESC NULLS LAST);
CREATE INDEX licenses_newest_by_status ON licenses (status, created_at DESC NULLS LAST, id DESC NULLS LAST);
-- What people look licenses up by.
CREATE INDEX licenses_by_status ON licenses (tenant_id, status, created_at, id);
CREATE INDEX licenses_key_end ON licenses (key_last_four);
CREATE INDEX licenses_expiring ON licenses (expires_at) WHERE expires_at IS NOT NULL;

-- By whom and where a session was. Trees, though a hash index costs less: a device farm has one address for millions of sessions, and each
-- new entry would be carried along the chain of all the others.
CREATE INDEX sessions_live_of_user ON sessions (user_email, tenant_id, started_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_live_on_hardware ON sessions (hardware_id, tenant_id, started_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_of_user ON sessions (user_email, tenant_id, started_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_ended_on_hardware ON sessions (hardware_id, tenant_id, started_at) WHERE ended_at IS NOT NULL;
-- A list is read as four runs, one of those who live and one for each way to end: by index, whatever it is filtered by, and as many entries
-- are written for each session as if there were one index of all. The live ones of a license are read by its seats.
DROP INDEX sessions_listed, sessions_of_license_listed;
CREATE INDEX sessions_live_listed ON sessions (tenant_id, started_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_live_newest ON sessions (started_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_listed ON sessions (tenant_id, ended_reason, started_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_ended_of_license ON sessions (license_id, ended_reason, started_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_ended_newest ON sessions (ended_reason, started_at) WHERE ended_at IS NOT NULL;
-- Who was there in an hour, for usage; and what the sweep looks at again, lest Redis bring it back.
CREATE INDEX sessions_ended ON sessions (tenant_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_revoked ON sessions (ended_at) WHERE ended_reason = 'revoked';

ALTER TABLE hardware_blocks ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;
CREATE INDEX hardware_blocks_listed ON hardware_blocks (tenant_id, created_at, id);
CREATE INDEX hardware_blocks_newest ON hardware_blocks (created_at, id);
CREATE INDEX usage_hourly_listed ON usage_hourly (tenant_id, hour, license_id);

-- Usage as it is read: by hour and day, of each license and of a tenant's licenses together.
CREATE TABLE usage_totals (
    tenant_id    uuid NOT NULL,
    -- The license, or the tenant itself.
    subject_id   uuid NOT NULL,
    is_of_tenant boolean NOT NULL,
    span         text NOT NULL CHECK (span IN ('hour', 'day')),
    starts_at    timestamptz NOT NULL,
    acquired     bigint NOT NULL,
    denied       bigint NOT NULL,
    overage      bigint NOT NULL,
    heartbeats   bigint NOT NULL,
    peak         bigint NOT NULL,
    seat_seconds double precision NOT NULL,
    users        bigint NOT NULL,
    devices      bigint NOT NULL,
    PRIMARY KEY (subject_id, span, starts_at)
);
CREATE INDEX usage_totals_listed ON usage_totals (tenant_id, span, is_of_tenant, starts_at, subject_id);
CREATE INDEX usage_totals_newest ON usage_totals (span, is_of_tenant, starts_at, subject_id);
ALTER TABLE usage_totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_totals FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON usage_totals USING (tenant_id = current_tenant());
CREATE POLICY staff ON usage_totals TO coditect_admin USING ((SELECT is_staff()));
CREATE POLICY jobs ON usage_totals TO coditect_jobs USING (true);
GRANT SELECT ON usage_totals TO coditect_admin;
GRANT SELECT, INSERT, UPDATE ON usage_totals TO coditect_jobs;
GRANT SELECT ON usage_hourly TO coditect_jobs;

-- Totals one hour of a tenant, and then its day: what the engine counted, and who sat by the sessions' record. Done again it gives the same.
-- One at a time for a tenant, so that each sees what the one before has counted.
CREATE FUNCTION total_usage(whose uuid, since timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    until timestamptz := since + interval '1 hour';
    today timestamptz := date_trunc('day', since, 'UTC');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('usage_totals ' || whose, 0));
    WITH sat AS (
        SELECT license_id, user_email, hardware_id, greatest(started_at, since) AS came, least(coalesce(ended_at, until), until) AS went
        FROM sessions WHERE tenant_id = whose AND ended_at IS NULL AND started_at < until
        UNION ALL
        SELECT license_id, user_email, hardware_id, greatest(started_at, since), least(ended_at, until)
        FROM sessions WHERE tenant_id = whose AND ended_at > since AND started_at < until
    ), steps AS (
        SELECT license_id, came AS at, 1 AS step FROM sat UNION ALL SELECT license_id, went, -1 FROM sat
    ), there AS (
        SELECT license_id, sum(step) OVER (PARTITION BY license_id ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS of_license,
               sum(step) OVER (ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS of_tenant FROM steps
    ), peaks AS (
        SELECT license_id AS subject, max(of_license) AS peak FROM there GROUP BY license_id
        UNION ALL SELECT whose, max(of_tenant) FROM there HAVING count(*) > 0
    ), presence AS (
        SELECT coalesce(license_id, whose) AS subject, sum(extract(epoch FROM went - came)) AS seat_seconds,
               count(DISTINCT lower(user_email)) AS users, count(DISTINCT hardware_id) AS devices
        FROM sat GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    ), counted AS (
        SELECT coalesce(license_id, whose) AS subject, sum(acquired) AS acquired, sum(denied) AS denied, sum(overage) AS overage,
               sum(heartbeats) AS heartbeats, max(peak) AS peak
        FROM usage_hourly WHERE tenant_id = whose AND hour = since GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    )
    INSERT INTO usage_totals AS t (tenant_id, subject_id, is_of_tenant, span, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds,
                                   users, devices)
    SELECT whose, subject, subject = whose, 'hour', since, coalesce(c.acquired, 0), coalesce(c.denied, 0), coalesce(c.overage, 0),
           coalesce(c.heartbeats, 0), greatest(c.peak, k.peak), coalesce(p.seat_seconds, 0), coalesce(p.users, 0), coalesce(p.devices, 0)
    FROM counted c FULL JOIN presence p USING (subject) LEFT JOIN peaks k USING (subject)
    ON CONFLICT (subject_id, span, starts_at) DO UPDATE SET acquired = excluded.acquired, denied = excluded.denied,
        overage = excluded.overage, heartbeats = excluded.heartbeats, peak = excluded.peak, seat_seconds = excluded.seat_seconds,
        users = excluded.users, devices = excluded.devices;

    -- The hours of a day add up, but for who was there: somebody who comes every hour is one all day.
    SELECT max(starts_at) + interval '1 hour' INTO until FROM usage_totals
    WHERE subject_id = whose AND span = 'hour' AND starts_at >= today AND starts_at < today + interval '1 day';
    WITH sat AS (
        SELECT license_id, user_email, hardware_id FROM sessions WHERE tenant_id = whose AND ended_at IS NULL AND started_at < until
        UNION ALL
        SELECT license_id, user_email, hardware_id FROM sessions WHERE tenant_id = whose AND ended_at > today AND started_at < until
    ), presence AS (
        SELECT coalesce(license_id, whose) AS subject_id, count(DISTINCT lower(user_email)) AS users, count(DISTINCT hardware_id) AS devices
        FROM sat GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    ), hours AS (
        SELECT subject_id, is_of_tenant, sum(acquired) AS acquired, sum(denied) AS denied, sum(overage) AS overage,
               sum(heartbeats) AS heartbeats, max(peak) AS peak, sum(seat_seconds) AS seat_seconds
        FROM usage_totals WHERE tenant_id = whose AND span = 'hour' AND is_of_tenant IN (true, false)
            AND starts_at >= today AND starts_at < today + interval '1 day'
        GROUP BY subject_id, is_of_tenant
    )
    INSERT INTO usage_totals AS t (tenant_id, subject_id, is_of_tenant, span, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds,
                                   users, devices)
    SELECT whose, subject_id, is_of_tenant, 'day', today, acquired, denied, overage, heartbeats, peak, seat_seconds,
           coalesce(users, 0), coalesce(devices, 0)
    FROM hours LEFT JOIN presence USING (subject_id)
    ON CONFLICT (subject_id, span, starts_at) DO UPDATE SET acquired = excluded.acquired, denied = excluded.denied,
        overage = excluded.overage, heartbeats = excluded.heartbeats, peak = excluded.peak, seat_seconds = excluded.seat_seconds,
        users = excluded.users, devices = excluded.devices;
END
$$;
REVOKE ALL ON FUNCTION total_usage(uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION total_usage(uuid, timestamptz) TO coditect_jobs;

-- Whoever writes down what was counted in an hour has totaled it: in the same transaction, tenants in one order, lest two wait for each other.
CREATE FUNCTION usage_is_totaled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM total_usage(tenant_id, hour) FROM (SELECT DISTINCT tenant_id, hour FROM counted ORDER BY tenant_id, hour) AS touched;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_is_totaled_when_new AFTER INSERT ON usage_hourly
    REFERENCING NEW TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION usage_is_totaled();
CREATE TRIGGER usage_is_totaled_when_more AFTER UPDATE ON usage_hourly
    REFERENCING NEW TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION usage_is_totaled();

-- Events are read by when they were, by staff over all tenants: the key is that index, so that a grant pays for no more than it did.
ALTER TABLE audit_events DROP CONSTRAINT audit_events_pkey, ADD PRIMARY KEY (at, id);
-- What the seat engine tells is most of what is told, and needs no index of its own.
CREATE INDEX audit_events_action ON audit_events (tenant_id, action, at, id)
    WHERE action NOT IN ('session.acquired', 'session.released');
CREATE INDEX audit_events_action_of_all ON audit_events (action, at, id)
    WHERE action NOT IN ('session.acquired', 'session.released');
CREATE INDEX audit_events_refused ON audit_events (tenant_id, at, id) WHERE is_refused;
CREATE INDEX audit_events_refused_of_all ON audit_events (at, id) WHERE is_refused;
CREATE INDEX audit_events_actor_of_all ON audit_events (actor_id, at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_events_subject_of_all ON audit_events (subject_id, at, id) WHERE subject_id IS NOT NULL;

-- For good: not even by the login that owns the table, should it be led to try.
CREATE FUNCTION audit_events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are never changed or deleted' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_stay();

-- What was answered to a creation, so that the same request is answered the same. Sealed by a key that is not in this database, because
-- an answer may hold what is shown once.
CREATE TABLE idempotent_answers (
    actor_id     uuid NOT NULL,
    key_digest   bytea NOT NULL CHECK (length(key_digest) = 16),
    tenant_id    uuid REFERENCES tenants,
    request_hash bytea NOT NULL CHECK (length(request_hash) = 16),
    answer       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (actor_id, key_digest)
);
ALTER TABLE idempotent_answers ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotent_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON idempotent_answers USING (tenant_id = current_tenant());
CREATE POLICY staff ON idempotent_answers TO coditect_admin USING ((SELECT is_staff()));
GRANT SELECT, INSERT, DELETE ON idempotent_answers TO coditect_admin;

-- Whether staff ask is asked once for each statement, not once for each row; and the planner, who cannot know the answer, reckons with half
-- of the rows and not with two hundredth parts of them, for which it would rather sort a whole table than go by an index.
ALTER POLICY staff ON tenants USING ((SELECT is_staff()));
ALTER POLICY staff ON users USING ((SELECT is_staff()));
ALTER POLICY staff ON licenses USING ((SELECT is_staff()));
ALTER POLICY staff ON sessions USING ((SELECT is_staff()));
ALTER POLICY staff ON audit_events USING ((SELECT is_staff()));
ALTER POLICY staff ON usage_hourly USING ((SELECT is_staff()));
ALTER POLICY staff ON access_tokens USING ((SELECT is_staff()));
ALTER POLICY staff ON hardware_blocks USING ((SELECT is_staff()));
