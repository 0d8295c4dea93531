-- A person may belong to several tenants, joins each by accepting its invitation, and is believed only as far as the issuer of
-- the token may vouch.
--
-- This expands. What is left for a later release, once no process of a release before this one runs: drop person_by_identity,
-- person_by_token and the type known_person, which are here for those processes alone.

-- Who may ask who somebody is: the logins of functions that take bearer tokens, and no others.
DO $$
BEGIN
    CREATE ROLE coditect_authenticator NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
DECLARE login text;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT coditect_authenticator TO %I', current_user);
    END IF;
    -- The logins that infra/ has made for these functions get their new role at once, so that their next revision finds it.
    FOR login IN
        SELECT r.rolname FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid JOIN pg_roles g ON g.oid = m.roleid
        WHERE r.rolcanlogin AND g.rolname = 'coditect_functions' AND r.rolname IN ('acquire', 'validate', 'admin')
    LOOP
        EXECUTE format('GRANT coditect_authenticator TO %I', login);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA public TO coditect_authenticator;

-- One row of users is one membership. An identity has one in each tenant at most.
ALTER TABLE users DROP CONSTRAINT users_provider_issuer_provider_subject_key;
CREATE UNIQUE INDEX users_identity ON users (provider_issuer, provider_subject, tenant_id);

-- A declined invitation is stored as a deactivated one with the time, which processes of an older release can read, too.
ALTER TABLE users
    ADD COLUMN invited_at timestamptz,
    ADD COLUMN invited_by uuid,
    ADD COLUMN declined_at timestamptz,
    ADD COLUMN shown_status text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN status = 'deactivated' AND declined_at IS NOT NULL THEN 'declined' ELSE status END
    ) STORED;
ALTER TABLE staff ADD COLUMN declined_at timestamptz;

