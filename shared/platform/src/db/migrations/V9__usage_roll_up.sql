-- How usage is written down, and how far the hours have been totaled for good.
GRANT INSERT, UPDATE ON usage_hourly TO coditect_jobs;

-- The order in which licenses are gone through: those of a tenant together, because its hours are totaled together.
CREATE INDEX licenses_by_tenant ON licenses (tenant_id, id);

-- One row: every hour before this moment has been totaled once it was over, for every tenant.
CREATE TABLE usage_closing (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    closed_until timestamptz NOT NULL
);
INSERT INTO usage_closing (closed_until) VALUES (date_trunc('hour', now(), 'UTC'));
ALTER TABLE usage_closing ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_closing FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs ON usage_closing TO coditect_jobs USING (true);
GRANT SELECT, UPDATE (closed_until) ON usage_closing TO coditect_jobs;
