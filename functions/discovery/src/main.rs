//! The `discovery` function as a process of its own.

fn main() -> std::process::ExitCode {
    platform::web::serve("discovery", discovery::router)
}
