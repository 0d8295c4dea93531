-- The administration: how its lists are read, what it blocks, and creations that may be asked for twice.

-- The planner takes an equation of settings to hold for one row of two hundred, and so to read for staff two hundred times what is shown:
-- it would sort a table instead. Of a choice between true and false it expects half.
CREATE OR REPLACE FUNCTION is_staff() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN coalesce(current_setting('coditect.staff', true), '') = 'yes' THEN true ELSE false END;

-- For staff over all tenants, whose lists would else be sorted anew for every page.
CREATE INDEX users_newest ON users (created_at, id);
CREATE INDEX licenses_newest ON licenses (created_at, id);

-- By whom and where a session was: hash indexes, because every grant and release pays for them, and a tree costs thrice as much.
CREATE INDEX sessions_of_user ON sessions USING hash (user_email);
CREATE INDEX sessions_on_hardware ON sessions USING hash (hardware_id);
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

-- What the seat engine tells is most of what is told, and needs no index of its own.
CREATE INDEX audit_events_action ON audit_events (tenant_id, action, at, id)
    WHERE action NOT IN ('session.acquired', 'session.released', 'session.expired');
CREATE INDEX audit_events_refused ON audit_events (tenant_id, at, id) WHERE is_refused;

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
CREATE POLICY staff ON idempotent_answers TO coditect_admin USING (is_staff());
GRANT SELECT, INSERT, DELETE ON idempotent_answers TO coditect_admin;
