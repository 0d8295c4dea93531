//! What can be said on the command line and in the environment.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use coditect_license::Algorithm;

use crate::exit;

/// Takes a seat of a CODITECT license, keeps it, and gives it back.
#[derive(Parser)]
#[command(name = "seat", version, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a program for as long as it has a seat.
    ///
    /// The program finds the facts in `CODITECT_SEAT`, `CODITECT_LICENSE_ID`, `CODITECT_TENANT_ID`, `CODITECT_TIER`,
    /// `CODITECT_FEATURES` and `CODITECT_SEATS_TOTAL`; the license key is taken out of its environment. Signals are passed on, and its
    /// exit code is the command's.
    Run(Run),
    /// Takes a seat and leaves it taken, for heartbeat and release to find.
    Acquire,
    /// Renews the seat that acquire took.
    Heartbeat,
    /// Gives back the seat that acquire took, and seats that programs which died have left.
    Release,
    /// Tells, without the platform, whether this machine has a seat.
    Status,
    /// Verifies a license and a lease without the platform and shows every check.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Run {
    /// What to do if the seat is lost, and no other can be had at once, while the program runs.
    #[arg(long, value_enum, default_value = "terminate")]
    pub(crate) on_lost: OnLost,
    /// Seconds between SIGTERM and SIGKILL for a program whose seat is lost.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(crate) enum OnLost {
    /// Say so, let it run, and go on trying to take a seat.
    Warn,
    /// End it: SIGTERM, and SIGKILL after a while.
    Terminate,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// A lease to verify instead of the one in the state folder.
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub(crate) lease: Option<PathBuf>,
    /// A license document (`license_data.signature`) to verify instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) license: Option<PathBuf>,
    /// What GET /api/v1/keys answered.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Options {
    /// Where the platform is.
    #[arg(long, global = true, env = "CODITECT_API_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) api_url: Option<String>,
    /// The license key, as it was given: hyphens, spaces and quotes do not matter. Other users of the machine can see what is on a command line: better set the variable.
    #[arg(long, global = true, env = "CODITECT_LICENSE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The root to trust: a PEM or JWK file.
    #[arg(long, global = true, env = "CODITECT_ROOT", value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
    /// How the root signs, which a PEM file does not tell.
    #[arg(long, global = true, env = "CODITECT_ROOT_ALGORITHM", default_value = "RS256", value_parser = algorithm)]
    pub(crate) root_algorithm: Algorithm,
    /// Folder for what outlives the command (~/.local/state/coditect).
    #[arg(long, global = true, env = "CODITECT_STATE", value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Who sits on the seat; needed to take one.
    #[arg(long, global = true, env = "CODITECT_USER_EMAIL")]
    pub(crate) email: Option<String>,
    /// What names this machine (made from /etc/machine-id, or random and kept).
    #[arg(long, global = true, env = "CODITECT_HARDWARE_ID", value_name = "ID")]
    pub(crate) hardware_id: Option<String>,
    /// Where acquire is, if elsewhere.
    #[arg(long, global = true, env = "CODITECT_ACQUIRE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) acquire_url: Option<String>,
    /// Where heartbeat is, if elsewhere.
    #[arg(long, global = true, env = "CODITECT_HEARTBEAT_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) heartbeat_url: Option<String>,
    /// Where release is, if elsewhere.
    #[arg(long, global = true, env = "CODITECT_RELEASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) release_url: Option<String>,
    /// Where the keys are, if elsewhere.
    #[arg(long, global = true, env = "CODITECT_KEYS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) keys_url: Option<String>,
    /// Allow http:// URLs of other machines: the license key travels unencrypted.
    #[arg(long, global = true, env = "CODITECT_ALLOW_INSECURE_HTTP", hide_env_values = true)]
    pub(crate) allow_insecure_http: bool,
    /// Seconds to keep trying to reach the platform.
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) patience: Duration,
    /// Take what is not said from .local/demo.json, here or in a folder above.
    #[arg(long, global = true)]
    pub(crate) demo: bool,
    /// Say everything in JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse::<u32>().map(|seconds| Duration::from_secs(seconds.into()))
}

fn algorithm(text: &str) -> Result<Algorithm, &'static str> {
    [Algorithm::Rs256, Algorithm::Ps256].into_iter().find(|algorithm| algorithm.name() == text).ok_or("must be RS256 or PS256")
}

/// The arguments, or the exit code after help, version or a complaint was printed.
pub(crate) fn parse() -> Result<Arguments, exit::Code> {
    Arguments::try_parse().map_err(|error| {
        // If nobody reads what is printed, there is nobody to tell.
        let _ = error.print();
        if error.use_stderr() { exit::Code::FAILED } else { exit::Code::DONE }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }
}
