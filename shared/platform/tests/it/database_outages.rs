//! PostgreSQL frozen, failed over, read-only, full, migrated, behind a pooler: the pool gets away from it, and says which it is.

use futures_util::{FutureExt, future::join_all};
use platform::{
    Secret,
    db::{self, Access, Database, DatabaseSettings, Error, Patience, Role, Rows, Scope},
    domain::{Clock, Principal, Standing, SystemClock, Timestamp, UnreadyReason, UserId},
    signing,
};
use testkit::{Proxy, Servers, TestDatabase, database_settings_of, eventually, free_port, keys, policy};
use uuid::Uuid;

const WRITE: &str = "SELECT set_config('coditect.none', 'x', true) FROM public.sessions WHERE false FOR UPDATE";

/// A pool with a deadline that stuck connections miss while the test waits.
fn hasty(url: &str) -> Database {
    let settings = DatabaseSettings { database_timeout_ms: 2000, ..database_settings_of(url) };
    Database::new(&settings, Role::Functions).unwrap()
}

fn patient(url: &str) -> Database {
    Database::new(&database_settings_of(url), Role::Functions).unwrap()
}

/// Opens as many connections as the pool may have, and leaves them idle.
async fn fill(database: &Database) {
    let clients = join_all((0..16).map(|_| database.client())).await;
    for client in clients {
        drop(client.unwrap());
    }
    eventually("every connection is idle", async || database.pool_state().idle == 16).await;
}

fn staff() -> Principal {
    Principal { id: UserId::random(), standing: Standing::Staff, tenant: None, email: "staff@test.example".to_owned(), token: None }
}

async fn works(database: &Database) -> bool {
    database.query(WRITE, &[]).await.is_ok()
}

/// The URL with another host and port.
fn at(url: &str, hosts: &str) -> String {
    let begin = url.find('@').unwrap() + 1;
    let end = begin + url[begin..].find('/').unwrap();
    format!("{}{hosts}{}", &url[..begin], &url[end..])
}

fn host_of(url: &str) -> &str {
    let after = &url[url.find('@').unwrap() + 1..];
    &after[..after.find('/').unwrap()]
}

#[tokio::test]
async fn stuck_connections_are_closed_after_the_first_missed_deadline() {
    let server = TestDatabase::new().await;
    let proxy = Proxy::start(server.url()).await;
    let database = hasty(&proxy.url);
    eventually("the pool is full", async || {
        let clients = join_all((0..16).map(|_| database.client())).await;
        clients.iter().all(Result::is_ok)
    })
    .await;
    eventually("every connection is idle", async || database.pool_state().idle == database.pool_state().open).await;
    let (stuck, before) = (database.pool_state().open as u64, database.discarded().get());
    proxy.freeze_existing();
    let missed = database.query(WRITE, &[]).await.unwrap_err();
    assert!(matches!(missed, Error::Deadline), "{missed}");
    // The one that was asked, and those that have not answered since.
    assert_eq!(database.discarded().get() - before, stuck);
    eventually("a new connection works", async || works(&database).await).await;
}

#[tokio::test]
async fn connection_of_a_caller_who_left_is_used_again_once_it_has_answered() {
    let server = TestDatabase::new().await;
    let proxy = Proxy::start(server.url()).await;
    let database = patient(&proxy.url);
    assert!(works(&database).await);
    eventually("it is idle", async || database.pool_state().idle == 1).await;
    let lock = server.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert!(database.query(WRITE, &[]).now_or_never().is_none(), "it waits for the lock");
    assert_eq!(database.pool_state().idle, 0, "nobody else is given a connection that has to answer still");
    lock.batch_execute("COMMIT").await.unwrap();
    eventually("it is idle again", async || database.pool_state().idle == 1).await;
    assert!(works(&database).await);
    assert_eq!((proxy.opened(), database.discarded().get()), (1, 0));
}

#[tokio::test]
async fn stuck_connection_of_a_caller_who_left_is_closed() {
    let server = TestDatabase::new().await;
    let proxy = Proxy::start(server.url()).await;
    let database = hasty(&proxy.url);
    eventually("a connection", async || works(&database).await).await;
    eventually("it is idle", async || database.pool_state().idle == database.pool_state().open).await;
    let before = database.discarded().get();
    proxy.freeze_existing();
    assert!(database.query(WRITE, &[]).now_or_never().is_none());
    eventually("it is closed", async || database.discarded().get() > before).await;
    eventually("a new connection works", async || works(&database).await).await;
}