-- Whether an issuer may vouch for somebody with this address in this tenant. NULL sets no limit.
CREATE FUNCTION public.may_vouch(tenant uuid, address text, tenants uuid[], domains text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN (tenants IS NULL OR coalesce(tenant = ANY (tenants), false))
       AND (domains IS NULL OR coalesce(lower(split_part(address, '@', 2)) = ANY (domains), false));

CREATE TYPE public.known_membership AS (
    role text, id uuid, tenant_id uuid, tenant_name text, tenant_status text, email text, status text,
    last_seen_at timestamptz, token_id uuid, scopes text[], expires_at timestamptz
);

-- The memberships of an identity that its issuer may vouch for, the deactivated ones too. The use of the only one that can be used
-- is noted, at most once a minute; of several member_seen() notes it.
CREATE FUNCTION public.memberships_of(
    issuer text, subject text, vouches_for_staff boolean, vouched_tenants uuid[], vouched_domains text[], moment timestamptz
) RETURNS SETOF public.known_membership
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 2 AS $$
BEGIN
    UPDATE public.users u SET last_seen_at = moment
    WHERE u.id = (
        SELECT CASE WHEN count(*) = 1 THEN (array_agg(m.id))[1] END
        FROM public.users m JOIN public.tenants t ON t.id = m.tenant_id
        WHERE m.provider_issuer = issuer AND m.provider_subject = subject AND m.status = 'active' AND t.status <> 'closed'
          AND public.may_vouch(m.tenant_id, m.email, vouched_tenants, vouched_domains)
    ) AND (u.last_seen_at IS NULL OR u.last_seen_at < moment - interval '1 minute');
    RETURN QUERY SELECT 'staff', s.id, NULL::uuid, NULL, NULL, s.email, s.status, NULL::timestamptz, NULL::uuid, NULL::text[],
            NULL::timestamptz
        FROM public.staff s
        WHERE vouches_for_staff AND s.provider_issuer = issuer AND s.provider_subject = subject
          AND public.may_vouch(NULL, s.email, NULL, vouched_domains);
    RETURN QUERY SELECT u.role, u.id, u.tenant_id, t.name, t.status, u.email, u.shown_status, u.last_seen_at, NULL::uuid, NULL::text[],
            NULL::timestamptz
        FROM public.users u JOIN public.tenants t ON t.id = u.tenant_id
        WHERE u.provider_issuer = issuer AND u.provider_subject = subject
          AND public.may_vouch(u.tenant_id, u.email, vouched_tenants, vouched_domains)
        ORDER BY u.created_at, u.id;
END
$$;

-- Notes that a membership was used, at most once a minute.
CREATE FUNCTION public.member_seen(member uuid, moment timestamptz) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.users u SET last_seen_at = moment
    WHERE u.id = member AND (u.last_seen_at IS NULL OR u.last_seen_at < moment - interval '1 minute')
$$;

-- The membership for which a personal access token acts, by the token's hash.
CREATE FUNCTION public.membership_by_token(hash bytea, moment timestamptz) RETURNS SETOF public.known_membership
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
BEGIN
    UPDATE public.access_tokens a SET last_used_at = moment
    WHERE a.token_hash = hash AND a.revoked_at IS NULL AND a.expires_at > moment
      AND (a.last_used_at IS NULL OR a.last_used_at < moment - interval '1 minute');
    RETURN QUERY SELECT u.role, u.id, u.tenant_id, t.name, t.status, u.email, u.shown_status, u.last_seen_at, a.id, a.scopes, a.expires_at
        FROM public.access_tokens a JOIN public.users u ON u.id = a.user_id JOIN public.tenants t ON t.id = u.tenant_id
        WHERE a.token_hash = hash AND a.revoked_at IS NULL AND a.expires_at > moment AND u.status = 'active' AND t.status <> 'closed';
END
$$;

CREATE TYPE public.waiting_invitation AS (
    id uuid, tenant_id uuid, tenant_name text, role text, email text, invited_at timestamptz, invited_by text
);

-- The invitations that wait for a verified address, as far as its issuer may vouch: the newest first, 200 at the most.
CREATE FUNCTION public.invitations_for(
    address text, vouches_for_staff boolean, vouched_tenants uuid[], vouched_domains text[]
) RETURNS SETOF public.waiting_invitation
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 5 AS $$
    SELECT s.id, NULL::uuid, NULL::text, 'staff', s.email, s.updated_at AS invited_at, NULL::text
    FROM public.staff s
    WHERE vouches_for_staff AND lower(s.email) = lower(address) AND s.status = 'invited' AND s.provider_subject IS NULL
      AND public.may_vouch(NULL, s.email, NULL, vouched_domains)
    UNION ALL
    SELECT u.id, u.tenant_id, t.name, u.role, u.email, coalesce(u.invited_at, u.created_at), b.email
    FROM public.users u JOIN public.tenants t ON t.id = u.tenant_id
        LEFT JOIN public.users b ON b.id = u.invited_by AND b.tenant_id = u.tenant_id
    WHERE lower(u.email) = lower(address) AND u.status = 'invited' AND u.provider_subject IS NULL AND t.status <> 'closed'
      AND public.may_vouch(u.tenant_id, u.email, vouched_tenants, vouched_domains)
    ORDER BY invited_at DESC, 1 LIMIT 200
$$;

-- Accepts or declines an invitation, and writes the audit event of its tenant. An answer that was given before is given again. No row:
-- no such invitation waits for this address, or its issuer may not vouch for it. is_taken: the identity is a member already.
CREATE FUNCTION public.answer_invitation(
    invitation uuid, accepts boolean, issuer text, subject text, address text,
    vouches_for_staff boolean, vouched_tenants uuid[], vouched_domains text[],
    moment timestamptz, caller_address text, request text
) RETURNS TABLE (
    is_taken boolean, role text, id uuid, tenant_id uuid, tenant_name text, tenant_status text, email text
)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
DECLARE
    asked record;
    becomes text := CASE WHEN accepts THEN 'active' ELSE 'deactivated' END;
    kind text := 'user';
BEGIN
    SELECT u.id, u.tenant_id, u.email, u.role, u.shown_status, u.provider_issuer, u.provider_subject,
           t.name AS tenant_name, t.status AS tenant_status INTO asked
    FROM public.users u JOIN public.tenants t ON t.id = u.tenant_id
    WHERE u.id = invitation AND lower(u.email) = lower(address) AND t.status <> 'closed'
      AND public.may_vouch(u.tenant_id, u.email, vouched_tenants, vouched_domains)
    FOR NO KEY UPDATE OF u;
    IF NOT FOUND THEN
        kind := 'staff';
        SELECT s.id, NULL::uuid AS tenant_id, s.email, 'staff' AS role, s.provider_issuer, s.provider_subject,
               CASE WHEN s.status = 'deactivated' AND s.declined_at IS NOT NULL THEN 'declined' ELSE s.status END AS shown_status,
               NULL::text AS tenant_name, NULL::text AS tenant_status INTO asked
        FROM public.staff s
        WHERE vouches_for_staff AND s.id = invitation AND lower(s.email) = lower(address)
          AND public.may_vouch(NULL, s.email, NULL, vouched_domains)
        FOR NO KEY UPDATE OF s;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF asked.shown_status = 'invited' AND asked.provider_subject IS NULL THEN
        BEGIN
            IF kind = 'staff' THEN
                UPDATE public.staff s SET status = becomes, updated_at = moment,
                    provider_issuer = CASE WHEN accepts THEN issuer END, provider_subject = CASE WHEN accepts THEN subject END,
                    declined_at = CASE WHEN accepts THEN NULL ELSE moment END
                WHERE s.id = invitation;
            ELSE
                UPDATE public.users u SET status = becomes, version = u.version + 1, updated_at = moment,
                    provider_issuer = CASE WHEN accepts THEN issuer END, provider_subject = CASE WHEN accepts THEN subject END,
                    declined_at = CASE WHEN accepts THEN NULL ELSE moment END
                WHERE u.id = invitation;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            RETURN QUERY SELECT true, asked.role, asked.id, asked.tenant_id, asked.tenant_name, asked.tenant_status, asked.email;
            RETURN;
        END;
        INSERT INTO public.audit_events (tenant_id, at, actor, action, actor_id, subject_type, subject_id, before, after, details,
                                         address, request_id)
        VALUES (asked.tenant_id, moment, kind, kind || CASE WHEN accepts THEN '.joined' ELSE '.declined' END,
                public.shown_id('usr_', asked.id), kind, public.shown_id('usr_', asked.id), '{"status": "invited"}',
                jsonb_build_object('status', CASE WHEN accepts THEN 'active' ELSE 'declined' END),
                jsonb_build_object('issuer', issuer), caller_address, request);
    ELSIF accepts AND asked.shown_status = 'active' AND asked.provider_issuer = issuer AND asked.provider_subject = subject THEN
        NULL;
    ELSIF NOT accepts AND asked.shown_status = 'declined' THEN
        NULL;
    ELSE
        RETURN;
    END IF;
    RETURN QUERY SELECT false, asked.role, asked.id, asked.tenant_id, asked.tenant_name, asked.tenant_status, asked.email;
END
$$;

-- For processes of an older release: as before, but that an invitation is no longer taken up by signing in. Of several memberships it
-- answers the oldest, which is the one that such a process has served all along.
CREATE OR REPLACE FUNCTION public.person_by_identity(issuer text, subject text, verified_email text, at timestamptz)
    RETURNS SETOF public.known_person
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
BEGIN
    RETURN QUERY SELECT 'staff', s.id, NULL::uuid, s.email, NULL::uuid, NULL::text[], NULL::timestamptz FROM public.staff s
        WHERE s.provider_issuer = issuer AND s.provider_subject = subject AND s.status = 'active';
    IF NOT FOUND THEN
        RETURN QUERY SELECT u.role, u.id, u.tenant_id, u.email, NULL::uuid, NULL::text[], NULL::timestamptz FROM public.users u
            JOIN public.tenants t ON t.id = u.tenant_id
            WHERE u.provider_issuer = issuer AND u.provider_subject = subject AND u.status = 'active' AND t.status <> 'closed'
            ORDER BY u.created_at, u.id LIMIT 1;
    END IF;
END
$$;

GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION public.may_vouch(uuid, text, uuid[], text[]) OWNER TO coditect_resolver;
ALTER FUNCTION public.memberships_of(text, text, boolean, uuid[], text[], timestamptz) OWNER TO coditect_resolver;
ALTER FUNCTION public.member_seen(uuid, timestamptz) OWNER TO coditect_resolver;
ALTER FUNCTION public.membership_by_token(bytea, timestamptz) OWNER TO coditect_resolver;
ALTER FUNCTION public.invitations_for(text, boolean, uuid[], text[]) OWNER TO coditect_resolver;
ALTER FUNCTION public.answer_invitation(uuid, boolean, text, text, text, boolean, uuid[], text[], timestamptz, text, text)
    OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION
    public.may_vouch(uuid, text, uuid[], text[]),
    public.memberships_of(text, text, boolean, uuid[], text[], timestamptz),
    public.member_seen(uuid, timestamptz),
    public.membership_by_token(bytea, timestamptz),
    public.invitations_for(text, boolean, uuid[], text[]),
    public.answer_invitation(uuid, boolean, text, text, text, boolean, uuid[], text[], timestamptz, text, text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    public.memberships_of(text, text, boolean, uuid[], text[], timestamptz),
    public.member_seen(uuid, timestamptz),
    public.membership_by_token(bytea, timestamptz),
    public.invitations_for(text, boolean, uuid[], text[]),
    public.answer_invitation(uuid, boolean, text, text, text, boolean, uuid[], text[], timestamptz, text, text)
    TO coditect_authenticator;
RESET ROLE;
