//! A server that answers as Cloud KMS does, or goes wrong as told.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rsa::KeyPair;
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream::{self, StreamExt};
use kms::{KmsRoot, KmsSettings};
use platform::signing::RootAlgorithm;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{answers, key::key};

/// The key version that the server has.
pub(crate) const KEY_VERSION: &str = "projects/coditect-test/locations/europe-west3/keyRings/licensing/cryptoKeys/root/cryptoKeyVersions/1";

/// What the server does with one request.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    /// What Cloud KMS does.
    Answers,
    /// Fails as Cloud KMS does.
    Fails(u16, &'static str),
    /// Fails as a proxy on the way does.
    Page(u16),
    /// Never answers.
    Hangs,
    /// Closes the connection in the midst of the answer.
    CutsOff,
    /// Changes the answer.
    Alters(fn(&mut Value)),
    /// Answers with something that is not JSON.
    Babbles,
    /// Signs another digest, and answers as if it were the one.
    SignsAnother,
}

/// What the server does with one request after another. The last turn is that of all further ones.
struct Script {
    turns: Vec<Turn>,
    seen: AtomicUsize,
}

impl Script {
    fn new(turns: &[Turn]) -> Self {
        Self { turns: turns.to_vec(), seen: AtomicUsize::new(0) }
    }

    fn next(&self) -> Turn {
        let turn = self.seen.fetch_add(1, Ordering::SeqCst);
        self.turns[turn.min(self.turns.len() - 1)]
    }
}

struct Stage {
    key: KeyPair,
    algorithm: RootAlgorithm,
    keys: Script,
    signatures: Script,
}

/// A running server.
pub(crate) struct Server {
    stage: Arc<Stage>,
    url: String,
}

impl Server {
    /// Starts one that plays these turns for the public key, and these for signatures.
    pub(crate) async fn start(algorithm: RootAlgorithm, keys: &[Turn], signatures: &[Turn]) -> Self {
        let stage = Arc::new(Stage { key: key(), algorithm, keys: Script::new(keys), signatures: Script::new(signatures) });
        let router = Router::new().route("/v1/{*path}", get(public_key).post(sign)).with_state(Arc::clone(&stage));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { stage, url }
    }

    /// One whose signatures are of interest.
    pub(crate) async fn signing(turns: &[Turn]) -> Self {
        Self::start(RootAlgorithm::Rs256, &[Turn::Answers], turns).await
    }

    /// One whose public key is of interest.
    pub(crate) async fn publishing(turns: &[Turn]) -> Self {
        Self::start(RootAlgorithm::Rs256, turns, &[Turn::Answers]).await
    }

    /// A signer that asks this server, with a deadline that no busy machine misses.
    pub(crate) fn root(&self) -> KmsRoot {
        self.root_within(Duration::from_secs(60))
    }

    /// A signer that asks this server.
    pub(crate) fn root_within(&self, deadline: Duration) -> KmsRoot {
        root_at(&self.url, deadline)
    }

    /// The server's key.
    pub(crate) fn key(&self) -> &KeyPair {
        &self.stage.key
    }

    /// How often the public key was asked for.
    pub(crate) fn keys_asked(&self) -> usize {
        self.stage.keys.seen.load(Ordering::SeqCst)
    }

    /// How often a signature was asked for.
    pub(crate) fn signatures_asked(&self) -> usize {
        self.stage.signatures.seen.load(Ordering::SeqCst)
    }
}

/// A signer that asks whoever listens there.
pub(crate) fn root_at(url: &str, deadline: Duration) -> KmsRoot {
    KmsRoot::new(&KmsSettings {
        kms_key_version: KEY_VERSION.parse().unwrap(),
        kms_endpoint: Some(url.parse().unwrap()),
        kms_deadline_ms: u64::try_from(deadline.as_millis()).unwrap(),
    })
}

async fn public_key(State(stage): State<Arc<Stage>>, Path(path): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let turn = stage.keys.next();
    if let Some(answer) = unlike_cloud_kms(path.strip_suffix("/publicKey"), query, &headers) {
        return answer;
    }
    play(turn, || answers::public_key(KEY_VERSION, &stage.key, stage.algorithm)).await
}

async fn sign(
    State(stage): State<Arc<Stage>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Json(question): Json<Value>,
) -> Response {
    let turn = stage.signatures.next();
    if let Some(answer) = unlike_cloud_kms(path.strip_suffix(":asymmetricSign"), query, &headers) {
        return answer;
    }
    let Some(mut asked) = answers::asked(&question) else {
        return fails(400, "INVALID_ARGUMENT");
    };
    if matches!(turn, Turn::SignsAnother) {
        asked.digest.reverse();
    }
    play(turn, || answers::signature(KEY_VERSION, &stage.key, stage.algorithm, &asked)).await
}

/// Why the question is not one that a client on this machine asks of this key version.
fn unlike_cloud_kms(name: Option<&str>, query: Option<String>, headers: &HeaderMap) -> Option<Response> {
    let numbers_for_enums = query.is_some_and(|query| query.contains("enum-encoding%3Dint"));
    if name != Some(KEY_VERSION) {
        Some(fails(404, "NOT_FOUND"))
    } else if headers.contains_key(header::AUTHORIZATION) || !numbers_for_enums {
        Some(fails(418, "FAILED_PRECONDITION"))
    } else {
        None
    }
}

async fn play(turn: Turn, answer: impl FnOnce() -> Value) -> Response {
    match turn {
        Turn::Answers | Turn::SignsAnother => Json(answer()).into_response(),
        Turn::Fails(code, status) => fails(code, status),
        Turn::Page(code) => (StatusCode::from_u16(code).unwrap(), "<html>no</html>").into_response(),
        Turn::Hangs => std::future::pending().await,
        Turn::CutsOff => cuts_off(&answer()),
        Turn::Alters(alter) => {
            let mut answer = answer();
            alter(&mut answer);
            Json(answer).into_response()
        }
        Turn::Babbles => "signature: yes".into_response(),
    }
}

fn fails(code: u16, status: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), Json(answers::status(code, status))).into_response()
}

/// Announces all of the answer, sends half of it, waits until that has left, and closes the connection.
fn cuts_off(answer: &Value) -> Response {
    let text = answer.to_string();
    let half = text.as_bytes()[..text.len() / 2].to_vec();
    let parts = stream::iter([Ok(half), Err(io::Error::other("cut off"))]).then(async |part| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        part
    });
    ([(header::CONTENT_LENGTH, text.len().to_string())], Body::from_stream(Box::pin(parts))).into_response()
}
