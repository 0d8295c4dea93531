//! The server: HTTP/1.1 with limits, and a graceful end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tower::Service;

use super::{
    ClientAddress, HttpSettings, Metrics,
    connection::{LastWord, Patience, Phase, Socket, Stream},
    connections::{ConnectionMeter, Connections},
    shell,
};
use crate::seats::Limiter;

/// How long a client may take over the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may keep the next bytes of its answer waiting.
const WRITE: Duration = Duration::from_secs(10);
/// How much of a request's head is read; a larger one is a 431.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections to the metrics page, and seconds for which they may be idle.
const OF_METRICS: (usize, u64) = (64, 60);

/// What a listener lets its clients do.
#[derive(Clone, Debug)]
struct Terms {
    patience: Patience,
    connections: Arc<Connections>,
    trusted_hops: u8,
}

impl Terms {
    fn new(most: usize, idle_seconds: u64, trusted_hops: u8, meter: ConnectionMeter) -> Self {
        let patience = Patience { head: HEAD, idle: Duration::from_secs(idle_seconds), write: WRITE };
        Self { patience, connections: Connections::new(most, meter), trusted_hops }
    }
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
pub(super) async fn run<F, R>(routes: Router, http: &HttpSettings, metrics: Arc<Metrics>, limiter: Arc<Limiter>, ready: F) -> io::Result<()>
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Vec<&'static str>> + Send + 'static,
{
    let listener = listen(http.host, http.port, "PORT (--port) of HOST (--host)").await?;
    let pages = listen_for_metrics(http.metrics_host, http.metrics_port).await?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(listening = %listener.local_addr()?, metrics = %pages.local_addr()?, "ready to serve");

    let app = shell(routes, http, Arc::clone(&metrics), limiter, ready);
    let terms = Terms::new(http.max_connections, http.keep_alive_seconds, http.trusted_proxy_hops, metrics.connections.clone());
    tokio::spawn(accept_metrics(pages, metrics));
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept_into(&listener, &app, &terms, &graceful) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(listener);
    tracing::info!("finishing what is in flight");
    if timeout(Duration::from_millis(http.shutdown_grace_ms), graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    Ok(())
}

/// Serves the metrics page alone, in the background, for a process that serves nothing else; answers where.
///
/// # Errors
/// If the port cannot be had.
pub async fn serve_metrics(host: IpAddr, port: u16, metrics: Arc<Metrics>) -> io::Result<SocketAddr> {
    let pages = listen_for_metrics(host, port).await?;
    let address = pages.local_addr()?;
    tokio::spawn(accept_metrics(pages, metrics));
    Ok(address)
}

/// Listens, or tells where it could not, and by which settings.
async fn listen(host: IpAddr, port: u16, settings: &str) -> io::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).await.map_err(|error| io::Error::new(error.kind(), format!("{settings}: {address}: {error}")))
}

async fn listen_for_metrics(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    listen(host, port, "METRICS_PORT (--metrics-port) of METRICS_HOST (--metrics-host)").await
}

async fn accept_metrics(listener: TcpListener, metrics: Arc<Metrics>) {
    let (most, idle) = OF_METRICS;
    accept_into(&listener, &metrics.router(), &Terms::new(most, idle, 0, ConnectionMeter::default()), &GracefulShutdown::new()).await;
}

async fn accept_into(listener: &TcpListener, app: &Router, terms: &Terms, graceful: &GracefulShutdown) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and complete: waiting for more to send would only delay them.
                let _ = stream.set_nodelay(true);
                terms.connections.room().await;
                attend(stream, peer.ip(), app.clone(), terms, graceful);
            }
            // Out of file descriptors, or a client that went away at once: wait a moment, and go on.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                terms.connections.close_idle();
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Serves a connection to its end, in a task of its own.
fn attend<S: Stream>(stream: S, peer: IpAddr, app: Router, terms: &Terms, graceful: &GracefulShutdown) {
    let (phase, hops) = (Arc::new(Phase::new()), terms.trusted_hops);
    let slot = terms.connections.add(&phase);
    let number = slot.number();
    let socket = Socket::new(stream, Arc::clone(&phase), terms.patience, slot);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (mut app, phase) = (app.clone(), Arc::clone(&phase));
        let client = ClientAddress::of(peer, request.headers(), hops);
        request.extensions_mut().insert(client);
        let is_open = phase.serve();
        let work = app.call(request);
        async move {
            if !is_open {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed to make room"));
            }
            let Ok(response) = work.await;
            Ok(response.map(|body| LastWord::new(body, phase)))
        }
    });
    let connection = http1::Builder::new()
        // The socket has timers of its own.
        .header_read_timeout(None)
        // The first is exact, and the second is about how much is read at once.
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let connection = graceful.watch(connection);
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    });
    terms.connections.attend(number, task.abort_handle());
}

#[cfg(test)]
mod tests;
