-- Keys and what they have signed. None of it belongs to a tenant; row-level security says who may see it all the same.

-- Public halves of the root keys that were ever used here.
CREATE TABLE signing_roots (
    kid           text PRIMARY KEY,
    algorithm     text NOT NULL CHECK (algorithm IN ('RS256', 'PS256')),
    public_key    bytea NOT NULL, -- SubjectPublicKeyInfo in DER
    first_used_at timestamptz NOT NULL
);

-- Leaf keys: pending (published, not yet used) → active (signs) → retired (its leases may still live) → gone.
CREATE TABLE signing_keys (
    kid            text PRIMARY KEY,
    usage          text NOT NULL CHECK (usage IN ('lease')),
    state          text NOT NULL CHECK (state IN ('pending', 'active', 'retired', 'gone')),
    root_kid       text NOT NULL REFERENCES signing_roots,
    certificate    text NOT NULL,
    public_key     bytea NOT NULL CHECK (length(public_key) = 32),
    -- Sealed by a key that is not in this database; destroyed as soon as the key no longer signs.
    sealed_private bytea,
    created_at     timestamptz NOT NULL,
    signs_from     timestamptz NOT NULL,
    signs_until    timestamptz NOT NULL,
    -- When the certificate is over, and with it the last lease.
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    CHECK ((state IN ('pending', 'active')) = (sealed_private IS NOT NULL)),
    CHECK (created_at <= signs_from AND signs_from < signs_until AND signs_until < expires_at)
);
-- However many rotate at once: one that signs, one that comes next.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (usage) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_pending ON signing_keys (usage) WHERE state = 'pending';
CREATE INDEX signing_keys_published ON signing_keys (created_at) WHERE state <> 'gone';
CREATE INDEX signing_keys_revoked ON signing_keys (revoked_at) WHERE revoked_at IS NOT NULL;

-- Every revocation list there was; the last one counts.
CREATE TABLE revocation_lists (
    version    bigint PRIMARY KEY CHECK (version > 0),
    root_kid   text NOT NULL REFERENCES signing_roots,
    signed     text NOT NULL,
    created_at timestamptz NOT NULL
);

ALTER TABLE signing_roots ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_roots FORCE ROW LEVEL SECURITY;
ALTER TABLE signing_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE revocation_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE revocation_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON signing_roots FOR SELECT TO coditect_functions USING (true);
CREATE POLICY readers ON signing_keys FOR SELECT TO coditect_functions USING (state <> 'gone');
CREATE POLICY readers ON revocation_lists FOR SELECT TO coditect_functions USING (true);
CREATE POLICY jobs ON signing_roots TO coditect_jobs USING (true);
CREATE POLICY jobs ON signing_keys TO coditect_jobs USING (true);
CREATE POLICY jobs ON revocation_lists TO coditect_jobs USING (true);
GRANT SELECT ON signing_roots, signing_keys, revocation_lists TO coditect_functions;
GRANT SELECT, INSERT ON signing_roots, signing_keys, revocation_lists TO coditect_jobs;
GRANT UPDATE (state, sealed_private, revoked_at) ON signing_keys TO coditect_jobs;

-- The license's document as the root has signed it, for which version, and by which root.
ALTER TABLE licenses
    ADD COLUMN signed_document text,
    ADD COLUMN signed_version bigint,
    ADD COLUMN signed_by text,
    ADD CHECK ((signed_document IS NULL) = (signed_version IS NULL) AND (signed_document IS NULL) = (signed_by IS NULL));
CREATE INDEX licenses_changed ON licenses (id) WHERE signed_version IS DISTINCT FROM version;
CREATE INDEX licenses_signed_by ON licenses (signed_by);
CREATE POLICY jobs_sign ON licenses FOR UPDATE TO coditect_jobs USING (true);
GRANT UPDATE (signed_document, signed_version, signed_by) ON licenses TO coditect_jobs;

-- What is known of a license before its tenant is, now with its document.
DROP FUNCTION license_by_key(bytea), license_by_id(uuid);
ALTER TYPE known_license ADD ATTRIBUTE signed_document text;
CREATE FUNCTION license_by_key(hash bytea) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status, l.seats_total, l.overage,
           l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.key_hash = hash
$$;
CREATE FUNCTION license_by_id(license uuid) RETURNS SETOF known_license
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public ROWS 1 AS $$
    SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status, l.seats_total, l.overage,
           l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document
    FROM public.licenses l JOIN public.tenants t ON t.id = l.tenant_id WHERE l.id = license
$$;
GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION license_by_key(bytea) OWNER TO coditect_resolver;
ALTER FUNCTION license_by_id(uuid) OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION license_by_key(bytea), license_by_id(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION license_by_key(bytea), license_by_id(uuid) TO coditect_functions, coditect_jobs;
RESET ROLE;
