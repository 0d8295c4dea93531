-- The record of seats: a seat is granted when its row here is committed, and only then is the client told.
-- It is written twice for every seat, so it bears no more than it must: PostgreSQL reads each CHECK anew for every statement
-- (the platform's types hold what they would say), and a foreign key would lock the license's row for every grant.
CREATE TABLE sessions (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    license_id      uuid NOT NULL,
    seat            integer NOT NULL,
    -- Who sits: first 128 bits of a SHA-256 of the hardware id, or of the idempotency key where seats are per process.
    holder          bytea NOT NULL,
    hardware_id     text NOT NULL,
    user_email      text NOT NULL,
    idempotency_key bytea,
    request_hash    bytea,
    started_at      timestamptz NOT NULL,
    -- Never later than the truth, which is in Redis while the session lives; the sweep brings it up to date.
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    -- expired, released or revoked
    ended_reason    text,
    CHECK ((ended_at IS NULL) = (ended_reason IS NULL))
) WITH (fillfactor = 85);

-- The two guards: whatever Redis believes, no seat and no holder is there twice.
CREATE UNIQUE INDEX sessions_live_seat ON sessions (license_id, seat) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX sessions_live_holder ON sessions (license_id, holder) WHERE ended_at IS NULL;
-- What the sweep reads, bounded by half of the longest TTL there is.
CREATE INDEX sessions_live_expiry ON sessions (expires_at, id) WHERE ended_at IS NULL;
CREATE INDEX licenses_session_ttl ON licenses (session_ttl_seconds);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON sessions USING (tenant_id = current_tenant());
CREATE POLICY jobs ON sessions TO coditect_jobs USING (true);
CREATE POLICY jobs ON tenants FOR SELECT TO coditect_jobs USING (true);
CREATE POLICY jobs ON licenses FOR SELECT TO coditect_jobs USING (true);

GRANT SELECT, INSERT ON sessions TO coditect_functions;
GRANT UPDATE (expires_at, ended_at, ended_reason) ON sessions TO coditect_functions, coditect_jobs;
GRANT SELECT ON sessions TO coditect_jobs;
