//! The `admin` function as a process of its own.

fn main() -> std::process::ExitCode {
    platform::web::serve("admin", admin::router)
}
