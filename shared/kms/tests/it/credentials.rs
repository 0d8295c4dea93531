//! Application Default Credentials that do not work. The environment names them, so each test runs itself again with one of its
//! own, in which there are no others.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use platform::signing::RootSigner;
use testkit::must_complete;

use crate::server::root_at;

const CHILD: &str = "KMS_TEST_CHILD";
const DEADLINE: Duration = Duration::from_secs(8);

/// In the child: signs with the credentials of its environment, and prints what comes of it.
fn is_child() -> bool {
    if env::var_os(CHILD).is_none() {
        return false;
    }
    // Nobody listens there, should there be a token after all.
    let root = root_at("https://127.0.0.1:1", DEADLINE);
    // That there is an outcome means that the deadline is kept.
    let outcome = tokio::runtime::Runtime::new().unwrap().block_on(must_complete("an outcome", root.sign(b"a license")));
    eprintln!("{outcome:?}");
    true
}

/// In the parent: what the child printed.
fn said(test: &str, variable: &str, value: &str) -> String {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([&format!("credentials::{test}"), "--exact", "--nocapture"]);
    child.env_clear().env("HOME", "/nonexistent").env(CHILD, "yes").env(variable, value);
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_metadata_server_that_hangs_does_not_hold_up_the_deadline() {
    if is_child() {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let said =
        said("a_metadata_server_that_hangs_does_not_hold_up_the_deadline", "GCE_METADATA_HOST", &silent.local_addr().unwrap().to_string());
    assert!(said.contains("Err(Unavailable("), "{said}");
}

#[test]
fn what_a_token_service_says_is_not_repeated() {
    if is_child() {
        return;
    }
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut connection in refusing.incoming().map_while(Result::ok) {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 7\r\n\r\nhunter2");
        }
    });
    let said = said("what_a_token_service_says_is_not_repeated", "GCE_METADATA_HOST", &address);
    assert!(said.contains("Err(") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_credentials_file_that_cannot_be_used_is_refused_and_not_shown() {
    if is_child() {
        return;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kms-test-credentials.json");
    for text in ["hunter2", r#"{"type": "hunter2"}"#, r#"{"type": "service_account", "private_key": "hunter2"}"#] {
        fs::write(&file, text).unwrap();
        let said = said(
            "a_credentials_file_that_cannot_be_used_is_refused_and_not_shown",
            "GOOGLE_APPLICATION_CREDENTIALS",
            file.to_str().unwrap(),
        );
        assert!(said.contains("Err(Refused(") && !said.contains("hunter2"), "{said}");
    }
}
