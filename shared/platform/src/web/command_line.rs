//! Reads the settings of a program, from its command line and the environment, and refuses bad ones with the name of each.
//!
//! The same rules hold for every program and setting:
//!
//! - A variable that is empty or blank counts as not set. A flag with an empty value is refused.
//! - A refusal names the variable and the flag, and shows the value unless it is a secret.
//! - Settings that contradict each other are refused together.

use std::{env, ffi::OsStr, process::exit};

use clap::{
    Arg, ArgMatches, Command, CommandFactory, Error, FromArgMatches,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{contradictions, print_error};

/// Reads the command line of this process. Prints why and ends the process if it cannot be taken, or if it asks for help.
#[must_use]
pub fn command_line<C: CommandFactory + FromArgMatches>() -> C {
    read(C::command())
}

/// The same, for a command that was named later.
pub(super) fn read<C: FromArgMatches>(command: Command) -> C {
    read_from(without_empty_variables(command), env::args_os()).unwrap_or_else(|error| {
        if error.use_stderr() {
            print_error(error.render().to_string().trim_end());
            exit(error.exit_code());
        }
        error.exit()
    })
}

fn read_from<C: FromArgMatches>(mut command: Command, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<C, Error> {
    // Whatever an error says of a setting is known of a built command alone.
    command.build();
    let matches = command.try_get_matches_from_mut(arguments).map_err(|error| without_secret(error, &command))?;
    check(&mut command, &matches)?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| is_blank(&value));
    command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg }).mut_subcommands(without_empty_variables)
}

fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}

/// Takes the value out of an error if its setting is a secret.
fn without_secret(mut error: Error, command: &Command) -> Error {
    let refused = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if refused.is_some_and(|refused| is_secret(command, &refused)) && error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("[hidden]".to_owned()));
    }
    error
}

/// Whether the setting that errors call so is a secret of this command or of one below it.
fn is_secret(command: &Command, called: &str) -> bool {
    command.get_arguments().any(|arg| arg.is_hide_env_values_set() && arg.to_string() == called)
        || command.get_subcommands().any(|command| is_secret(command, called))
}

/// Looks at the settings of the subcommand that was called.
fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand_mut(name)
    {
        return check(command, matches);
    }
    let is_given_empty = |arg: &&Arg| {
        matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
            && matches.get_raw(arg.get_id().as_str()).is_some_and(|mut values| values.any(is_blank))
    };
    let empty = command.get_arguments().filter(|arg| arg.get_env().is_some()).find(is_given_empty);
    if let Some(message) = empty.map(|empty| format!("the value of {empty} is empty: leave it out, or give one")) {
        return Err(command.error(ErrorKind::InvalidValue, message));
    }
    let contradictions = contradictions::of(command, matches);
    if contradictions.is_empty() {
        return Ok(());
    }
    Err(command.error(ErrorKind::ArgumentConflict, contradictions.join("\n")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::web::{AcquireSettings, HttpSettings};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        _http: HttpSettings,
        #[command(flatten)]
        _acquire: AcquireSettings,
    }

    const GOOD: [&str; 3] = [
        "--database-url=postgres://app:hunter2@db/seats",
        "--redis-url=redis://:hunter2@cache",
        "--sealing-key=dGVzdHMgc2VhbCB0aGVpciBsZWF2ZXMgd2l0aCB0aGk=",
    ];

    fn refusal(arguments: &[&str]) -> String {
        let mut line = vec!["test"];
        // The last one counts where a setting is given twice.
        line.extend(GOOD.iter().filter(|good| !arguments.iter().any(|given| given.split('=').next() == good.split('=').next())));
        line.extend(arguments);
        match read_from::<Line>(Line::command(), line.into_iter().map(Into::into)) {
            Ok(_) => String::new(),
            Err(error) => error.render().to_string(),
        }
    }

    #[test]
    fn settings_that_fit_are_taken() {
        assert_eq!(refusal(&[]), "");
    }

    #[test]
    fn bad_secret_is_named_and_not_shown() {
        for (setting, secret) in [
            ("--database-url", "hunter2:postgres"),
            ("--database-url", "postgres://app:hunter2@"),
            ("--redis-url", "hunter2"),
            ("--redis-url", "redis://cache,http://:hunter2@cache"),
            ("--redis-url", "rediss://:hunter2@cache/#insecure"),
            ("--sealing-key", "hunter2"),
        ] {
            let text = refusal(&[&format!("{setting}={secret}")]);
            let variable = setting.trim_start_matches('-').replace('-', "_").to_uppercase();
            assert!(text.contains(setting) && text.contains(&variable), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(refusal(&["--port=many"]).contains("'many' for '--port <PORT>'"));
    }

    #[test]
    fn flag_with_an_empty_value_is_refused_by_name() {
        for setting in ["--database-url", "--redis-url", "--google-cloud-project", "--cors-origins", "--redis-ca-file"] {
            for value in ["", " "] {
                let text = refusal(&[&format!("{setting}={value}")]);
                assert!(text.contains(setting), "{text}");
            }
        }
    }

    #[test]
    fn every_setting_is_called_by_its_variable_in_errors() {
        let mut command = Line::command();
        command.build();
        for arg in command.get_arguments().filter(|arg| arg.get_long() != Some("help")) {
            let variable = arg.get_env().unwrap().to_str().unwrap();
            assert!(arg.to_string().contains(variable), "{arg} is not called {variable}");
        }
    }
}
