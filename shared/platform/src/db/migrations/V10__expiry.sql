-- Licenses that run out, and what nobody needs any longer.

-- Each is the end of the license that it is about: once `expires_at` is another, it tells of the past and counts for nothing.
ALTER TABLE licenses
    ADD COLUMN warned_for timestamptz,
    ADD COLUMN warned_days smallint,
    ADD COLUMN expired_for timestamptz,
    ADD COLUMN expired_at timestamptz,
    -- Nothing is left to be done about it.
    ADD COLUMN settled_for timestamptz,
    ADD CHECK ((warned_for IS NULL) = (warned_days IS NULL) AND (expired_for IS NULL) = (expired_at IS NULL));
CREATE INDEX licenses_running_out ON licenses (expires_at, id) WHERE settled_for IS DISTINCT FROM expires_at;
GRANT UPDATE (warned_for, warned_days, expired_for, expired_at, settled_for) ON licenses TO coditect_jobs;

-- Sessions that ended long ago, by the month in which they did: what was asked with an idempotency key is no longer told.
CREATE TABLE sessions_archive (
    id           uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    license_id   uuid NOT NULL,
    seat         integer NOT NULL,
    holder       bytea NOT NULL,
    hardware_id  text NOT NULL,
    user_email   text NOT NULL,
    started_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    ended_reason text NOT NULL,
    PRIMARY KEY (id, ended_at)
) PARTITION BY RANGE (ended_at);
CREATE INDEX sessions_archive_listed ON sessions_archive (tenant_id, ended_at, id);
ALTER TABLE sessions_archive ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions_archive FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON sessions_archive USING (tenant_id = current_tenant());
CREATE POLICY staff ON sessions_archive TO coditect_admin USING ((SELECT is_staff()));
CREATE POLICY jobs ON sessions_archive TO coditect_jobs USING (true);
GRANT SELECT ON sessions_archive TO coditect_admin;
GRANT SELECT, INSERT ON sessions_archive TO coditect_jobs;
GRANT DELETE ON sessions TO coditect_jobs;

-- Makes the part of a month. A function, because who archives must not be able to make anything else; a part is reached
-- through the whole alone, and nobody may read it by its own name.
CREATE FUNCTION make_archive_of(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz := date_trunc('month', moment);
    part text := 'sessions_archive_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    -- The lock that making it takes anyway; whoever waits for it then sees what another has made.
    LOCK TABLE public.sessions_archive IN ACCESS EXCLUSIVE MODE;
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.sessions_archive FOR VALUES FROM (%L) TO (%L)', part, month, month + interval '1 month');
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
END
$$;
REVOKE ALL ON FUNCTION make_archive_of(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_archive_of(timestamptz) TO coditect_jobs;

CREATE INDEX idempotent_answers_created ON idempotent_answers (created_at);
CREATE POLICY jobs ON idempotent_answers TO coditect_jobs USING (true);
GRANT SELECT, DELETE ON idempotent_answers TO coditect_jobs;

-- A revoked leaf stays on the list for good; of the others, nothing that they have signed is alive.
CREATE POLICY jobs_keep ON signing_keys AS RESTRICTIVE FOR DELETE TO coditect_jobs USING (state = 'gone' AND revoked_at IS NULL);
GRANT DELETE ON signing_keys TO coditect_jobs;
