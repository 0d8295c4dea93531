//! Connections, with time that tests move: a virtual clock passes as soon as everybody waits for
//! it.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
    routing::{get, post},
};
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep},
};

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
/// Bytes of the long answer, in pieces.
const PIECES: usize = 64;
const PIECE: &[u8] = &[b'x'; 4096];

/// A server whose connections are this many at the most, and may be idle for a minute.
struct Server {
    terms: Terms,
    graceful: GracefulShutdown,
}

impl Server {
    fn new(most: usize) -> Self {
        Self { terms: Terms::new(most, 60, 0, ConnectionMeter::default()), graceful: GracefulShutdown::new() }
    }

    /// A connection, each direction of which holds so many bytes.
    async fn connect_over(&self, bytes: usize) -> DuplexStream {
        let (client, server) = duplex(bytes);
        self.terms.connections.room().await;
        attend(server, PEER, app(), &self.terms, &self.graceful);
        client
    }

    async fn connect(&self) -> DuplexStream {
        self.connect_over(256 * 1024).await
    }
}

fn app() -> Router {
    let long = || async { Body::from_stream(stream::iter((0..PIECES).map(|_| Ok::<_, Infallible>(Bytes::from_static(PIECE))))) };
    let token = |headers: HeaderMap| async move { headers.get("authorization").map_or(0, axum::http::HeaderValue::len).to_string() };
    Router::new()
        .route("/", get(async || "done"))
        .route("/long", get(long))
        .route("/slow", get(async || sleep(Duration::from_secs(30)).await))
        .route("/token", get(token))
        .route("/echo", post(async |body: Bytes| body))
}

/// What the server sends until it closes the connection, and after how many seconds.
async fn rest(client: &mut DuplexStream) -> (String, u64) {
    let begun = Instant::now();
    let mut text = Vec::new();
    // A reset is an end, too.
    let _ = timeout(HANG, client.read_to_end(&mut text)).await.expect("the connection is closed");
    (String::from_utf8(text).unwrap(), begun.elapsed().as_secs())
}

/// How long a test waits, by the virtual clock, before it fails instead of hanging.
const HANG: Duration = Duration::from_secs(3600);

/// One answer without a body of its own length: the head, and so many bytes.
async fn answer(client: &mut DuplexStream, body: usize) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(b"\r\n\r\n") {
            text.push(client.read_u8().await.unwrap());
        }
        let mut bytes = vec![0; body];
        client.read_exact(&mut bytes).await.unwrap();
        text.extend(bytes);
    };
    timeout(HANG, read).await.expect("the server answers");
    String::from_utf8(text).unwrap()
}

