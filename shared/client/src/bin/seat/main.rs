//! The `seat` command: holds a seat of a license for a program that knows nothing of licenses.

mod arguments;
mod child;
mod exit;
mod report;
mod run;
mod scripts;
mod setup;
mod signals;
mod verify;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match arguments::parse() {
        Ok(arguments) => run::command(arguments).await.into(),
        Err(code) => code.into(),
    }
}
