//! Google's in-memory Pub/Sub, and a way to it that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jobs::pubsub::PubSubSettings;
use serde_json::Value;
use testkit::eventually;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::sleep,
};
use uuid::Uuid;

/// A topic and a subscription of the test's own.
#[derive(Debug)]
pub(crate) struct Queue {
    url: String,
    http: reqwest::Client,
    pub(crate) subscription: String,
    pub(crate) host: String,
}

/// A message as the server sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) deliveries: u64,
    pub(crate) acks: u64,
}

impl Queue {
    pub(crate) async fn new() -> Self {
        let set = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: ./scripts/test starts Pub/Sub and sets it"));
        let (name, http) = (format!("t{}", Uuid::new_v4().simple()), reqwest::Client::new());
        let url = format!("{}/{name}", set("PUBSUB_CONTROL_URL"));
        let made = http.put(&url).send().await.expect("Pub/Sub can be reached");
        assert!(made.status().is_success(), "{made:?}");
        Self { url, http, subscription: format!("projects/test/subscriptions/{name}"), host: set("PUBSUB_EMULATOR_HOST") }
    }

    pub(crate) fn settings(&self) -> PubSubSettings {
        PubSubSettings {
            pubsub_subscription: self.subscription.clone(),
            pubsub_emulator_host: Some(self.host.clone()),
            jobs_concurrency: 8,
        }
    }

    pub(crate) async fn publish(&self, body: impl Into<String>) {
        let sent = self.http.post(&self.url).body(body.into()).send().await.expect("Pub/Sub can be reached");
        assert!(sent.status().is_success(), "{sent:?}");
    }

    /// The same, as a part of a trace.
    pub(crate) async fn publish_in(&self, traceparent: &str, body: &'static str) {
        let sent = self.http.post(&self.url).header("traceparent", traceparent).body(body).send().await.expect("Pub/Sub can be reached");
        assert!(sent.status().is_success(), "{sent:?}");
    }

    /// Every message that was published, in order.
    pub(crate) async fn seen(&self) -> Vec<Seen> {
        let answer = self.http.get(&self.url).send().await.expect("Pub/Sub can be reached").text().await.expect("it answers");
        let answer: Value = serde_json::from_str(&answer).expect("in JSON");
        let count = |message: &Value, name: &str| message[name].as_u64().expect("a number");
        let messages = answer.as_array().expect("a list").iter();
        messages.map(|message| Seen { deliveries: count(message, "Deliveries"), acks: count(message, "Acks") }).collect()
    }

    /// Waits until the messages are as they should be.
    pub(crate) async fn until(&self, mut so: impl FnMut(&[Seen]) -> bool) {
        eventually("the messages are as they should be", async || so(&self.seen().await)).await;
    }
}

/// Stands between a worker and Pub/Sub.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let (address, is_cut) = (listener.local_addr().expect("it has an address"), Arc::new(AtomicBool::new(false)));
        let cut = Arc::clone(&is_cut);
        let refused = Arc::new(AtomicUsize::new(0));
        let refusals = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (target, cut, refusals) = (target.clone(), Arc::clone(&cut), Arc::clone(&refusals));
                tokio::spawn(async move {
                    if cut.load(Ordering::SeqCst) {
                        refusals.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let Ok(mut to) = TcpStream::connect(&target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        () = until_cut(&cut) => {}
                    }
                });
            }
        });
        Self { address, is_cut, refused }
    }

    /// Waits until a connection has been tried in vain.
    pub(crate) async fn refuses(&self) {
        let before = self.refused.load(Ordering::SeqCst);
        eventually("a connection is tried", async || self.refused.load(Ordering::SeqCst) > before).await;
    }

    /// Breaks every connection, and each that is tried until it is mended.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

async fn until_cut(cut: &AtomicBool) {
    while !cut.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(10)).await;
    }
}
