//! Settings of the HTTP server.

use std::net::IpAddr;

use clap::Args;

use super::{Origins, TelemetrySettings};

/// Where a function listens, and how long a request may take.
#[derive(Args, Clone, Debug)]
pub struct HttpSettings {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: IpAddr,
    /// Port to serve on; 0 picks a free one and logs it
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Address of the metrics page: whoever reads it from another machine or container needs another one than this machine's own
    #[arg(long, env = "METRICS_HOST", default_value = "127.0.0.1")]
    pub metrics_host: IpAddr,
    /// Port of the metrics page; 0 picks a free one and logs it
    #[arg(long, env = "METRICS_PORT", default_value_t = 9090)]
    pub metrics_port: u16,
    /// Milliseconds that a request may take from its head to its answer
    #[arg(long, env = "REQUEST_TIMEOUT_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub request_timeout_ms: u64,
    /// Milliseconds that requests may go on after SIGTERM: at least `REQUEST_TIMEOUT_MS`. Whoever sends SIGTERM waits for a second
    /// more before SIGKILL
    #[arg(long, env = "SHUTDOWN_GRACE_MS", default_value_t = 8000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub shutdown_grace_ms: u64,
    /// Connections that are open at once at the most: beyond them the one that has been idle for
    /// the longest time is closed, and while none is idle a new one waits. The process needs as
    /// many file descriptors
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = connections)]
    pub max_connections: usize,
    /// Seconds that a connection may be idle between two requests: more than the load balancer in
    /// front keeps it, or requests are lost that it sends as this server closes (Google Cloud's
    /// keeps it for 600 s, most others for 60 s)
    #[arg(long, env = "KEEP_ALIVE_SECONDS", default_value_t = 620, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub keep_alive_seconds: u64,
    /// Proxies in front of this server whose word on X-Forwarded-For is taken: the client's address is the entry so far from
    /// the right; with 0 it is the address of whoever connects
    #[arg(long, env = "TRUSTED_PROXY_HOPS", default_value_t = 0)]
    pub trusted_proxy_hops: u8,
    /// Origins whose scripts may call from a browser, with commas between them, such as `https://console.example`
    #[arg(long, env = "CORS_ORIGINS", default_value = "")]
    pub cors_origins: Origins,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

fn connections(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|most| (1..=1_000_000).contains(most)).ok_or_else(|| "must be a number from 1 to 1000000".to_owned())
}
