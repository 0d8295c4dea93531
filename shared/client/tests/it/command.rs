//! The `seat` command as a process.

mod crashing;
mod full_disk;
mod losing;
mod running;
mod scripting;

use std::{ffi::OsStr, fs, path::PathBuf, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testkit::must_complete;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::peer::{KEY, Peer};

/// A machine with the command on it, and a platform.
struct Machine {
    peer: Peer,
    folder: TempDir,
}

/// What a command left.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A command that runs.
struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Machine {
    async fn start(ttl: u64) -> Self {
        Self::with(Peer::start(ttl).await)
    }

    /// With [`Peer::beating`].
    async fn beating() -> Self {
        Self::with(Peer::beating().await)
    }

    /// With [`Peer::fleeting`].
    async fn fleeting() -> Self {
        Self::with(Peer::fleeting().await)
    }

    fn with(peer: Peer) -> Self {
        let machine = Self { peer, folder: tempfile::tempdir().unwrap() };
        fs::write(machine.path("root.json"), machine.peer.root()).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with nothing but what a customer sets.
    fn seat<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = bare(arguments);
        self.set_variables(&mut command);
        command
    }

    /// The same where no byte can be written to any file, though files can be made and removed: as on a full disk.
    fn seat_on_full_disk<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = of_program("sh", ["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_seat")]);
        command.args(arguments);
        self.set_variables(&mut command);
        command
    }

    fn set_variables(&self, command: &mut Command) {
        command
            .env("CODITECT_API_URL", &self.peer.url)
            .env("CODITECT_LICENSE_KEY", KEY)
            .env("CODITECT_ROOT", self.path("root.json"))
            .env("CODITECT_STATE", self.path("state"))
            .env("CODITECT_HARDWARE_ID", "device-1")
            .env("CODITECT_USER_EMAIL", "ada@example.com");
    }

    /// The folder in which the command keeps what belongs to the license key.
    fn state_folder(&self) -> PathBuf {
        let entries = fs::read_dir(self.path("state")).unwrap();
        entries.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap()
    }

    async fn done<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Done {
        done(&mut self.seat(arguments)).await
    }

    /// A shell script's wait for [`Machine::open_gate`].
    fn gate(&self) -> String {
        format!("until [ -e {} ]; do sleep 0.05; done", self.path("gate").display())
    }

    fn open_gate(&self) {
        fs::write(self.path("gate"), "").unwrap();
    }

    /// `seat run` over a shell script.
    fn run(&self, options: &[&str], script: &str) -> Running {
        let arguments = [&["run"], options, &["--", "sh", "-c", script]].concat();
        let mut child = self.seat(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Running { child, stdout, stderr }
    }
}

fn bare<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    of_program(env!("CARGO_BIN_EXE_seat"), arguments)
}

fn of_program<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null()).kill_on_drop(true);
    // Not the foreground group of a terminal that the tests may run in.
    command.process_group(0);
    command
}

async fn done(command: &mut Command) -> Done {
    let output = must_complete("the command ends", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().expect("the command itself is not killed"), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Done {
    /// The objects that were said.
    fn said(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }
}

impl Running {
    /// Waits for a line of the program.
    async fn prints(&mut self, line: &str) {
        let lines = async {
            while let Some(next) = self.stdout.next_line().await.unwrap() {
                if next == line {
                    return;
                }
            }
            panic!("it ended without printing {line}");
        };
        must_complete(line, lines).await;
    }

    /// Waits until the command says something on standard error.
    async fn says(&mut self, text: &str) {
        let lines = async {
            while let Some(next) = self.stderr.next_line().await.unwrap() {
                if next.contains(text) {
                    return;
                }
            }
            panic!("it ended without saying {text}");
        };
        must_complete(text, lines).await;
    }

    async fn signal(&self, signal: &str) {
        kill(signal, &self.child.id().unwrap().to_string()).await;
    }

    /// Its exit code; none if it was killed itself.
    async fn ends(&mut self) -> Option<i32> {
        must_complete("the command ends", self.child.wait()).await.unwrap().code()
    }
}

async fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), pid]).status().await.unwrap().success());
}
