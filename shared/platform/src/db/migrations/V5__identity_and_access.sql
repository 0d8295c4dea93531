-- Who people and machines are, what they may do, and what they did.

-- A user is invited by email, and active once a provider has vouched for that email.
ALTER TABLE users
    ADD COLUMN status text NOT NULL DEFAULT 'invited' CHECK (status IN ('invited', 'active', 'deactivated')),
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN last_seen_at timestamptz;
CREATE INDEX users_email ON users (lower(email));
CREATE INDEX users_listed ON users (tenant_id, created_at, id);

-- The vendor's own people: of no tenant, and over all of them.
CREATE TABLE staff (
    id               uuid PRIMARY KEY,
    email            text NOT NULL CHECK (length(email) <= 254),
    status           text NOT NULL DEFAULT 'invited' CHECK (status IN ('invited', 'active', 'deactivated')),
    provider_issuer  text,
    provider_subject text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CHECK ((provider_issuer IS NULL) = (provider_subject IS NULL)),
    UNIQUE (provider_issuer, provider_subject)
);
CREATE UNIQUE INDEX staff_email ON staff (lower(email));

-- Personal access tokens, for machines: as much as their owner may do, narrowed by scopes. Shown once, stored as SHA-256.
CREATE TABLE access_tokens (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenants,
    user_id      uuid NOT NULL REFERENCES users,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    scopes       text[] NOT NULL,
    token_hash   bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    last_four    text NOT NULL CHECK (length(last_four) = 4),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX access_tokens_listed ON access_tokens (tenant_id, created_at, id);
CREATE INDEX access_tokens_of_user ON access_tokens (user_id);

-- Devices that may not take a seat of a license until a time.
CREATE TABLE hardware_blocks (
    tenant_id   uuid NOT NULL REFERENCES tenants,
    license_id  uuid NOT NULL REFERENCES licenses,
    hardware_id text NOT NULL,
    until       timestamptz NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (license_id, hardware_id)
);

-- What happened, told whole: who, by which means and for whom, to what, from where, and whether it was refused.
ALTER TABLE audit_events
    ADD COLUMN actor_id     text,
    ADD COLUMN token_id     uuid,
    ADD COLUMN subject_type text,
    ADD COLUMN subject_id   text,
    ADD COLUMN before       jsonb,
    ADD COLUMN after        jsonb,
    ADD COLUMN address      text,
    ADD COLUMN request_id   text,
    ADD COLUMN is_refused   boolean NOT NULL DEFAULT false;
-- Staff act on tenants; what they try without one is kept all the same.
ALTER TABLE audit_events ALTER COLUMN tenant_id DROP NOT NULL;
CREATE INDEX audit_events_listed ON audit_events (tenant_id, at, id);
CREATE INDEX audit_events_subject ON audit_events (tenant_id, subject_id, at, id) WHERE subject_id IS NOT NULL;
CREATE INDEX audit_events_actor ON audit_events (tenant_id, actor_id, at, id) WHERE actor_id IS NOT NULL;

-- A license may ask for a bearer token, whose email is then the session's.
ALTER TABLE licenses ADD COLUMN requires_token boolean NOT NULL DEFAULT false, ADD COLUMN name text NOT NULL DEFAULT '';
CREATE INDEX licenses_listed ON licenses (tenant_id, created_at, id);
CREATE INDEX sessions_listed ON sessions (tenant_id, started_at, id);
CREATE INDEX sessions_of_license_listed ON sessions (license_id, started_at, id);
CREATE INDEX tenants_listed ON tenants (created_at, id);

ALTER TABLE staff ENABLE ROW LEVEL SECURITY;
ALTER TABLE staff FORCE ROW LEVEL SECURITY;
ALTER TABLE access_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_tokens FORCE ROW LEVEL SECURITY;
ALTER TABLE hardware_blocks ENABLE ROW LEVEL SECURITY;
ALTER TABLE hardware_blocks FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON access_tokens USING (tenant_id = current_tenant());
CREATE POLICY own_tenant ON hardware_blocks USING (tenant_id = current_tenant());
GRANT SELECT ON hardware_blocks TO coditect_functions;

-- The administration acts as a role of its own, with the rights to change things, still one tenant at a time. Only for staff does a
-- transaction see all of them: it says so with coditect.staff, which the administration sets for nobody else.
DO $$
BEGIN
    CREATE ROLE coditect_admin NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT coditect_admin TO %I', current_user);
    END IF;
END
$$;
CREATE FUNCTION is_staff() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('coditect.staff', true), '') = 'yes';
CREATE POLICY staff ON tenants TO coditect_admin USING (is_staff());
CREATE POLICY staff ON users TO coditect_admin USING (is_staff());
CREATE POLICY staff ON licenses TO coditect_admin USING (is_staff());
CREATE POLICY staff ON sessions TO coditect_admin USING (is_staff());
CREATE POLICY staff ON audit_events TO coditect_admin USING (is_staff());
CREATE POLICY staff ON usage_hourly TO coditect_admin USING (is_staff());
CREATE POLICY staff ON access_tokens TO coditect_admin USING (is_staff());
CREATE POLICY staff ON hardware_blocks TO coditect_admin USING (is_staff());
GRANT USAGE ON SCHEMA public TO coditect_admin;
GRANT SELECT, INSERT, UPDATE ON tenants, users, licenses, access_tokens, hardware_blocks TO coditect_admin;
GRANT SELECT ON sessions, audit_events, usage_hourly TO coditect_admin;
GRANT UPDATE (ended_at, ended_reason) ON sessions TO coditect_admin;
GRANT DELETE ON hardware_blocks TO coditect_admin;
GRANT INSERT ON audit_events TO coditect_admin;
GRANT EXECUTE ON FUNCTION license_by_key(bytea), license_by_id(uuid) TO coditect_admin;

