-- Who may connect as what, and how a row knows its tenant. Roles belong to the whole server, so several databases
-- (and several migrations at once) may meet here: an existing role is fine.
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['coditect_functions', 'coditect_jobs', 'coditect_resolver'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    -- The migrating login hands objects to the resolver and acts as the other two when it serves on a laptop.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT coditect_functions, coditect_jobs, coditect_resolver TO %I', current_user);
    END IF;
END
$$;

-- The tenant of this transaction, set with set_config('coditect.tenant', …, true). NULL, and so no rows, where nobody set it.
CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('coditect.tenant', true), '')::uuid;

CREATE TABLE tenants (
    id                     uuid PRIMARY KEY,
    name                   text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    tier                   text NOT NULL CHECK (tier IN ('trial', 'starter', 'professional', 'enterprise')),
    seat_limit             integer NOT NULL CHECK (seat_limit >= 0),
    status                 text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'closed')),
    stripe_customer_id     text UNIQUE,
    stripe_subscription_id text UNIQUE,
    version                bigint NOT NULL DEFAULT 1,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL
);

CREATE TABLE users (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL REFERENCES tenants,
    email             text NOT NULL CHECK (length(email) <= 254),
    role              text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'guest')),
    -- The identity provider's names for this person; empty until the first sign-in.
    provider_issuer   text,
    provider_subject  text,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CHECK ((provider_issuer IS NULL) = (provider_subject IS NULL)),
    UNIQUE (provider_issuer, provider_subject)
);
CREATE UNIQUE INDEX users_tenant_email ON users (tenant_id, lower(email));

CREATE TABLE licenses (
    id                  uuid PRIMARY KEY,
    tenant_id           uuid NOT NULL REFERENCES tenants,
    -- SHA-256 of the license key: the key itself is shown once and stored nowhere.
    key_hash            bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    key_last_four       text NOT NULL CHECK (length(key_last_four) = 4),
    -- Grows with every change of the license or its tenant; the seat engine believes the greater version.
    version             bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    tier                text NOT NULL CHECK (tier IN ('trial', 'starter', 'professional', 'enterprise')),
    status              text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'revoked')),
    seats_total         integer NOT NULL CHECK (seats_total BETWEEN 0 AND 1000000),
    overage             integer NOT NULL DEFAULT 0 CHECK (overage BETWEEN 0 AND 1000000),
    session_ttl_seconds integer NOT NULL DEFAULT 360 CHECK (session_ttl_seconds BETWEEN 3 AND 86400),
    seat_unit           text NOT NULL DEFAULT 'device' CHECK (seat_unit IN ('device', 'process')),
    starts_at           timestamptz,
    expires_at          timestamptz,
    features            text[] NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    CHECK (starts_at IS NULL OR expires_at IS NULL OR starts_at < expires_at)
);
CREATE INDEX licenses_tenant ON licenses (tenant_id);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
ALTER TABLE licenses ENABLE ROW LEVEL SECURITY;
ALTER TABLE licenses FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON tenants USING (id = current_tenant());
CREATE POLICY own_tenant ON users USING (tenant_id = current_tenant());
CREATE POLICY own_tenant ON licenses USING (tenant_id = current_tenant());
CREATE POLICY resolver ON tenants FOR SELECT TO coditect_resolver USING (true);
CREATE POLICY resolver ON licenses FOR SELECT TO coditect_resolver USING (true);

-- A status of the tenant is part of what every license of it may do, so a change of it is a change of them.
CREATE FUNCTION tenant_touches_licenses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE licenses SET version = version + 1, updated_at = NEW.updated_at WHERE tenant_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER tenant_touches_licenses AFTER UPDATE OF status ON tenants
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION tenant_touches_licenses();

-- The two questions that must be asked before the tenant is known. Each needs the secret (the key's hash) or the full
-- 128-bit id, and answers with one license: the only way for a function to read without a tenant.
CREATE TYPE known_license AS (
    id uuid, tenant_id uuid, version bigint, key_last_four text, tier text, status text, tenant_status text,
    seats_total integer, overage integer, session_ttl_seconds integer, seat_unit text,
    starts_at timestamptz, expires_at timestamptz, features text[]
);
CREATE FUNCTION license_by_key(hash bytea) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status,
           l.seats_total, l.overage, l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.key_hash = hash
$$;
CREATE FUNCTION license_by_id(license uuid) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status,
           l.seats_total, l.overage, l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.id = license
$$;
GRANT USAGE ON SCHEMA public TO coditect_functions, coditect_jobs, coditect_resolver;
GRANT SELECT ON tenants, licenses TO coditect_resolver, coditect_functions, coditect_jobs;
GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION license_by_key(bytea) OWNER TO coditect_resolver;
ALTER FUNCTION license_by_id(uuid) OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION license_by_key(bytea), license_by_id(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION license_by_key(bytea), license_by_id(uuid) TO coditect_functions, coditect_jobs;
RESET ROLE;
