//! A platform that does what a test tells it to: it signs with real keys, and lies, falls silent or breaks off on demand.

mod platform;
mod signer;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Response},
    routing::{get, post},
};
use coditect_license::{Builder, Client, RootKey};
use serde_json::{Value, json};
pub(crate) use testkit::eventually_is as wait_until;
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) use platform::{Answer, Platform, now, problem, seconds};
pub(crate) use signer::Signer;

pub(crate) const KEY: &str = "CODI-0123-4567-89AB-CDEF-GHJK-MNPQ-RS2E-D29K";

/// A change to an answer on its way.
pub(crate) type Change = Box<dyn FnOnce(&Platform, &mut Value) + Send>;

/// What happens to one request instead of what should.
pub(crate) enum Fault {
    /// It is carried out, but the connection breaks before the answer.
    LoseAnswer,
    /// It is carried out, and the answer takes a while.
    Slow(Duration),
    /// It is not carried out, but answered thus; with `Retry-After`.
    Say(Answer, Option<u64>),
    /// It is carried out, and the answer changed on the way.
    Change(Change),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    pub(crate) idempotency_key: String,
    pub(crate) at: Instant,
}

struct Scene {
    platform: Platform,
    faults: Vec<(&'static str, VecDeque<Fault>)>,
    calls: Vec<Call>,
    down: bool,
}

/// A running peer.
pub(crate) struct Peer {
    pub(crate) url: String,
    port: u16,
    scene: Arc<Mutex<Scene>>,
    server: JoinHandle<()>,
}

impl Peer {
    /// Starts one whose sessions live for so many seconds.
    pub(crate) async fn start(ttl: u64) -> Self {
        let platform = Platform::new(Duration::from_secs(ttl));
        let scene = Arc::new(Mutex::new(Scene { platform, faults: Vec::new(), calls: Vec::new(), down: false }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = serve(listener, Arc::clone(&scene));
        Self { url: format!("http://127.0.0.1:{port}"), port, scene, server }
    }

    /// One that asks for a heartbeat every second, of sessions that outlive whatever a slow machine does meanwhile.
    pub(crate) async fn beating() -> Self {
        Self::with_heartbeats(180).await
    }

    /// One that asks for a heartbeat every second, of sessions that end ten seconds after the last.
    pub(crate) async fn fleeting() -> Self {
        Self::with_heartbeats(10).await
    }

    async fn with_heartbeats(ttl: u64) -> Self {
        let peer = Self::start(ttl).await;
        peer.platform(|platform| platform.heartbeat_after = Some(1));
        peer
    }

    /// Refuses connections from now on, and breaks those there are.
    pub(crate) fn stop(&self) {
        self.scene().down = true;
        self.server.abort();
    }

    /// Is back, on the same port.
    pub(crate) async fn start_again(&mut self) {
        let _ = (&mut self.server).await;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.scene().down = false;
        self.server = serve(listener, Arc::clone(&self.scene));
    }

    /// Has the next requests of an operation go wrong, one after the other.
    pub(crate) fn fault(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.scene().faults.push((operation, faults.into_iter().collect()));
    }

    /// Has no more requests go wrong.
    pub(crate) fn no_more_faults(&self) {
        self.scene().faults.clear();
    }

    /// Changes the answer to the next request of an operation.
    pub(crate) fn change(&self, operation: &'static str, change: impl FnOnce(&Platform, &mut Value) + Send + 'static) {
        self.fault(operation, [Fault::Change(Box::new(change))]);
    }

    pub(crate) fn platform<T>(&self, act: impl FnOnce(&mut Platform) -> T) -> T {
        act(&mut self.scene().platform)
    }

    pub(crate) fn alive(&self) -> usize {
        self.platform(|platform| platform.alive())
    }

    /// Requests of one operation so far.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        self.scene().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    pub(crate) fn root(&self) -> String {
        self.platform(|platform| platform.root.jwk.to_string())
    }

    pub(crate) fn builder(&self) -> Builder {
        let root = RootKey::from_jwk(&self.root()).unwrap();
        let builder = Client::builder(&self.url, KEY).hardware_id("device-1").user_email("ada@example.com").root(root);
        builder.patience(Duration::from_secs(120)).request_timeout(Duration::from_secs(60))
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn serve(listener: TcpListener, scene: Arc<Mutex<Scene>>) -> JoinHandle<()> {
    let router = Router::new().route("/api/v1/licenses/{operation}", post(operation)).route("/api/v1/keys", get(keys)).with_state(scene);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

async fn operation(
    State(scene): State<Arc<Mutex<Scene>>>,
    Path(operation): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = headers.get("idempotency-key").map(|value| value.to_str().unwrap());
    let body = serde_json::from_slice(&body).unwrap();
    answer(&scene, Call { operation, body, idempotency_key: header.unwrap_or_default().to_owned(), at: Instant::now() }).await
}

async fn keys(State(scene): State<Arc<Mutex<Scene>>>, headers: HeaderMap) -> Response<Body> {
    let known = headers.get("if-none-match").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = json!({"if_none_match": known});
    answer(&scene, Call { operation: "keys".to_owned(), body, idempotency_key: String::new(), at: Instant::now() }).await
}

async fn answer(scene: &Mutex<Scene>, call: Call) -> Response<Body> {
    let (answer, replayed, fault) = carry_out(&mut scene.lock().unwrap_or_else(PoisonError::into_inner), &call);
    match fault {
        None | Some(Fault::Change(_)) => rendered(answer, None, replayed),
        Some(Fault::LoseAnswer) => break_off(),
        Some(Fault::Say(answer, retry_after)) => rendered(answer, retry_after, false),
        Some(Fault::Slow(pause)) => {
            tokio::time::sleep(pause).await;
            rendered(answer, None, replayed)
        }
    }
}

fn carry_out(scene: &mut Scene, call: &Call) -> (Answer, bool, Option<Fault>) {
    scene.calls.push(call.clone());
    if scene.down {
        return ((503, json!({})), false, Some(Fault::LoseAnswer));
    }
    let mut fault =
        scene.faults.iter_mut().filter(|(operation, _)| *operation == call.operation).find_map(|(_, faults)| faults.pop_front());
    if matches!(fault, Some(Fault::Say(..))) {
        return ((0, json!({})), false, fault);
    }
    let platform = &mut scene.platform;
    if platform.is_release_down && call.operation == "release" {
        return ((503, json!({})), false, Some(Fault::LoseAnswer));
    }
    let (mut answer, replayed) = match &*call.operation {
        "acquire" => platform.acquire(&call.body, &call.idempotency_key),
        "heartbeat" => (platform.heartbeat(&call.body), false),
        "release" => (platform.release(&call.body), false),
        "keys" => (platform.keys(), false),
        other => panic!("no operation is called {other}"),
    };
    if call.operation == "keys" && call.body["if_none_match"] == etag(&answer.1) {
        answer = (304, json!({}));
    }
    fault = match fault {
        Some(Fault::Change(change)) => {
            change(platform, &mut answer.1);
            None
        }
        other => other,
    };
    (answer, replayed, fault)
}

/// Ends the connection's task, and with it the connection.
fn break_off() -> Response<Body> {
    std::panic::resume_unwind(Box::new("the answer is lost"))
}

fn rendered((status, body): Answer, retry_after: Option<u64>, replayed: bool) -> Response<Body> {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let mut response = Response::builder().status(status).header("content-type", kind).header("etag", etag(&body));
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    if replayed {
        response = response.header("idempotent-replayed", "true");
    }
    let body = if body.is_string() { body.as_str().unwrap().to_owned() } else { body.to_string() };
    response.body(if status == 304 { Body::empty() } else { body.into() }).unwrap()
}

fn etag(body: &Value) -> String {
    format!("\"{}\"", signer::base64url(&signer::sha256(&body.to_string())))
}
