//! What outlives the process, and that it never goes back.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coditect_license::{LeaseClaims, LicenseClaims, Memory, PublishedKeys, RevocationList, SeatUnit};
use tempfile::TempDir;

const SKEW: Duration = Duration::from_secs(60);
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A lease of six minutes, given at `iat`.
fn lease(license: &str, hardware: &str, iat: u64) -> LeaseClaims {
    LeaseClaims {
        tenant_id: "ten_1".into(),
        license_id: license.into(),
        license_version: None,
        session_id: format!("ses_{license}_{hardware}"),
        seat: 1,
        hardware_sha256: hardware.into(),
        nonce: None,
        iat,
        nbf: iat,
        exp: iat + 360,
    }
}

fn license(id: &str, version: u64) -> LicenseClaims {
    LicenseClaims {
        license_id: id.into(),
        tenant_id: "ten_1".into(),
        version,
        tier: "team".into(),
        features: Vec::new(),
        seats_total: 5,
        overage: 0,
        seat_unit: SeatUnit::Device,
        session_ttl_seconds: 360,
        starts_at: None,
        expires_at: None,
        issued_at: "2026-11-02T10:20:30.400Z".into(),
    }
}

fn list(version: u64) -> RevocationList {
    RevocationList { iat: NOW, version, revoked: Vec::new() }
}

fn published(certificates: &[&str], revocations: &str) -> PublishedKeys {
    PublishedKeys { certificates: certificates.iter().map(ToString::to_string).collect(), revocations: Some(revocations.into()) }
}

fn open(folder: &TempDir) -> Memory {
    Memory::open(folder.path().join("memory.json")).expect("a memory")
}

#[test]
fn a_clock_turned_back_an_hour_is_refused_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = open(&folder);
    assert!(memory.check_clock(at(0), SKEW).is_ok(), "nothing has been seen yet");
    memory.keep_lease("lease", &lease("lic_1", "hw", NOW), at(NOW + 200)).unwrap();
    for mut memory in [memory, open(&folder)] {
        assert_eq!(memory.check_clock(at(NOW + 200 - 3600), SKEW).unwrap_err().behind, Duration::from_secs(3600));
        assert!(memory.check_clock(at(NOW + 200 - 61), SKEW).is_err());
        assert!(memory.check_clock(at(NOW + 200 - 60), SKEW).is_ok());
        assert!(memory.check_clock(at(NOW + 9999), SKEW).is_ok());
        assert!(memory.check_clock(UNIX_EPOCH - SKEW, SKEW).is_err(), "a clock before 1970");
    }
}

#[test]
fn a_clock_turned_back_is_noticed_by_the_other_process() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (open(&folder), open(&folder));
    one.see_time(at(NOW), &lease("lic_1", "hw", NOW - 100)).unwrap();
    assert!(other.check_clock(at(NOW - 3600), SKEW).is_err());
}

#[test]
fn a_clock_far_ahead_locks_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = open(&folder);
    memory.see_time(at(NOW + 100 * 365 * 86400), &lease("lic_1", "hw", NOW)).unwrap();
    assert_eq!(memory.highest_time(), Some(at(NOW + 360)), "no later than the lease's end");
    memory.see_time(at(5), &lease("lic_1", "hw", NOW + 1000)).unwrap();
    assert_eq!(memory.highest_time(), Some(at(NOW + 1000)), "no earlier than it was given");
}

#[test]
fn the_revocation_list_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (open(&folder), open(&folder));
    one.keep_published(&published(&["c1"], "list 4"), Some(&list(4))).unwrap();
    other.keep_published(&published(&["c2"], "list 3"), Some(&list(3))).unwrap();
    other.keep_published(&published(&["c2"], "unverified"), None).unwrap();
    for memory in [other, open(&folder)] {
        assert_eq!(memory.revocations_version(), 4);
        assert_eq!(memory.published(), published(&["c2", "c1"], "list 4"));
    }
    one.keep_published(&published(&["c2"], "list 4 by the next root"), Some(&list(4))).unwrap();
    assert_eq!(open(&folder).published().revocations.as_deref(), Some("list 4 by the next root"));
}

