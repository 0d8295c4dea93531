-- What the seat engine tells at each grant and release is nearly all that is told, and it is told on the hot path. It has a part of its own
-- with the two indexes that it needs, while those of people's filters are on the part of all else: a commit of the engine opens none of them.
-- Who reads goes by the whole, who tells of seats writes to the part; nobody may read a part by its name.
ALTER TABLE audit_events RENAME TO audit_events_of_others;
ALTER TABLE audit_events_of_others NO FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_events_of_others DISABLE TRIGGER audit_events_stay;
ALTER TABLE audit_events_of_others ALTER COLUMN id DROP IDENTITY;
-- An identity column cannot be shared by the parts of a table before PostgreSQL 17.
CREATE SEQUENCE audit_events_number;
SELECT setval('audit_events_number', 1 + coalesce((SELECT max(id) FROM audit_events_of_others), 0), false);
GRANT USAGE ON SEQUENCE audit_events_number TO coditect_functions, coditect_admin, coditect_jobs, coditect_resolver;
ALTER TABLE audit_events_of_others ALTER COLUMN id SET DEFAULT nextval('audit_events_number');

CREATE TABLE audit_events (LIKE audit_events_of_others INCLUDING DEFAULTS) PARTITION BY LIST (action);
-- What people's filters ask for is never there: told so, PostgreSQL does not go through it for them.
CREATE TABLE audit_events_of_seats PARTITION OF audit_events (
    CHECK (actor_id IS NULL), CHECK (subject_id IS NULL), CHECK (NOT is_refused)
) FOR VALUES IN ('session.acquired', 'session.released');
INSERT INTO audit_events_of_seats SELECT * FROM audit_events_of_others WHERE action IN ('session.acquired', 'session.released');
DELETE FROM audit_events_of_others WHERE action IN ('session.acquired', 'session.released');
CREATE INDEX audit_events_of_seats_newest ON audit_events_of_seats (at, id);
CREATE INDEX audit_events_of_seats_listed ON audit_events_of_seats (tenant_id, at, id);
ALTER TABLE audit_events ATTACH PARTITION audit_events_of_others DEFAULT;

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_events_of_seats ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events_of_seats FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_events_of_others FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON audit_events USING (tenant_id = current_tenant());
CREATE POLICY own_tenant ON audit_events_of_seats USING (tenant_id = current_tenant());
CREATE POLICY staff ON audit_events TO coditect_admin USING ((SELECT is_staff()));
CREATE POLICY jobs ON audit_events TO coditect_jobs USING (true);
CREATE POLICY resolver ON audit_events FOR INSERT TO coditect_resolver WITH CHECK (true);
DO $$
BEGIN
    EXECUTE format('CREATE POLICY login ON audit_events FOR INSERT TO %I WITH CHECK (tenant_id IS NULL)', current_user);
END
$$;
REVOKE ALL ON audit_events_of_others FROM coditect_functions, coditect_admin, coditect_jobs, coditect_resolver;
GRANT INSERT ON audit_events TO coditect_functions, coditect_admin, coditect_jobs, coditect_resolver;
GRANT SELECT ON audit_events TO coditect_admin;
GRANT INSERT ON audit_events_of_seats TO coditect_functions;

ALTER TABLE audit_events_of_others ENABLE TRIGGER audit_events_stay;
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_stay();
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events_of_seats
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_stay();
