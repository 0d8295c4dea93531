//! The server: HTTP/1.1 with limits, and a graceful end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tower::ServiceExt;

use super::{ClientAddress, HttpSettings, Metrics, shell};
use crate::seats::Limiter;

/// How long a client may take over the head of a request, the time before it on an idle connection included.
const HEAD: Duration = Duration::from_secs(60);
/// How much of a request's head is read: a token of a megabyte gets the same answer as any other that is not good.
const HEAD_BYTES: usize = 1_200 * 1024;
/// How long what is in flight may take once the end has begun: whoever sent SIGTERM waits for ten seconds.
const LAST: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
pub(super) async fn run<F, R>(routes: Router, http: &HttpSettings, metrics: Arc<Metrics>, limiter: Arc<Limiter>, ready: F) -> io::Result<()>
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Vec<&'static str>> + Send + 'static,
{
    let listener = listen(http.host, http.port).await?;
    let pages = listen(http.metrics_host, http.metrics_port).await?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(listening = %listener.local_addr()?, metrics = %pages.local_addr()?, "ready to serve");

    let app = shell(routes, http, Arc::clone(&metrics), limiter, ready);
    let metrics = accept(pages, metrics.router(), GracefulShutdown::new());
    tokio::spawn(metrics);
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept_into(&listener, &app, http.trusted_proxy_hops, &graceful) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(listener);
    tracing::info!("finishing what is in flight");
    if timeout(LAST, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    Ok(())
}

/// Serves the metrics page alone, in the background, for a process that serves nothing else; answers where.
///
/// # Errors
/// If the port cannot be had.
pub async fn serve_metrics(host: IpAddr, port: u16, metrics: Arc<Metrics>) -> io::Result<SocketAddr> {
    let pages = listen(host, port).await?;
    let address = pages.local_addr()?;
    tokio::spawn(accept(pages, metrics.router(), GracefulShutdown::new()));
    Ok(address)
}

/// Listens, or tells where it could not.
async fn listen(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).await.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

async fn accept(listener: TcpListener, app: Router, graceful: GracefulShutdown) {
    accept_into(&listener, &app, 0, &graceful).await;
}

async fn accept_into(listener: &TcpListener, app: &Router, trusted_hops: u8, graceful: &GracefulShutdown) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => attend(stream, app.clone(), trusted_hops, graceful),
            // Out of file descriptors, or a client that went away at once: wait a moment, and go on.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn attend(stream: TcpStream, app: Router, trusted_hops: u8, graceful: &GracefulShutdown) {
    // Answers are small and complete: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let peer: Option<SocketAddr> = stream.peer_addr().ok();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let app = app.map_request(move |mut request: Request<Incoming>| {
        let client = ClientAddress::of(address, request.headers(), trusted_hops);
        request.extensions_mut().insert(client);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(?peer, %error, "a connection broke");
        }
    });
}
