//! What the database lets callers do with its functions, and with itself.

use platform::db;
use testkit::TestDatabase;
use tokio_postgres::Client;

/// Functions that anybody may call: policies call the first two as whoever asks, and the third renders an id. None reads a table.
const FOR_ALL: [&str; 3] = ["current_tenant", "is_staff", "shown_id"];

async fn as_role(database: &TestDatabase, role: &str) -> Client {
    let client = db::connect_as_login(database.settings()).await.unwrap();
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    client
}

/// The platform's roles, which logins are members of.
async fn roles(database: &TestDatabase) -> Vec<String> {
    let roles = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'coditect\\_%' AND NOT rolcanlogin";
    let roles = names(&database.owner().await, roles).await;
    assert!(roles.len() >= 4, "{roles:?}");
    roles
}

async fn names(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn function_search_path_is_fixed_in_every_function() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    // A body that was parsed when the function was made has nothing left to look up.
    let open = "SELECT oid::regprocedure::text FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace AND (prosecdef OR prosqlbody IS NULL)
                  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)";
    assert_eq!(names(&owner, open).await, Vec::<String>::new());
    let elsewhere = "SELECT oid::regprocedure::text FROM pg_proc
                     WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'public'::regnamespace)";
    assert_eq!(names(&owner, elsewhere).await, Vec::<String>::new());
}

#[tokio::test]
async fn function_body_names_no_table_without_its_schema() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')";
    let bodies = "SELECT proname::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NULL";
    let tables = names(&owner, tables).await;
    for row in owner.query(bodies, &[]).await.unwrap() {
        let (name, body): (String, String) = (row.get(0), row.get(1));
        for keyword in ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "OF"] {
            for table in &tables {
                let bare = format!("{keyword} {table}");
                let found = body
                    .match_indices(&bare)
                    .any(|(at, _)| !body[at + bare.len()..].starts_with(|next: char| next == '_' || next.is_ascii_alphanumeric()));
                assert!(!found, "{name} has {bare}: write {keyword} public.{table}");
            }
        }
    }
}

#[tokio::test]
async fn function_execute_is_granted_by_name() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    let public = "SELECT DISTINCT proname::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
                  WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0 ORDER BY 1";
    assert_eq!(names(&owner, public).await, FOR_ALL);
    // The functions that run with more rights, and who may call them.
    let definers = "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
                    AND p.proowner NOT IN ('coditect_resolver'::regrole, (SELECT datdba FROM pg_database WHERE datname = current_database()))";
    assert_eq!(names(&owner, definers).await, Vec::<String>::new(), "a function runs as somebody unexpected");
}

#[tokio::test]
async fn new_function_is_executable_by_its_owner_alone() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    owner.batch_execute("CREATE FUNCTION public.later() RETURNS int LANGUAGE sql RETURN 1").await.unwrap();
    let refused = as_role(&database, "coditect_functions").await.query("SELECT later()", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
}

/// A database that has been migrated here, and not cloned: a clone has no rights on it.
struct Fresh {
    server: TestDatabase,
    settings: db::DatabaseSettings,
    name: String,
}

impl Fresh {
    async fn new() -> Self {
        let server = TestDatabase::new().await;
        let name = format!("coditect_fresh_{}", uuid::Uuid::new_v4().simple());
        server.owner().await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut settings = server.settings().clone();
        let url = server.url();
        let own = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        settings.database_url = platform::Secret::from(url.replace(own, &name));
        Self { server, settings, name }
    }

    async fn migrate(&self) -> Client {
        let mut client = db::connect_as_login(&self.settings).await.unwrap();
        db::migrate(&mut client).await.unwrap();
        client
    }

    async fn drop(self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.server.owner().await.batch_execute(&drop).await.unwrap();
    }
}

const PUBLIC_RIGHTS: &str = "SELECT a.privilege_type FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
    WHERE d.datname = current_database() AND a.grantee = 0
    UNION ALL
    SELECT 'schema ' || a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
    WHERE n.nspname = 'public' AND a.grantee = 0 ORDER BY 1";

#[tokio::test]
async fn migrated_database_grants_public_no_temporary_objects() {
    let fresh = Fresh::new().await;
    let client = fresh.migrate().await;
    assert_eq!(names(&client, PUBLIC_RIGHTS).await, ["CONNECT", "schema USAGE"]);
    let temporary = "SELECT rolname::text FROM pg_roles
                     WHERE rolname LIKE 'coditect\\_%' AND has_database_privilege(oid, current_database(), 'TEMPORARY')";
    assert_eq!(names(&client, temporary).await, Vec::<String>::new());

    // As after a restore: rights on a database are in no backup of it.
    let name = &fresh.name;
    client.batch_execute(&format!("GRANT TEMPORARY ON DATABASE {name} TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC")).await.unwrap();
    let client = fresh.migrate().await;
    assert_eq!(names(&client, PUBLIC_RIGHTS).await, ["CONNECT", "schema USAGE"]);
    fresh.drop().await;
}

#[tokio::test]
async fn migration_by_a_login_that_may_not_revoke_says_what_to_do() {
    let fresh = Fresh::new().await;
    let client = fresh.migrate().await;
    let (name, login) = (&fresh.name, format!("stranger_{}", uuid::Uuid::new_v4().simple()));
    let prepare = format!(
        "CREATE ROLE {login}; GRANT TEMPORARY ON DATABASE {name} TO PUBLIC;
         GRANT EXECUTE ON FUNCTION public.revoke_public_rights() TO {login}; SET ROLE {login}"
    );
    client.batch_execute(&prepare).await.unwrap();
    let refused = client.query("SELECT public.revoke_public_rights()", &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.message(), format!("login {login} may not revoke TEMPORARY on database {name} from PUBLIC"));
    assert_eq!(
        refused.hint(),
        Some(format!("As the owner of the database run REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC, then migrate again.").as_str())
    );
    client.batch_execute(&format!("RESET ROLE; DROP OWNED BY {login}; DROP ROLE {login}")).await.unwrap();
    drop(client);
    fresh.drop().await;
}

