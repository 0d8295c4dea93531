//! The `validate` function as a process of its own.

fn main() -> std::process::ExitCode {
    platform::web::serve("validate", validate::router)
}
