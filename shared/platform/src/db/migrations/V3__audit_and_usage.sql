-- What happened, for good: rows are added and never changed. No foreign keys, because an event outlives what it tells of.
CREATE TABLE audit_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL,
    license_id uuid,
    session_id uuid,
    details    jsonb
);

-- What the seat engine counts, by license and hour.
CREATE TABLE usage_hourly (
    tenant_id  uuid NOT NULL,
    license_id uuid NOT NULL REFERENCES licenses,
    hour       timestamptz NOT NULL,
    acquired   bigint NOT NULL DEFAULT 0,
    denied     bigint NOT NULL DEFAULT 0,
    overage    bigint NOT NULL DEFAULT 0,
    heartbeats bigint NOT NULL DEFAULT 0,
    peak       integer NOT NULL DEFAULT 0,
    PRIMARY KEY (license_id, hour)
);

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_hourly ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_hourly FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON audit_events USING (tenant_id = current_tenant());
CREATE POLICY own_tenant ON usage_hourly USING (tenant_id = current_tenant());
CREATE POLICY jobs ON audit_events TO coditect_jobs USING (true);
CREATE POLICY jobs ON usage_hourly TO coditect_jobs USING (true);

GRANT INSERT ON audit_events TO coditect_functions, coditect_jobs;
