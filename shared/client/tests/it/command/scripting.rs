//! The command in a script: exit codes, JSON, and a session that waits in the state folder.

use std::fs;

use serde_json::{Value, json};

use super::{Machine, bare, done};
use crate::peer::{Answer, Fault, KEY, problem};

fn members(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_way_to_have_no_seat_has_its_exit_code() {
    let machine = Machine::start(360).await;
    let table: [(Answer, i32, &str); 8] = [
        ((402, json!({"code": "no_seats_available", "seats_used": 2, "seats_total": 2})), 120, "no_seats_available"),
        (problem(403, "license_expired"), 121, "license_expired"),
        (problem(403, "license_revoked"), 121, "license_revoked"),
        (problem(403, "hardware_blocked"), 121, "hardware_blocked"),
        (problem(404, "license_not_found"), 121, "license_not_found"),
        (problem(400, "invalid_request"), 121, "invalid_request"),
        (problem(418, "teapot"), 122, "server_error"),
        ((404, json!("<html/>")), 122, "server_error"),
    ];
    for (answer, code, name) in table {
        for arguments in [&["acquire", "--json"][..], &["run", "--json", "--", "echo", "started"]] {
            machine.peer.fault("acquire", [Fault::Say(answer.clone(), None)]);
            let done = machine.done(arguments).await;
            let said = if arguments[0] == "run" { &done.stderr } else { &done.stdout };
            let said: Value = serde_json::from_str(said).unwrap();
            assert_eq!((done.code, &said["event"], &said["code"]), (code, &json!("failed"), &json!(name)));
            assert!(!done.stdout.contains("started"));
        }
    }
}

#[tokio::test]
async fn a_platform_that_cannot_be_reached_or_trusted_has_its_exit_code() {
    let machine = Machine::start(360).await;
    machine.peer.change("acquire", |_, answer| answer["lease"] = "ey.ey.ey".into());
    assert_eq!(machine.done(["acquire"]).await.code, 123);
    machine.peer.stop();
    let done = machine.done(["acquire", "--patience", "1"]).await;
    assert_eq!(done.code, 122);
    assert!(done.stdout.is_empty() && done.stderr.contains("cannot be reached"), "{}", done.stderr);
}

#[tokio::test]
async fn platform_that_answers_is_not_called_unreachable() {
    let machine = Machine::start(360).await;
    for (status, code, told) in
        [(429, "too_many_requests", "too many requests"), (503, "service_unavailable", "the platform answers 503 (service_unavailable)")]
    {
        machine.peer.fault("acquire", [Fault::Say(problem(status, code), Some(3600))]);
        let failed = machine.done(["acquire", "--patience", "7"]).await;
        assert_eq!(failed.code, 122);
        for part in [told, "try again in 3600 s", "longer than the patience (7 s)"] {
            assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
        }
        assert!(!failed.stderr.contains("reached"), "{}", failed.stderr);
    }
    machine.peer.fault("acquire", [Fault::Say(problem(429, "too_many_requests"), Some(3600))]);
    let said = machine.done(["acquire", "--json"]).await.said().remove(0);
    assert_eq!((&said["code"], &said["status"], &said["retry_after"]), (&json!("too_many_requests"), &json!(429), &json!(3600)));
}

#[tokio::test]
async fn full_license_says_when_to_try_again() {
    let machine = Machine::start(360).await;
    let full = json!({"code": "no_seats_available", "seats_used": 2, "seats_total": 2, "next_expiry_at": "2027-01-15T08:00:00.000Z"});
    machine.peer.fault("acquire", [Fault::Say((402, full), Some(7))]);
    let told = machine.done(["acquire"]).await.stderr;
    for part in ["every seat is taken: 2 of 2", "by 2027-01-15T08:00:00.000Z", "try again in 7 s"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn release_of_an_ended_session_is_not_told_as_a_release() {
    let machine = Machine::start(360).await;
    for ended in ["session_expired", "session_revoked"] {
        machine.done(["acquire"]).await;
        machine.peer.platform(|platform| platform.end_all(ended));
        let released = machine.done(["release", "--json"]).await;
        assert_eq!((released.code, released.said()[0]["event"].as_str()), (0, Some("nothing_to_release")), "{ended}");
    }
    machine.done(["acquire"]).await;
    machine.peer.platform(|platform| platform.end_all("session_expired"));
    let told = machine.done(["release"]).await.stdout;
    assert!(told.contains("there is no seat to give back: it had ended before"), "{told}");
}

#[tokio::test]
async fn status_after_a_heartbeat_that_was_told_of_the_end_is_not_held() {
    let machine = Machine::start(360).await;
    for ended in ["session_revoked", "session_released", "session_expired", "session_not_found"] {
        machine.done(["acquire"]).await;
        machine.peer.platform(|platform| {
            platform.end_all(ended);
            platform.refused = Some("license_suspended");
        });
        assert_ne!(machine.done(["heartbeat"]).await.code, 0, "{ended}");
        assert_eq!(machine.done(["status"]).await.code, 124, "{ended}");
        machine.peer.platform(|platform| platform.refused = None);
    }
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let machine = Machine::start(360).await;
    for variable in ["CODITECT_API_URL", "CODITECT_LICENSE_KEY", "CODITECT_ROOT", "CODITECT_STATE"] {
        let done = done(machine.seat(["acquire"]).env_remove(variable)).await;
        assert_eq!(done.code, 125);
        assert!(done.stderr.contains(variable), "{}", done.stderr);
    }
    let without_email = done(machine.seat(["acquire"]).env_remove("CODITECT_USER_EMAIL")).await;
    assert_eq!(without_email.code, 125);
    assert_eq!(done(&mut bare(["run", "--no-such-option"])).await.code, 125);
    assert_eq!(done(&mut bare(["--help"])).await.code, 0);
}

#[tokio::test]
async fn a_seat_goes_through_its_life_in_a_script() {
    let machine = Machine::start(360).await;
    let acquired = machine.done(["acquire", "--json"]).await.said().remove(0);
    let facts = ["event", "features", "license_id", "seat", "seats_total", "seats_used", "tenant_id", "tier", "until"];
    assert_eq!(members(&acquired), facts);
    assert_eq!((&acquired["event"], &acquired["seat"], &acquired["seats_used"]), (&json!("acquired"), &json!(1), &json!(1)));

    let renewed = machine.done(["heartbeat", "--json"]).await.said().remove(0);
    assert_eq!((members(&renewed), &renewed["event"]), (facts.to_vec(), &json!("renewed")));
    assert_eq!((machine.peer.calls("heartbeat").len(), machine.peer.alive()), (1, 1));

    let held = machine.done(["status", "--json"]).await.said().remove(0);
    assert_eq!((&held["event"], &held["saved"], &held["until"]), (&json!("held"), &json!(true), &renewed["until"]));

    let released = machine.done(["release", "--json"]).await;
    assert_eq!((released.code, released.said()[0]["event"].as_str(), machine.peer.alive()), (0, Some("released"), 0));
    let again = machine.done(["release", "--json"]).await;
    assert_eq!((again.code, again.said()[0]["event"].as_str()), (0, Some("nothing_to_release")));

    for command in ["heartbeat", "status"] {
        assert_eq!(machine.done([command]).await.code, 124, "{command}");
    }
}

#[tokio::test]
async fn people_are_told_in_sentences_and_never_a_secret() {
    let machine = Machine::start(360).await;
    let mut told = String::new();
    for command in ["acquire", "heartbeat", "status", "verify", "release"] {
        let done = machine.done([command]).await;
        assert_eq!(done.code, 0, "{command}: {}", done.stderr);
        told.push_str(&done.stdout);
    }
    assert!(told.contains("acquired: seat 1 of 2 on license lic_1, until 20") && told.contains("the seat is given back"), "{told}");
    assert!(!told.contains(KEY) && !told.contains("ses_secret"), "{told}");
}

#[tokio::test]
async fn a_session_that_has_ended_is_forgotten() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    machine.peer.platform(|platform| platform.end_all("session_revoked"));
    let beat = machine.done(["heartbeat", "--json"]).await;
    assert_eq!((beat.code, beat.said()[0]["code"].as_str()), (124, Some("session_revoked")));
    assert_eq!(machine.done(["heartbeat", "--json"]).await.said()[0]["code"], "no_session");
    assert_eq!(machine.done(["acquire"]).await.code, 0);
}

#[tokio::test]
async fn a_run_does_not_give_back_what_a_script_has_taken() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    assert_eq!(machine.done(["run", "--", "true"]).await.code, 0);
    assert_eq!((machine.peer.alive(), machine.done(["heartbeat"]).await.code), (1, 0));
}

#[tokio::test]
async fn a_script_does_not_give_back_what_a_run_still_needs() {
    let machine = Machine::start(360).await;
    machine.peer.platform(|platform| platform.is_old = true);
    machine.done(["acquire"]).await;
    let mut running = machine.run(&[], "echo ready; exec sleep 300");
    running.prints("ready").await;
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "in_use");
    assert_eq!(machine.peer.alive(), 1);
    running.signal("TERM").await;
    running.ends().await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn release_by_a_script_leaves_the_session_of_a_run() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let mut running = machine.run(&[], "echo ready; exec sleep 300");
    running.prints("ready").await;
    assert_eq!(machine.peer.platform(|platform| platform.seats_used()), 1);
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "released");
    assert_eq!(machine.peer.alive(), 1);
    running.signal("TERM").await;
    running.ends().await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn second_acquire_of_a_script_takes_the_place_of_the_first() {
    let machine = Machine::start(360).await;
    for _ in 0..2 {
        assert_eq!(machine.done(["acquire"]).await.code, 0);
    }
    assert_eq!(machine.peer.alive(), 1);
    machine.done(["release"]).await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn seat_that_cannot_be_saved_is_released() {
    let machine = Machine::start(360).await;
    machine.done(["status"]).await;
    let folder = fs::read_dir(machine.path("state")).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    // Nothing can be put in its place, as on a full disk.
    fs::create_dir(folder.join("session.json")).unwrap();
    let done = machine.done(["acquire"]).await;
    assert_eq!((done.code, machine.peer.alive()), (125, 0), "{}", done.stderr);
}

#[tokio::test]
async fn seat_of_a_refused_answer_is_found_by_release() {
    let machine = Machine::start(360).await;
    machine.peer.change("acquire", |_, answer| answer["lease"] = "ey.ey.ey".into());
    machine.peer.platform(|platform| platform.is_release_down = true);
    assert_eq!(machine.done(["acquire", "--patience", "1"]).await.code, 123);
    assert_eq!(machine.peer.alive(), 1);
    machine.peer.platform(|platform| platform.is_release_down = false);
    let released = machine.done(["release", "--json"]).await;
    assert_eq!((released.said()[0]["event"].as_str(), machine.peer.alive()), (Some("released"), 0));
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "nothing_to_release");
}

