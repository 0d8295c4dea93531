-- The administration decides each change by the actor's row as it is within the change's own transaction, not by what a cache knows; and a
-- seat of a license that requires a token is confirmed by it.

-- Locks the row of a person, and that of the personal access token with which the person came, until the end of the transaction, and answers
-- what they are worth now. No row: the person or the token is not in force. Whoever changes one of these rows waits for the change that the
-- person makes, and the other way about. A function of the resolver's, because the administration itself does not read `staff`.
CREATE FUNCTION actor_in_force(actor uuid, token uuid, moment timestamptz)
    RETURNS TABLE (standing text, tenant uuid, address text, allowed text[])
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
BEGIN
    IF token IS NOT NULL THEN
        RETURN QUERY SELECT u.role, u.tenant_id, u.email, a.scopes FROM public.users u
            JOIN public.access_tokens a ON a.user_id = u.id JOIN public.tenants t ON t.id = u.tenant_id
            WHERE u.id = actor AND a.id = token AND u.status = 'active' AND t.status <> 'closed'
                AND a.revoked_at IS NULL AND a.expires_at > moment
            FOR SHARE OF u, a;
        RETURN;
    END IF;
    RETURN QUERY SELECT 'staff'::text, NULL::uuid, s.email, NULL::text[] FROM public.staff s
        WHERE s.id = actor AND s.status = 'active' FOR SHARE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT u.role, u.tenant_id, u.email, NULL::text[] FROM public.users u JOIN public.tenants t ON t.id = u.tenant_id
            WHERE u.id = actor AND u.status = 'active' AND t.status <> 'closed' FOR SHARE OF u;
    END IF;
END
$$;
GRANT CREATE ON SCHEMA public TO coditect_resolver; -- PostgreSQL asks for it of a function's new owner; taken back below
ALTER FUNCTION actor_in_force(uuid, uuid, timestamptz) OWNER TO coditect_resolver;
REVOKE CREATE ON SCHEMA public FROM coditect_resolver;
SET LOCAL ROLE coditect_resolver;
REVOKE ALL ON FUNCTION actor_in_force(uuid, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION actor_in_force(uuid, uuid, timestamptz) TO coditect_admin, coditect_authenticator;
RESET ROLE;

-- Usage says which hours and days are totaled for good.
CREATE POLICY admin ON usage_closing FOR SELECT TO coditect_admin USING (true);
GRANT SELECT ON usage_closing TO coditect_admin;
