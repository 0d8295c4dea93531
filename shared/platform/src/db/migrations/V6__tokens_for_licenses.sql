-- A license's wish for a bearer token is known wherever the license is.
DROP FUNCTION license_by_key(bytea), license_by_id(uuid);
ALTER TYPE known_license ADD ATTRIBUTE requires_token boolean;
CREATE FUNCTION license_by_key(hash bytea) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status, l.seats_total, l.overage, l.session_ttl_seconds,
           l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document, l.requires_token
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.key_hash = hash
$$;
CREATE FUNCTION license_by_id(license uuid) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status, l.seats_total, l.overage, l.session_ttl_seconds,
           l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document, l.requires_token
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.id = license
$$;
GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION license_by_key(bytea) OWNER TO coditect_resolver;
ALTER FUNCTION license_by_id(uuid) OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION license_by_key(bytea), license_by_id(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION license_by_key(bytea), license_by_id(uuid) TO coditect_functions, coditect_jobs, coditect_admin;
RESET ROLE;

-- Staff are made by whoever has the database's login, and by no role that serves.
DO $$
BEGIN
    EXECUTE format('CREATE POLICY login ON staff TO %I USING (true)', current_user);
    EXECUTE format('CREATE POLICY login ON audit_events FOR INSERT TO %I WITH CHECK (tenant_id IS NULL)', current_user);
END
$$;
