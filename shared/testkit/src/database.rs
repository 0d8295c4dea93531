//! A database for each test, cloned from a template.

use std::time::Duration;

use platform::{
    Secret,
    db::{self, Database, DatabaseSettings, Issued, MIGRATIONS_HASH, NewCustomer, Role},
    domain::{Clock, DEFAULT_SESSION_TTL, Email, Policy, SeatUnit, SystemClock, Tier},
    signing,
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{PATIENT_MS, eventually};

/// A license made for a test, with its tenant and key.
pub type Customer = Issued;

/// A policy of so many seats, with everything else at its default.
#[must_use]
pub fn policy(seats: u32) -> Policy {
    Policy {
        seats_total: seats,
        overage: 0,
        session_ttl: DEFAULT_SESSION_TTL,
        seat_unit: SeatUnit::Device,
        starts_at: None,
        expires_at: None,
        features: Vec::new(),
    }
}

/// A database of one's own, gone when dropped.
#[derive(Debug)]
pub struct TestDatabase {
    settings: DatabaseSettings,
    server: DatabaseSettings,
    name: String,
}

impl TestDatabase {
    /// Clones the template on the server of the test run.
    ///
    /// # Panics
    /// If `DATABASE_URL` is not set or its server cannot be used.
    pub async fn new() -> Self {
        Self::on(&super::required("DATABASE_URL")).await
    }

    /// Clones the template on another server.
    ///
    /// # Panics
    /// If the server cannot be used.
    pub async fn on(url: &str) -> Self {
        let server = database_settings_of(url);
        let admin = db::connect_as_login(&server).await.expect("PostgreSQL can be reached");
        let template = format!("coditect_template_{MIGRATIONS_HASH}");
        // Any constant: it keeps two tests from making the template at once.
        admin.query("SELECT pg_advisory_lock(4711)", &[]).await.expect("the lock can be had");
        let there = admin.query("SELECT FROM pg_database WHERE datname = $1", &[&template]).await.expect("databases can be listed");
        if there.is_empty() {
            let draft = format!("{template}_draft");
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {draft}")).await.expect("an old draft can be dropped");
            admin.batch_execute(&format!("CREATE DATABASE {draft}")).await.expect("a database can be made");
            let mut client = db::connect_as_login(&database_settings_of(&renamed(url, &draft))).await.expect("it can be reached");
            db::migrate(&mut client).await.expect("the migrations run");
            drop(client);
            let jobs = Database::new(&database_settings_of(&renamed(url, &draft)), Role::Jobs).expect("its settings make sense");
            crate::keys::rotation(jobs).rotate().await.expect("a first leaf can be made");
            rename(&admin, &draft, &template).await;
        }
        let name = format!("coditect_test_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.expect("the template can be cloned");
        // As it is where it was migrated: rights on a database are not cloned.
        admin.batch_execute(&format!("REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")).await.expect("it is its owner's");
        admin.query("SELECT pg_advisory_unlock(4711)", &[]).await.expect("the lock can be given back");
        Self { settings: database_settings_of(&renamed(url, &name)), server, name }
    }

    /// How to reach it, as the login that owns everything in it.
    #[must_use]
    pub const fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.settings.database_url.expose()
    }

    /// A pool that acts as a role.
    ///
    /// # Panics
    /// If its URL cannot be read.
    #[must_use]
    pub fn connect(&self, role: Role) -> Database {
        Database::new(&self.settings, role).expect("the settings of a test database make sense")
    }

    /// A connection as the owner, past whom row-level security does not look (it is a superuser).
    ///
    /// # Panics
    /// If it cannot be reached.
    pub async fn owner(&self) -> Client {
        db::connect_as_login(&self.settings).await.expect("the test database can be reached")
    }

    /// Makes a tenant, an owner and a license, whose document is signed.
    ///
    /// # Panics
    /// If PostgreSQL refuses.
    pub async fn customer(&self, policy: Policy) -> Customer {
        let customer = NewCustomer {
            name: "Test".to_owned(),
            tier: Tier::Professional,
            owner: Email::parse("owner@test.example").expect("it is an address"),
            policy,
        };
        let root = crate::keys::root();
        signing::issue(&mut self.owner().await, &customer, &*root, SystemClock.now()).await.expect("a customer can be made")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread with a runtime of its own, because a test's runtime cannot be waited for from within. Best effort: what
        // is left over goes with the test run's server.
        let drop_it = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let work = async {
                    let admin = db::connect_as_login(&server).await.map_err(std::io::Error::other)?;
                    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.map_err(std::io::Error::other)
                };
                tokio::time::timeout(Duration::from_secs(20), work).await.unwrap_or(Ok(()))
            })
        });
        let _ = drop_it.join();
    }
}

/// A clone's connection may linger for a moment: until it is gone the database cannot be renamed.
async fn rename(admin: &Client, from: &str, to: &str) {
    let rename = format!("ALTER DATABASE {from} RENAME TO {to}");
    eventually("the template database is renamed", async || admin.batch_execute(&rename).await.is_ok()).await;
}

/// A database at some URL, with a deadline that no slow machine misses.
#[must_use]
pub fn database_settings_of(url: &str) -> DatabaseSettings {
    DatabaseSettings {
        database_url: Secret::from(url.to_owned()),
        database_ca_file: None,
        database_pool_size: 16,
        database_timeout_ms: PATIENT_MS,
    }
}

/// The URL with another database in it.
fn renamed(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let end = base[after_scheme..].find('/').map_or(base.len(), |at| after_scheme + at);
    format!("{}/{database}{query}", &base[..end])
}