#[tokio::test]
async fn heartbeat_of_an_expired_session_acquires_again() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    machine.peer.platform(|platform| platform.end_all("session_expired"));
    let beat = machine.done(["heartbeat", "--json"]).await;
    assert_eq!((beat.code, beat.said()[0]["event"].as_str(), machine.peer.alive()), (0, Some("regained"), 1));
    assert_eq!(machine.done(["heartbeat", "--json"]).await.said()[0]["event"], "renewed");
}

#[tokio::test]
async fn spellings_of_one_key_have_one_state() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    for spelling in [KEY.to_lowercase(), KEY.replace('-', " "), format!("\"{KEY}\"\n")] {
        let beat = done(machine.seat(["heartbeat", "--json"]).env("CODITECT_LICENSE_KEY", &spelling)).await;
        assert_eq!((beat.code, beat.said()[0]["event"].as_str()), (0, Some("renewed")), "{spelling:?}");
    }
    let wrong = done(machine.seat(["acquire", "--json"]).env("CODITECT_LICENSE_KEY", &KEY[..20])).await;
    assert_eq!((wrong.code, wrong.said()[0]["code"].as_str()), (121, Some("invalid_request")));
    assert!(!wrong.stdout.contains("0123"), "{}", wrong.stdout);
}

#[tokio::test]
async fn state_of_an_earlier_version_for_another_spelling_is_taken_over() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let folder = fs::read_dir(machine.path("state")).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let spelling = KEY.to_lowercase();
    let mut name = coditect_license::hardware_sha256(&format!("{spelling}\ndevice-1"));
    name.truncate(16);
    fs::rename(folder, machine.path("state").join(name)).unwrap();
    let beat = done(machine.seat(["heartbeat"]).env("CODITECT_LICENSE_KEY", spelling)).await;
    assert_eq!(beat.code, 0, "{}", beat.stderr);
}