#[test]
fn neither_time_nor_list_goes_back_when_an_old_file_is_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.json");
    let mut memory = open(&folder);
    memory.see_time(at(NOW), &lease("lic_1", "hw", NOW)).unwrap();
    memory.keep_published(&published(&[], "list 1"), Some(&list(1))).unwrap();
    let old = fs::read(&path).unwrap();
    memory.see_time(at(NOW + 5000), &lease("lic_1", "hw", NOW + 5000)).unwrap();
    memory.keep_published(&published(&[], "list 2"), Some(&list(2))).unwrap();
    fs::write(&path, old).unwrap();
    assert!(memory.check_clock(at(NOW), SKEW).is_err());
    memory.keep_license("license", &license("lic_1", 1)).unwrap();
    let again = open(&folder);
    assert_eq!((again.highest_time(), again.revocations_version()), (Some(at(NOW + 5000)), 2));
}

#[test]
fn the_last_license_and_lease_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = open(&folder);
    memory.keep_license("license 2", &license("lic_1", 2)).unwrap();
    memory.keep_license("license 1", &license("lic_1", 1)).unwrap();
    memory.keep_lease("later", &lease("lic_1", "hw", NOW + 120), at(NOW + 120)).unwrap();
    memory.keep_lease("earlier", &lease("lic_1", "hw", NOW), at(NOW + 121)).unwrap();
    memory.keep_lease("other machine", &lease("lic_1", "hw2", NOW), at(NOW)).unwrap();
    let again = open(&folder);
    assert_eq!(again.license("lic_1"), Some("license 2"), "an earlier version does not replace a later one");
    assert_eq!(again.lease("lic_1", "hw"), Some("later"), "an answer that comes late does not replace a later one");
    assert_eq!(again.lease("lic_1", "hw2"), Some("other machine"));
    assert_eq!((again.lease("lic_2", "hw"), again.license("lic_2")), (None, None));
}

#[test]
fn a_session_that_is_given_back_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (open(&folder), open(&folder));
    one.keep_lease("a", &lease("lic_1", "hw", NOW), at(NOW)).unwrap();
    other.keep_lease("b", &lease("lic_1", "hw2", NOW), at(NOW)).unwrap();
    one.forget_session("ses_lic_1_hw").unwrap();
    other.see_time(at(NOW), &lease("lic_1", "hw2", NOW)).unwrap();
    let again = open(&folder);
    assert_eq!((again.lease("lic_1", "hw"), again.lease("lic_1", "hw2")), (None, Some("b")));
}

#[test]
fn lease_of_one_program_survives_the_release_of_another_on_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = open(&folder);
    let of = |session: &str, iat| LeaseClaims { session_id: session.into(), ..lease("lic_1", "hw", iat) };
    memory.keep_lease("a 1", &of("ses_a", NOW), at(NOW)).unwrap();
    memory.keep_lease("b 1", &of("ses_b", NOW + 1), at(NOW + 1)).unwrap();
    memory.keep_lease("a 2", &of("ses_a", NOW + 2), at(NOW + 2)).unwrap();
    assert_eq!(open(&folder).lease("lic_1", "hw"), Some("a 2"));
    memory.forget_session("ses_a").unwrap();
    assert_eq!(open(&folder).lease("lic_1", "hw"), Some("b 1"));
    memory.forget_session("ses_b").unwrap();
    assert_eq!(open(&folder).lease("lic_1", "hw"), None);
}

#[test]
fn what_is_kept_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = open(&folder);
    for number in 0..200 {
        let iat = NOW + number * 3600;
        memory.keep_published(&published(&[&format!("certificate {number}")], "list"), Some(&list(1))).unwrap();
        memory.keep_lease("lease", &lease("lic_1", &format!("hw{number}"), iat), at(iat)).unwrap();
        memory.keep_license("license", &license(&format!("lic_{number}"), 1)).unwrap();
    }
    assert_eq!(memory.published().certificates.len(), 16);
    assert_eq!(memory.published().certificates[0], "certificate 199");
    assert_eq!((memory.lease("lic_1", "hw199"), memory.lease("lic_1", "hw0")), (Some("lease"), None));
    assert!(memory.license("lic_199").is_some());
    assert!(fs::metadata(folder.path().join("memory.json")).unwrap().len() < 32 * 1024);
}

