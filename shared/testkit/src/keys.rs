//! The keys of tests: a root that is made once for all of them, and a key to seal leaves with.

use std::{path::PathBuf, sync::Arc};

use platform::{
    db::Database,
    domain::SystemClock,
    signing::{KeyRotation, LocalRoot, RootSigner, Schedule},
};
use uuid::Uuid;

/// 32 bytes that protect nothing.
pub const SEALING_KEY: &str = "dGVzdHMgc2VhbCB0aGVpciBsZWF2ZXMgd2l0aCB0aGk=";

/// The file with the root key. It stays for later runs: an RSA-4096 key takes long to make.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn root_file() -> PathBuf {
    let file = std::env::temp_dir().join("coditect-test-root.pem");
    if LocalRoot::open(&file).is_err() {
        // Tests start together, each in a process of its own: whoever comes last wins, with a whole key.
        let draft = file.with_extension(Uuid::new_v4().simple().to_string());
        LocalRoot::make(&draft).expect("a root can be made");
        if std::fs::hard_link(&draft, &file).is_err() && LocalRoot::open(&file).is_err() {
            std::fs::rename(&draft, &file).expect("a broken root can be replaced");
        } else {
            std::fs::remove_file(&draft).expect("a draft can be removed");
        }
    }
    file
}

/// The root.
///
/// # Panics
/// If its file cannot be read.
#[must_use]
pub fn root() -> Arc<dyn RootSigner> {
    Arc::new(LocalRoot::open(&root_file()).expect("the root of tests can be read"))
}

/// A rotation of keys with the usual schedule; `database` must act as a job.
///
/// # Panics
/// If the keys of tests cannot be read.
#[must_use]
pub fn rotation(database: Database) -> KeyRotation {
    rotation_on(Schedule::default(), database)
}

/// The same with another schedule, such as one that no setting takes.
///
/// # Panics
/// If the keys of tests cannot be read.
#[must_use]
pub fn rotation_on(schedule: Schedule, database: Database) -> KeyRotation {
    let sealing = SEALING_KEY.parse().expect("it is a sealing key");
    KeyRotation::new(database, root(), sealing, schedule, Arc::new(SystemClock))
}

/// The settings that processes need of these.
#[must_use]
pub fn settings() -> [(&'static str, String); 2] {
    [("SEALING_KEY", SEALING_KEY.to_owned()), ("ROOT_KEY_FILE", root_file().display().to_string())]
}
