//! The `heartbeat` function as a process of its own.

fn main() -> std::process::ExitCode {
    platform::web::serve("heartbeat", heartbeat::router)
}