#[tokio::test]
async fn temporary_objects_are_refused_to_every_role() {
    let database = TestDatabase::new().await;
    for role in roles(&database).await {
        let client = as_role(&database, &role).await;
        for make in ["CREATE TEMPORARY TABLE mine (id int)", "CREATE DOMAIN pg_temp.text AS pg_catalog.text"] {
            let refused = client.batch_execute(make).await.expect_err(make);
            assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{role}: {make}: {refused}");
        }
    }
}

/// Temporary objects that a caller makes in the hope that a function with more rights takes them for others. Each that is used counts
/// in the sequence `ran`, which no rollback takes back.
const DECOYS: &str = "
    CREATE TEMPORARY SEQUENCE ran;
    GRANT USAGE ON SEQUENCE ran TO PUBLIC;
    CREATE FUNCTION pg_temp.noted() RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN PERFORM nextval('pg_temp.ran'); RETURN true; END $$;
    GRANT EXECUTE ON FUNCTION pg_temp.noted() TO PUBLIC;
    CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.noted());
    CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (pg_temp.noted());
    CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.timestamptz CHECK (pg_temp.noted());
    CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (pg_temp.noted());
    CREATE FUNCTION pg_temp.lower(pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_temp.noted(); RETURN pg_catalog.lower($1); END $$;
    CREATE FUNCTION pg_temp.shown_id(pg_catalog.text, pg_catalog.uuid) RETURNS pg_catalog.text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_temp.noted(); RETURN 'x'; END $$;
    CREATE TEMPORARY TABLE users (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE staff (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE licenses (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE tenants (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE access_tokens (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE audit_events (LIKE public.refinery_schema_history);
    CREATE TEMPORARY TABLE sessions_archive (LIKE public.refinery_schema_history);";

/// What a definer function is called with: for each type that it takes, a value that is not NULL.
const ARGUMENTS: &str = "
    SELECT coalesce(string_agg(CASE format_type(t, NULL)
        WHEN 'text' THEN $$'owner@test.example'::pg_catalog.text$$
        WHEN 'uuid' THEN $$gen_random_uuid()$$
        WHEN 'bytea' THEN $$decode(repeat('00', 32), 'hex')$$
        WHEN 'timestamp with time zone' THEN $$now()$$
        WHEN 'boolean' THEN $$true$$
        ELSE format('NULL::%s.%I', y.typnamespace::regnamespace, y.typname) END, ', ' ORDER BY n), '')
    FROM pg_proc p, unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) JOIN pg_type y ON y.oid = a.t
    WHERE p.oid = $1::text::regprocedure";

/// Calls every definer function that a role may call, beside the decoys. Returns how many calls were made.
async fn call_beside_decoys(database: &TestDatabase, role: &str) -> usize {
    let owner = database.owner().await;
    let definers = "SELECT oid::regprocedure::text FROM pg_proc
                    WHERE prosecdef AND pronamespace = 'public'::regnamespace AND has_function_privilege($1::text, oid, 'EXECUTE')";
    let definers = owner.query(definers, &[&role]).await.unwrap();
    for row in &definers {
        let definer: String = row.get(0);
        let arguments: String = owner.query_one(ARGUMENTS, &[&definer]).await.unwrap().get(0);
        let client = as_role(database, role).await;
        client.batch_execute(DECOYS).await.unwrap();
        let call = format!("SELECT * FROM public.{}({arguments})", definer.split('(').next().unwrap());
        if let Err(error) = client.batch_execute(&call).await {
            // It may refuse such arguments. What class 42 says is that it took a name for another.
            let is_confused = error.code().is_some_and(|code| code.code().starts_with("42"));
            assert!(!is_confused, "{role}: a temporary object confused {call}: {error}");
        }
        let ran: bool = client.query_one("SELECT is_called FROM pg_temp.ran", &[]).await.unwrap().get(0);
        assert!(!ran, "{role}: a temporary object was used by {call}");
    }
    definers.len()
}

#[tokio::test]
async fn definer_function_ignores_its_callers_temporary_objects() {
    let database = TestDatabase::new().await;
    database.customer(testkit::policy(1)).await;
    let owner = database.owner().await;
    // Even where somebody has granted the right again; and with an invitation that such a function would act on.
    let prepare = "
        DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$;
        GRANT SELECT ON public.refinery_schema_history TO PUBLIC;
        INSERT INTO staff (id, email, created_at, updated_at) VALUES (gen_random_uuid(), 'owner@test.example', now(), now())";
    owner.batch_execute(prepare).await.unwrap();
    let mut calls = 0;
    for role in roles(&database).await {
        calls += call_beside_decoys(&database, &role).await;
    }
    assert!(calls >= 7, "{calls} calls");
}

#[tokio::test]
async fn decoys_catch_a_function_with_an_open_search_path() {
    let database = TestDatabase::new().await;
    let open = "
        DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$;
        GRANT SELECT ON public.refinery_schema_history TO PUBLIC;
        CREATE FUNCTION public.careless(t text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, public AS $$ DECLARE kind text := t; BEGIN RETURN kind; END $$;
        GRANT EXECUTE ON FUNCTION public.careless(text) TO coditect_functions";
    database.owner().await.batch_execute(open).await.unwrap();
    let caught = tokio::spawn(async move { call_beside_decoys(&database, "coditect_functions").await }).await;
    let message = *caught.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(message.contains("careless"), "{message}");
}
