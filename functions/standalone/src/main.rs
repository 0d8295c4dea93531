//! The whole platform as one process.

fn main() -> std::process::ExitCode {
    standalone::run()
}
