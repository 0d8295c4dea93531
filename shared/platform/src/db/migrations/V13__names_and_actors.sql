-- No function of the database finds an object by a name that its caller could have taken.
--
-- PostgreSQL looks for tables and types in the caller's temporary schema first, unless search_path names pg_temp last. Whoever
-- may make temporary objects could thus give a function that runs with more rights a type `text` or a table of its own.

-- Every name in these five is qualified, or of pg_catalog.
ALTER FUNCTION public.make_archive_of(timestamptz) SET search_path = pg_catalog, pg_temp;
SET LOCAL ROLE coditect_resolver;
ALTER FUNCTION public.license_by_key(bytea) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION public.license_by_id(uuid) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION public.person_by_identity(text, text, text, timestamptz) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION public.person_by_token(bytea, timestamptz) SET search_path = pg_catalog, pg_temp;
RESET ROLE;

-- Triggers run with the rights of whoever changes the table. These are as before, with every name qualified.
CREATE OR REPLACE FUNCTION public.tenant_touches_licenses() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.licenses SET version = version + 1, updated_at = NEW.updated_at WHERE tenant_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION public.audit_events_stay() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'audit events are never changed or deleted' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE OR REPLACE FUNCTION public.usage_is_totaled() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.total_usage(tenant_id, hour)
    FROM (SELECT DISTINCT tenant_id, hour FROM counted ORDER BY tenant_id, hour) AS touched;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION public.total_usage(whose uuid, since timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := since + interval '1 hour';
    today timestamptz := date_trunc('day', since, 'UTC');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('usage_totals ' || whose, 0));
    WITH sat AS (
        SELECT license_id, user_email, hardware_id, greatest(started_at, since) AS came, least(coalesce(ended_at, until), until) AS went
        FROM public.sessions WHERE tenant_id = whose AND ended_at IS NULL AND started_at < until
        UNION ALL
        SELECT license_id, user_email, hardware_id, greatest(started_at, since), least(ended_at, until)
        FROM public.sessions WHERE tenant_id = whose AND ended_at > since AND started_at < until
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
        FROM public.usage_hourly WHERE tenant_id = whose AND hour = since GROUP BY GROUPING SETS ((license_id), ()) HAVING count(*) > 0
    )
    INSERT INTO public.usage_totals AS t (tenant_id, subject_id, is_of_tenant, span, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds,
                                   users, devices)
    SELECT whose, subject, subject = whose, 'hour', since, coalesce(c.acquired, 0), coalesce(c.denied, 0), coalesce(c.overage, 0),
           coalesce(c.heartbeats, 0), greatest(c.peak, k.peak), coalesce(p.seat_seconds, 0), coalesce(p.users, 0), coalesce(p.devices, 0)
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

-- A function is for those who are granted it. current_tenant(), is_staff() and shown_id() stay with PUBLIC: policies call them as
-- whoever asks, they read no table, and the names in them were bound when they were made.
REVOKE ALL ON FUNCTION public.tenant_touches_licenses(), public.audit_events_stay(), public.usage_is_totaled() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Takes from PUBLIC what PostgreSQL grants it on a new database: temporary objects, and before version 15 new ones in the schema
-- public. The program that migrates calls it each time, because neither a copy of a database nor a restored one has its rights.
CREATE FUNCTION public.revoke_public_rights() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    -- PostgreSQL only warns a login that may not revoke.
    IF EXISTS (
        SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
        WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY'
    ) THEN
        RAISE EXCEPTION 'login % may not revoke TEMPORARY on database % from PUBLIC', current_user, current_database()
            USING ERRCODE = 'insufficient_privilege', HINT = format(
                'As the owner of the database run REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, then migrate again.', current_database());
    END IF;
    IF EXISTS (
        SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
        WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
    ) THEN
        RAISE EXCEPTION 'login % may not revoke CREATE on schema public from PUBLIC', current_user
            USING ERRCODE = 'insufficient_privilege',
            HINT = 'As the owner of the database run REVOKE CREATE ON SCHEMA public FROM PUBLIC, then migrate again.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION public.revoke_public_rights() FROM PUBLIC;
SELECT public.revoke_public_rights();

-- Who writes an audit event writes it as itself, and for the tenant of the transaction: one policy for each role, and none for all.
DROP POLICY own_tenant ON public.audit_events;
DROP POLICY staff ON public.audit_events;
DROP POLICY jobs ON public.audit_events;
DROP POLICY resolver ON public.audit_events;
DROP POLICY own_tenant ON public.audit_events_of_seats;
CREATE POLICY own_tenant ON public.audit_events FOR SELECT USING (tenant_id = public.current_tenant());
CREATE POLICY staff ON public.audit_events FOR SELECT TO coditect_admin USING ((SELECT public.is_staff()));
-- The seat engine tells what clients did, and what it did by itself.
CREATE POLICY engine_writes ON public.audit_events FOR INSERT TO coditect_functions WITH CHECK (
    tenant_id = public.current_tenant() AND actor IN ('client', 'system') AND actor_id IS NULL AND token_id IS NULL
    AND starts_with(action, 'session.') AND NOT is_refused
);
-- That an event of this part has no actor_id, no subject and no refusal, and is of two actions, its constraints say.
CREATE POLICY engine_writes ON public.audit_events_of_seats FOR INSERT TO coditect_functions WITH CHECK (
    tenant_id = public.current_tenant() AND actor = 'client' AND token_id IS NULL
);
-- A job goes through all tenants in one statement, and acts as nobody.
CREATE POLICY jobs_write ON public.audit_events FOR INSERT TO coditect_jobs WITH CHECK (
    tenant_id IS NOT NULL AND actor = 'system' AND actor_id IS NULL AND token_id IS NULL AND NOT is_refused
);
-- Somebody who signs in does so as a person, without a token of this platform.
CREATE POLICY resolver_writes ON public.audit_events FOR INSERT TO coditect_resolver WITH CHECK (
    actor IN ('user', 'staff') AND actor_id IS NOT NULL AND token_id IS NULL AND NOT is_refused
);
-- The administration names whom it serves in the setting coditect.actor: kind, id and token. An administration of an older release
-- does not, and is let through until none runs any more; a later migration takes that back.
CREATE POLICY admin_writes ON public.audit_events FOR INSERT TO coditect_admin WITH CHECK (
    (tenant_id = public.current_tenant() OR public.is_staff())
    AND actor IN ('user', 'staff') AND actor_id IS NOT NULL
    AND concat_ws(' ', actor, actor_id, token_id::pg_catalog.text)
        = coalesce(nullif(current_setting('coditect.actor', true), ''), concat_ws(' ', actor, actor_id, token_id::pg_catalog.text))
);
-- The login that owns the tables makes the first customer, and invites the first of the staff.
ALTER POLICY login ON public.audit_events WITH CHECK (
    tenant_id IS NOT DISTINCT FROM public.current_tenant() AND actor IN ('bootstrap', 'operator')
);