#[tokio::test]
async fn http_to_another_machine_is_refused_unless_it_is_allowed() {
    let machine = Machine::start(360).await;
    let command = |arguments: &[&str]| {
        let mut command = machine.seat(arguments);
        command.env("CODITECT_API_URL", "http://license.invalid");
        command
    };
    let refused = done(&mut command(&["acquire"])).await;
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("unencrypted") && refused.stderr.contains("--allow-insecure-http"), "{}", refused.stderr);
    let allowed = done(&mut command(&["acquire", "--patience", "0", "--allow-insecure-http"])).await;
    assert_eq!(allowed.code, 122, "{}", allowed.stderr);
    let allowed = done(command(&["acquire", "--patience", "0"]).env("CODITECT_ALLOW_INSECURE_HTTP", "true")).await;
    assert_eq!(allowed.code, 122, "{}", allowed.stderr);
}

#[tokio::test]
async fn what_is_kept_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let folder = fs::read_dir(machine.path("state")).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for file in ["memory.json", "session.json"] {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert!(names.iter().all(|text| !text.contains(KEY)), "the license key is not kept");
}

#[tokio::test]
async fn verify_shows_every_check_with_the_network_cut() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    machine.peer.stop();
    let told = machine.done(["verify"]).await;
    assert_eq!(told.code, 0, "{}", told.stderr);
    for check in
        ["ok   license: signature", "ok   lease: signature", "ok   revocation list: does not name", "this machine has a seat until"]
    {
        assert!(told.stdout.contains(check), "{check}: {}", told.stdout);
    }
    let said = machine.done(["verify", "--json"]).await.said();
    let events: Vec<_> = said.iter().map(|said| said["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["license", "lease", "verified"]);
    assert_eq!(members(&said[1]), ["checks", "claims", "event", "verdict"]);
    assert_eq!(members(&said[1]["checks"][0]), ["compared", "held", "of", "what"]);

    let elsewhere = done(machine.seat(["verify"]).env("CODITECT_HARDWARE_ID", "device-2")).await;
    assert_eq!(elsewhere.code, 124, "nothing is kept for another machine");
}

#[tokio::test]
async fn verify_judges_files_from_anywhere() {
    let machine = Machine::start(360).await;
    let seat = machine.peer.client().acquire().await.unwrap();
    let license = serde_json::to_value(machine.peer.client().acquire().await.unwrap().detach().await).unwrap();
    let keys = machine.peer.platform(|platform| platform.keys().1.to_string());
    let (lease, license) = (seat.lease_token(), license["license"].as_str().unwrap().to_owned());
    for (name, text) in [("lease", &lease), ("license", &license), ("keys", &keys), ("forged", &lease.replacen("ey", "eyJ", 1))] {
        fs::write(machine.path(name), format!("{text}\n")).unwrap();
    }
    let verify = |arguments: &[&str]| {
        let mut command = bare(["verify", "--json", "--root", "root.json", "--keys", "keys"]);
        command.args(arguments).current_dir(machine.folder.path());
        command
    };
    let good = ["--lease", "lease", "--license", "license"];
    assert_eq!(done(&mut verify(&good)).await.code, 0);
    assert_eq!(done(&mut verify(&["--lease", "lease", "--hardware-id", "device-1"])).await.code, 0);
    let forged = done(&mut verify(&["--lease", "forged"])).await;
    assert_eq!(forged.code, 123);
    assert_eq!(forged.said()[0]["checks"].as_array().unwrap().last().unwrap()["held"], false);
    let wrong = done(&mut verify(&["--lease", "lease", "--hardware-id", "device-2"])).await;
    assert_eq!((wrong.code, wrong.said()[0]["verdict"].as_str()), (123, Some("wrong_hardware")));
    assert_eq!(done(&mut verify(&["--lease", "no-such-file"])).await.code, 125);
}