-- An id as clients see it: a prefix, and its 128 bits in Crockford's base 32.
CREATE FUNCTION shown_id(prefix text, id uuid) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN prefix || (SELECT string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz', substring(bits FROM n * 5 + 1 FOR 5)::integer + 1, 1), '' ORDER BY n)
                      FROM (SELECT ('x' || replace(id::text, '-', ''))::bit(128)::bit(130) AS bits) AS whole, generate_series(0, 25) AS n);

-- Who somebody is must be asked before the tenant is known: by issuer and subject, else by a verified email for which an invitation
-- waits, which is then taken up. Answers with at most one row; a deactivated person is nobody. `last_seen_at` moves at most once a minute.
CREATE TYPE known_person AS (standing text, id uuid, tenant_id uuid, email text, token_id uuid, scopes text[], expires_at timestamptz);
CREATE FUNCTION person_by_identity(issuer text, subject text, verified_email text, at timestamptz) RETURNS SETOF known_person
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
DECLARE kind text; joined uuid; whose uuid;
BEGIN
    IF verified_email IS NOT NULL AND NOT EXISTS (SELECT FROM public.users u WHERE u.provider_issuer = issuer AND u.provider_subject = subject)
       AND NOT EXISTS (SELECT FROM public.staff s WHERE s.provider_issuer = issuer AND s.provider_subject = subject) THEN
        BEGIN
            UPDATE public.staff s SET provider_issuer = issuer, provider_subject = subject, status = 'active', updated_at = at
            WHERE lower(s.email) = lower(verified_email) AND s.status = 'invited' AND s.provider_subject IS NULL
            RETURNING 'staff', s.id, NULL INTO kind, joined, whose;
            IF NOT FOUND THEN
                -- One person, one tenant: the oldest invitation.
                UPDATE public.users u SET provider_issuer = issuer, provider_subject = subject, status = 'active', version = version + 1, updated_at = at
                WHERE u.id = (SELECT i.id FROM public.users i JOIN public.tenants t ON t.id = i.tenant_id
                              WHERE lower(i.email) = lower(verified_email) AND i.status = 'invited' AND i.provider_subject IS NULL AND t.status <> 'closed'
                              ORDER BY i.created_at, i.id LIMIT 1 FOR UPDATE OF i)
                RETURNING 'user', u.id, u.tenant_id INTO kind, joined, whose;
            END IF;
            IF FOUND THEN
                INSERT INTO public.audit_events (tenant_id, at, actor, action, actor_id, subject_type, subject_id, before, after)
                VALUES (whose, at, kind, kind || '.joined', public.shown_id('usr_', joined), kind, public.shown_id('usr_', joined),
                        '{"status": "invited"}', '{"status": "active"}');
            END IF;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- the same person, at the same moment, has taken up another invitation
        END;
    END IF;
    UPDATE public.users u SET last_seen_at = at WHERE u.provider_issuer = issuer AND u.provider_subject = subject AND u.status = 'active'
        AND (u.last_seen_at IS NULL OR u.last_seen_at < at - interval '1 minute');
    RETURN QUERY SELECT 'staff'::text, s.id, NULL::uuid, s.email, NULL::uuid, NULL::text[], NULL::timestamptz FROM public.staff s
        WHERE s.provider_issuer = issuer AND s.provider_subject = subject AND s.status = 'active';
    IF NOT FOUND THEN
        RETURN QUERY SELECT u.role, u.id, u.tenant_id, u.email, NULL::uuid, NULL::text[], NULL::timestamptz FROM public.users u
            JOIN public.tenants t ON t.id = u.tenant_id
            WHERE u.provider_issuer = issuer AND u.provider_subject = subject AND u.status = 'active' AND t.status <> 'closed';
    END IF;
END
$$;
-- By a personal access token's hash. `last_used_at` moves at most once a minute.
CREATE FUNCTION person_by_token(hash bytea, at timestamptz) RETURNS SETOF known_person
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
BEGIN
    UPDATE public.access_tokens a SET last_used_at = at
    WHERE a.token_hash = hash AND a.revoked_at IS NULL AND a.expires_at > at AND (a.last_used_at IS NULL OR a.last_used_at < at - interval '1 minute');
    RETURN QUERY SELECT u.role, u.id, u.tenant_id, u.email, a.id, a.scopes, a.expires_at FROM public.access_tokens a
        JOIN public.users u ON u.id = a.user_id JOIN public.tenants t ON t.id = u.tenant_id
        WHERE a.token_hash = hash AND a.revoked_at IS NULL AND a.expires_at > at AND u.status = 'active' AND t.status <> 'closed';
END
$$;
GRANT SELECT, UPDATE ON users, staff, access_tokens TO coditect_resolver;
GRANT INSERT ON audit_events TO coditect_resolver;
CREATE POLICY resolver ON audit_events FOR INSERT TO coditect_resolver WITH CHECK (true);
CREATE POLICY resolver ON users TO coditect_resolver USING (true);
CREATE POLICY resolver ON staff TO coditect_resolver USING (true);
CREATE POLICY resolver ON access_tokens TO coditect_resolver USING (true);
GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION person_by_identity(text, text, text, timestamptz) OWNER TO coditect_resolver;
ALTER FUNCTION person_by_token(bytea, timestamptz) OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION person_by_identity(text, text, text, timestamptz), person_by_token(bytea, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION person_by_identity(text, text, text, timestamptz), person_by_token(bytea, timestamptz) TO coditect_functions, coditect_admin;
RESET ROLE;