async fn ask(client: &mut DuplexStream) {
    client.write_all(GET).await.unwrap();
    assert!(answer(client, 4).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn request_head_in_drops_is_cut_off_after_ten_seconds() {
    let server = Server::new(10);
    let mut client = server.connect().await;
    ask(&mut client).await;
    sleep(Duration::from_secs(59)).await;
    let (mut from, mut to) = tokio::io::split(client);
    let drip = async {
        for byte in GET.iter().cycle() {
            if to.write_u8(*byte).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let begun = Instant::now();
    let mut text = String::new();
    tokio::select! {
        () = drip => panic!("it was read on"),
        read = from.read_to_string(&mut text) => { read.unwrap(); }
    }
    assert_eq!((begun.elapsed().as_secs(), text.lines().next()), (10, Some("HTTP/1.1 408 Request Timeout")));
}

#[tokio::test(start_paused = true)]
async fn new_connection_without_a_request_is_closed_after_ten_seconds() {
    let server = Server::new(10);
    assert_eq!(rest(&mut server.connect().await).await, (String::new(), 10));
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_kept_as_long_as_it_is_set_and_closed_then() {
    let server = Server::new(10);
    let mut client = server.connect().await;
    for _ in 0..5 {
        ask(&mut client).await;
        sleep(Duration::from_secs(59)).await;
    }
    ask(&mut client).await;
    assert_eq!(rest(&mut client).await, (String::new(), 60));
}

#[tokio::test(start_paused = true)]
async fn request_that_takes_long_is_not_cut_off_by_the_socket() {
    let server = Server::new(10);
    let mut client = server.connect().await;
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(answer(&mut client, 0).await.starts_with("HTTP/1.1 200"));
    ask(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn request_head_beyond_64_kib_is_a_431_that_its_sender_sees() {
    let server = Server::new(10);
    let head = |bytes: usize| format!("GET /token HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", "x".repeat(bytes));
    let mut client = server.connect().await;
    client.write_all(head(60_000).as_bytes()).await.unwrap();
    assert!(answer(&mut client, 5).await.ends_with("60000"));
    // In pieces, and in one piece.
    for (bytes, at_once) in [(66_000, 4096), (66_000, 256 * 1024), (2_000_000, 4096)] {
        let mut client = server.connect_over(at_once).await;
        client.write_all(head(bytes).as_bytes()).await.unwrap();
        let (text, _) = rest(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{bytes}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_not_taken_is_cut_off_after_ten_seconds() {
    let server = Server::new(1);
    let mut client = server.connect_over(1024).await;
    client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    // There is room for another connection as soon as this one is gone.
    server.terms.connections.room().await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(rest(&mut client).await.0.len() <= 1024);
}

#[tokio::test(start_paused = true)]
async fn answer_taken_in_drops_is_cut_off_and_one_taken_slowly_is_not() {
    let server = Server::new(10);
    for (bytes, is_whole) in [(64, false), (2048, true)] {
        let mut client = server.connect_over(1024).await;
        client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let (mut taken, mut buffer) = (0, vec![0; bytes]);
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            taken += read;
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(taken > PIECES * PIECE.len(), is_whole, "{bytes} at a time: {taken}");
    }
}

#[tokio::test(start_paused = true)]
async fn full_server_closes_the_connection_that_was_idle_longest() {
    let server = Server::new(3);
    let (mut busy, mut first, mut second) = (server.connect().await, server.connect().await, server.connect().await);
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    ask(&mut second).await;
    ask(&mut first).await;
    ask(&mut second).await;
    let begun = Instant::now();
    let mut third = server.connect().await;
    ask(&mut third).await;
    assert_eq!(rest(&mut first).await, (String::new(), 0));
    ask(&mut second).await;
    assert!(answer(&mut busy, 0).await.starts_with("HTTP/1.1 200"));
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn connections_on_which_nothing_comes_make_room_for_a_new_one() {
    let server = Server::new(2);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let begun = Instant::now();
    let mut new = server.connect().await;
    // They have a second to send something.
    assert_eq!(begun.elapsed().as_secs(), 1);
    ask(&mut new).await;
    assert_eq!(rest(&mut first).await, (String::new(), 0));
    ask(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn full_server_without_an_idle_connection_lets_a_new_one_wait() {
    let server = Server::new(1);
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let mut waiting = server.connect().await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert!(answer(&mut busy, 0).await.starts_with("HTTP/1.1 200"));
    ask(&mut waiting).await;
}

#[tokio::test(start_paused = true)]
async fn requests_in_one_packet_are_answered_in_order() {
    let server = Server::new(10);
    let mut client = server.connect().await;
    let echo = |text: &str| format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    client.write_all(format!("{}{}{}", echo("first"), echo("second"), echo("third")).as_bytes()).await.unwrap();
    for text in ["first", "second", "third"] {
        assert!(answer(&mut client, text.len()).await.ends_with(&format!("\r\n\r\n{text}")));
    }
}

#[tokio::test(start_paused = true)]
async fn body_announced_first_is_asked_for() {
    let server = Server::new(10);
    let mut client = server.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(answer(&mut client, 0).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    assert!(answer(&mut client, 4).await.ends_with("body"));
    // With trailers, which mean nothing to us.
    let chunked = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-trailer: y\r\n\r\n";
    client.write_all(chunked).await.unwrap();
    assert!(answer(&mut client, 4).await.ends_with("body"));
    ask(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_what_is_in_flight_and_closes_idle_connections() {
    let server = Server::new(10);
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    ask(&mut idle).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    let ((), text, (left, after)) = tokio::join!(server.graceful.shutdown(), answer(&mut busy, 0), rest(&mut idle));
    assert_eq!((left.as_str(), after), ("", 0));
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}