#[test]
fn a_file_that_cannot_be_understood_counts_as_empty_and_is_told() {
    let (folder, path) = with_path();
    let mut memory = open(&folder);
    memory.see_time(at(NOW), &lease("lic_1", "hw", NOW)).unwrap();
    let whole = fs::read(&path).unwrap();
    let cut = &whole[..whole.len() / 2];
    let (huge, deep) = (vec![b' '; 5 * 1024 * 1024], vec![b'['; 100_000]);
    for damage in [&b""[..], b"{}", b"[]", b"null", b"\xff\xfe", cut, &huge, &deep] {
        fs::write(&path, damage).unwrap();
        let mut memory = open(&folder);
        assert!(memory.was_damaged());
        assert_eq!((memory.highest_time(), memory.revocations_version()), (None, 0));
        memory.keep_lease("lease", &lease("lic_1", "hw", NOW), at(NOW)).unwrap();
        assert!(!open(&folder).was_damaged(), "it is written anew");
    }
}

#[test]
fn a_file_damaged_while_in_use_does_not_take_what_the_process_knows() {
    let (folder, path) = with_path();
    let mut memory = open(&folder);
    memory.keep_lease("lease", &lease("lic_1", "hw", NOW), at(NOW)).unwrap();
    fs::write(&path, "garbage").unwrap();
    assert!(memory.check_clock(at(NOW - 3600), SKEW).is_err());
    memory.see_time(at(NOW), &lease("lic_1", "hw", NOW)).unwrap();
    assert!(memory.was_damaged());
    assert_eq!(open(&folder).lease("lic_1", "hw"), Some("lease"));
}

#[test]
fn threads_that_write_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_from_threads(&folder.path().join("memory.json"), "lic_here");
    assert_all_there(&open(&folder), "lic_here");
}

#[test]
fn processes_that_write_at_once_lose_nothing() {
    let (folder, path) = with_path();
    let itself = std::env::current_exe().unwrap();
    let start = |name: &str| {
        let test = ["--exact", "memory::writes_as_a_process_of_its_own", "--ignored"];
        Command::new(&itself).args(test).env("MEMORY_PATH", &path).env("MEMORY_LICENSE", name).spawn().unwrap()
    };
    let names = ["lic_a", "lic_b"];
    let children = names.map(start);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let memory = open(&folder);
    for name in names {
        assert_all_there(&memory, name);
    }
}

#[test]
#[ignore = "a part of processes_that_write_at_once_lose_nothing"]
fn writes_as_a_process_of_its_own() {
    let Some(path) = std::env::var_os("MEMORY_PATH") else { return };
    write_from_threads(Path::new(&path), &std::env::var("MEMORY_LICENSE").unwrap());
}

const THREADS: u64 = 4;
const WRITES: u64 = 10;

/// Four threads, each with a memory of its own, keep ten leases each.
fn write_from_threads(path: &Path, license: &str) {
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            threads.spawn(move || {
                let mut memory = Memory::open(path).expect("a memory");
                for write in 0..WRITES {
                    let hardware = format!("hw{thread}_{write}");
                    memory.keep_lease(&hardware, &lease(license, &hardware, NOW + write), at(NOW + write)).expect("a write");
                }
            });
        }
    });
}

fn assert_all_there(memory: &Memory, license: &str) {
    for thread in 0..THREADS {
        for write in 0..WRITES {
            let hardware = format!("hw{thread}_{write}");
            assert_eq!(memory.lease(license, &hardware), Some(&*hardware), "{license} {hardware}");
        }
    }
    assert_eq!(memory.highest_time(), Some(at(NOW + WRITES - 1)));
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_file_or_make_it_be_written_elsewhere() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/memory.json");
    let mut memory = Memory::open(&path).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    symlink(&elsewhere, path.with_file_name("memory.json.next")).unwrap();
    memory.see_time(at(NOW), &lease("lic_1", "hw", NOW)).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("memory.json.lock")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    memory.see_time(at(NOW), &lease("lic_1", "hw", NOW)).unwrap();
    assert_eq!(mode(&path), 0o600, "also if it was once open to others");
}

#[test]
fn a_memory_that_cannot_be_read_or_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Memory::open(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}: ", folder.path().display())), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(Memory::open(folder.path().join("file/below/memory.json")).is_err());
}

fn with_path() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory.json");
    (folder, path)
}
