//! Times the start of a binary: `startup BINARY BODY` prints the microseconds from the start of the process to the first 200
//! on `/health/`, to the first 201 of an acquire with that body, and the resident memory after it in bytes.

#![expect(clippy::print_stdout, reason = "this is what it is for")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(binary), Some(body)) = (arguments.next(), arguments.next()) else { panic!("usage: startup BINARY BODY") };
    let (port, metrics_port) = (testkit::free_port(), testkit::free_port());
    let begun = Instant::now();
    let mut child = Command::new(binary)
        .env("HOST", "127.0.0.1")
        .env("PORT", port.to_string())
        .env("METRICS_PORT", metrics_port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let head = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let healthy = until(begun, port, &format!("GET /health/ {head}\r\n"), "HTTP/1.1 200");
    let acquire =
        format!("POST /api/v1/licenses/acquire {head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let granted = until(begun, port, &acquire, "HTTP/1.1 201");
    std::thread::sleep(Duration::from_millis(200));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0").trim();
    let kilobytes: u64 = resident.trim_end_matches(" kB").trim().parse().unwrap_or(0);
    println!("{} {} {}", healthy.as_micros(), granted.as_micros(), kilobytes * 1024);
    // It has been asked nothing that it must finish.
    let _ = child.kill();
    let _ = child.wait();
}

fn until(begun: Instant, port: u16, request: &str, wanted: &str) -> Duration {
    loop {
        let answer = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        if answer.is_ok_and(|answer| answer.starts_with(wanted)) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "no {wanted}");
        std::thread::sleep(Duration::from_micros(300));
    }
}
