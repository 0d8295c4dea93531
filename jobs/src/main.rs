//! The worker.

fn main() -> std::process::ExitCode {
    jobs::run()
}