#[tokio::test]
async fn transaction_that_fails_or_is_dropped_leaves_nothing_open() {
    let server = TestDatabase::new().await;
    let customer = server.customer(policy(1)).await;
    let settings = DatabaseSettings { database_pool_size: 1, ..server.settings().clone() };
    let database = Database::new(&settings, Role::Admin).unwrap();
    let staff = staff();
    let scope = || Scope::new(Rows::Tenant(customer.tenant), &staff);
    let (transaction, _) = database.begin(scope(), Access::Change, &[]).await.unwrap();
    drop(transaction);
    let failed = database.begin(scope(), Access::Change, &[("SELECT 1 / 0", &[])]).await.map(drop);
    assert!(matches!(failed, Err(Error::Query(_))));
    let refused = database.begin(scope(), Access::Read, &[("UPDATE licenses SET seats_total = 2", &[])]).await.map(drop);
    assert!(matches!(refused, Err(Error::Query(_))), "a transaction that reads changes nothing");
    let now = async || database.query("SELECT now()", &[]).await.unwrap()[0].get::<_, Timestamp>(0);
    assert_ne!(now().await, now().await, "the connection is in no transaction, where time stands still");
    assert_eq!(database.discarded().get(), 0);
}

#[tokio::test]
async fn read_only_connection_is_replaced_and_its_statement_repeated() {
    let server = TestDatabase::new().await;
    let database = patient(server.url());
    let client = database.client().await.unwrap();
    client.batch_execute("SET default_transaction_read_only = on").await.unwrap();
    drop(client);
    eventually("it is idle", async || database.pool_state().idle == 1).await;
    assert!(works(&database).await);
    assert_eq!(database.discarded().get(), 1);
}

#[tokio::test]
async fn server_that_was_set_read_only_is_named_and_used_again_afterwards() {
    let server = TestDatabase::new().await;
    let name = server.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let (owner, database) = (server.owner().await, patient(server.url()));
    owner.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    assert_eq!(database.probe().await, Err(UnreadyReason::ReadOnly));
    let any = patient(&format!("{}&target_session_attrs=any", server.url()));
    assert_eq!(any.probe().await, Err(UnreadyReason::ReadOnly), "a write is tried");
    owner
        .batch_execute(&format!("SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"))
        .await
        .unwrap();
    assert_eq!(database.probe().await, Ok(()));
    assert_eq!(any.probe().await, Ok(()));
}

#[tokio::test]
async fn failover_to_a_promoted_standby_is_followed() {
    let servers = Servers::start().await;
    let server = TestDatabase::on(&servers.database_url).await;
    let standby = servers.start_standby().await;
    let alone = patient(&at(server.url(), host_of(&standby)));
    eventually("the standby has the database", async || alone.probe().await == Err(UnreadyReason::ReadOnly)).await;

    // The standby is named first, and skipped.
    let hosts = format!("{},{}", host_of(&standby), host_of(server.url()));
    let database = patient(&at(server.url(), &hosts));
    assert!(works(&database).await);
    servers.control("kill", "postgres").await;
    assert!(database.probe().await.is_err());
    servers.promote_standby().await;
    eventually("the new primary is used", async || works(&database).await).await;
    eventually("by whoever found it read-only, too", async || alone.probe().await.is_ok()).await;
}

#[tokio::test]
async fn silent_host_does_not_keep_from_the_next() {
    let server = TestDatabase::new().await;
    let proxy = Proxy::start(server.url()).await;
    proxy.freeze();
    let hosts = format!("{},{}", host_of(&proxy.url), host_of(server.url()));
    assert!(works(&patient(&at(server.url(), &hosts))).await);
}

/// Makes a table whose statement changes its result with [`change`].
async fn make_changing(server: &TestDatabase) {
    let make = "CREATE TABLE changing (one int); GRANT SELECT ON changing TO coditect_functions, coditect_admin, coditect_jobs";
    server.owner().await.batch_execute(make).await.unwrap();
}

async fn change(server: &TestDatabase) {
    let change = format!("ALTER TABLE changing ADD COLUMN c_{} int", Uuid::new_v4().simple());
    server.owner().await.batch_execute(&change).await.unwrap();
}

const CHANGING: &str = "SELECT * FROM changing";

#[tokio::test]
async fn cached_plan_that_a_migration_made_stale_is_asked_anew() {
    let server = TestDatabase::new().await;
    let customer = server.customer(policy(1)).await;
    make_changing(&server).await;
    let (functions, admin) = (server.connect(Role::Functions), server.connect(Role::Admin));
    let staff = staff();
    for _ in 0..3 {
        functions.query(CHANGING, &[]).await.unwrap();
        functions.execute(CHANGING, &[]).await.unwrap();
        change(&server).await;
        functions.query(CHANGING, &[]).await.unwrap();
        change(&server).await;
        functions.execute(CHANGING, &[]).await.unwrap();
        functions.query_as(customer.tenant, CHANGING, &[]).await.unwrap();
        change(&server).await;
        functions.query_all_as(&[(customer.tenant, CHANGING, &[])], Patience::Moments).await.unwrap();
        let scope = || Scope::new(Rows::Tenant(customer.tenant), &staff);
        admin.begin(scope(), Access::Read, &[(CHANGING, &[])]).await.unwrap();
        change(&server).await;
        admin.begin(scope(), Access::Read, &[(CHANGING, &[])]).await.unwrap();
    }
}

#[tokio::test]
async fn stale_plan_in_a_transaction_of_a_job_is_gone_with_the_next() {
    let server = TestDatabase::new().await;
    make_changing(&server).await;
    let database = server.connect(Role::Jobs);
    fill(&database).await;
    for _ in 0..16 {
        let clients = join_all((0..16).map(|_| database.client())).await;
        for client in clients {
            let mut client = client.unwrap();
            let work = client.transaction().await.unwrap();
            work.query(CHANGING, &[]).await.unwrap();
            work.commit().await.unwrap();
        }
    }
    change(&server).await;
    let mut failed = 0;
    for _ in 0..32 {
        let mut client = database.client().await.unwrap();
        let work = client.transaction().await.unwrap();
        match work.query(CHANGING, &[]).await {
            Ok(_) => work.commit().await.unwrap(),
            Err(error) => {
                assert!(error.is_outdated() && !error.is_ours(), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 1, "all that were opened before the migration go with the first");
}

#[tokio::test]
async fn documents_are_signed_after_a_migration() {
    let server = TestDatabase::new().await;
    server.customer(policy(1)).await;
    let (database, root, owner) = (server.connect(Role::Jobs), keys::root(), server.owner().await);
    let sign = async || {
        owner.batch_execute("UPDATE licenses SET version = version + 1").await.unwrap();
        signing::sign_changed(&database, &*root, SystemClock.now()).await.unwrap()
    };
    for size in 10..20 {
        assert_eq!(sign().await, 1);
        owner.batch_execute(&format!("ALTER TABLE licenses ALTER COLUMN key_last_four TYPE varchar({size})")).await.unwrap();
    }
    assert_eq!(sign().await, 1);
}

#[tokio::test]
async fn reason_is_named_with_the_words_of_the_server() {
    let server = TestDatabase::new().await;
    let (owner, url) = (server.owner().await, server.url());
    let login = format!("full_{}", Uuid::new_v4().simple());
    owner
        .batch_execute(&format!("CREATE ROLE {login} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0 IN ROLE coditect_functions"))
        .await
        .unwrap();
    let as_login = |login: &str, password: &str| format!("postgres://{login}:{password}@{}", url.split_once('@').unwrap().1);
    let stranger = format!("stranger_{}", Uuid::new_v4().simple());
    owner.batch_execute(&format!("CREATE ROLE {stranger} LOGIN PASSWORD 'secret'")).await.unwrap();
    for (url, reason, words) in [
        (as_login("postgres", "secret"), UnreadyReason::WrongPassword, "SQLSTATE 28P01"),
        (as_login(&login, "secret"), UnreadyReason::Full, "SQLSTATE 53300"),
        (as_login(&stranger, "secret"), UnreadyReason::Refused, "SQLSTATE 42501"),
        (url.replace("/coditect_test_", "/coditect_none_"), UnreadyReason::NoSuchDatabase, "SQLSTATE 3D000"),
        (at(url, &format!("127.0.0.1:{}", free_port())), UnreadyReason::Refused, "onnection refused"),
    ] {
        let database = patient(&url);
        let Err(Error::Connect(none)) = database.query(WRITE, &[]).await else { panic!("{reason}") };
        assert_eq!(none.reason, reason, "{none}");
        assert!(none.words.contains(words), "{none}");
        assert!(!none.to_string().contains("secret"), "{none}");
        assert_eq!(database.probe().await, Err(reason));
    }
    let proxy = Proxy::start(url).await;
    proxy.freeze();
    let database = hasty(&proxy.url);
    assert_eq!(database.probe().await, Err(UnreadyReason::Unreachable));
    proxy.thaw();
    eventually("it is back", async || database.probe().await.is_ok()).await;
    owner.batch_execute(&format!("DROP ROLE {login}; DROP ROLE {stranger}")).await.unwrap();
}

#[tokio::test]
async fn statement_that_finds_the_server_full_is_told_by_the_probe() {
    let server = TestDatabase::new().await;
    let raise = "CREATE FUNCTION full_disk() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                     RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
                 GRANT EXECUTE ON FUNCTION full_disk() TO coditect_functions";
    server.owner().await.batch_execute(raise).await.unwrap();
    let database = patient(server.url());
    assert_eq!(database.probe().await, Ok(()));
    let error = database.query("SELECT full_disk()", &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "PostgreSQL: could not extend file (SQLSTATE 53100)");
    assert_eq!(database.probe().await, Err(UnreadyReason::Full));
    eventually("it is forgotten", async || database.probe().await.is_ok()).await;
}

#[tokio::test]
async fn missing_schema_is_named_until_the_migrations_have_run() {
    let server = TestDatabase::new().await;
    let name = format!("coditect_empty_{}", Uuid::new_v4().simple());
    let owner = server.owner().await;
    owner.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let own = server.url().rsplit('/').next().unwrap().split('?').next().unwrap();
    let settings = database_settings_of(&server.url().replace(own, &name));
    let database = Database::new(&settings, Role::Functions).unwrap();
    assert_eq!(database.probe().await, Err(UnreadyReason::SchemaMissing));
    db::migrate(&mut db::connect_as_login(&settings).await.unwrap()).await.unwrap();
    assert_eq!(database.probe().await, Ok(()));
    drop(database);
    owner.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

#[tokio::test]
async fn older_schema_is_refused_and_newer_schema_is_served() {
    let server = TestDatabase::new().await;
    let (owner, database) = (server.owner().await, patient(server.url()));
    let newest: i32 = owner.query_one("SELECT max(version) FROM refinery_schema_history", &[]).await.unwrap().get(0);
    owner.batch_execute("CREATE TABLE kept AS SELECT * FROM refinery_schema_history").await.unwrap();
    owner.execute("DELETE FROM refinery_schema_history WHERE version = $1", &[&newest]).await.unwrap();
    let Err(Error::Connect(older)) = database.query(WRITE, &[]).await else { panic!("it is older") };
    assert_eq!(older.reason, UnreadyReason::SchemaOlder);
    assert!(older.words.contains(&format!("needs V{newest}")), "{older}");
    // From before its version could be read.
    owner.batch_execute("REVOKE SELECT (version) ON refinery_schema_history FROM coditect_functions").await.unwrap();
    assert_eq!(database.probe().await, Err(UnreadyReason::SchemaOlder));

    let back = "INSERT INTO refinery_schema_history SELECT * FROM kept ON CONFLICT DO NOTHING;
                GRANT SELECT (version) ON refinery_schema_history TO coditect_functions";
    owner.batch_execute(back).await.unwrap();
    assert_eq!((database.probe().await, database.schema_ahead()), (Ok(()), 0));

    owner.execute("INSERT INTO refinery_schema_history (version, name) VALUES ($1, 'later')", &[&(newest + 2)]).await.unwrap();
    let older_program = patient(server.url());
    assert_eq!((older_program.probe().await, older_program.schema_ahead()), (Ok(()), 2));
}

#[tokio::test]
async fn transaction_mode_pooler_is_refused_by_name() {
    let servers = Servers::start().await;
    let server = TestDatabase::on(&servers.database_url).await;
    let name = server.url().rsplit('/').next().unwrap().split('?').next().unwrap();
    let primary = host_of(server.url()).rsplit(':').next().unwrap();
    let bleeding = format!("{name} = host=127.0.0.1 port={primary} connect_query='SET ROLE coditect_functions'");
    for settings in [
        &[][..],
        &["ignore_startup_parameters = options"],
        // Its connections act as the role already, as they do where one client's SET ROLE is left to the next.
        &["ignore_startup_parameters = options", "[databases]", &bleeding],
    ] {
        let pooler = servers.start_pooler(settings).await;
        let database = patient(&at(server.url(), host_of(&pooler)));
        for _ in 0..3 {
            let Err(Error::Connect(none)) = database.query(WRITE, &[]).await else { panic!("{settings:?}") };
            assert_eq!(none.reason, UnreadyReason::Pooler, "{none}");
            assert!(none.words.contains("Name PostgreSQL itself in DATABASE_URL"), "{none}");
        }
        assert_eq!(database.probe().await, Err(UnreadyReason::Pooler));
    }
}

#[tokio::test]
async fn url_without_a_host_is_refused() {
    for url in ["", "postgres:///x"] {
        let settings = DatabaseSettings { database_url: Secret::from(url.to_owned()), ..database_settings_of("postgres://x") };
        assert!(matches!(Database::new(&settings, Role::Functions), Err(Error::Settings(_))), "{url}");
    }
}

#[tokio::test]
async fn server_gives_up_clients_who_are_gone() {
    let server = TestDatabase::new().await;
    let database = hasty(server.url());
    eventually("a connection", async || works(&database).await).await;
    let owner = server.owner().await;
    owner.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let missed = database.query(WRITE, &[]).await.unwrap_err();
    assert!(matches!(missed, Error::Deadline | Error::Query(_)), "{missed}");
    // Its connection was closed, and the server does not let it wait for the lock until its statement's own deadline.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("nobody waits", async || owner.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
}
