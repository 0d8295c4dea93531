//! Pub/Sub as a queue: each message of a subscription is a task of apalis, which holds the message until it is acknowledged.
//!
//! Google's client extends a message's lease for as long as the task holds it. One that is dropped, by a failure, a panic or the end of
//! the process, goes back, and the subscription's own policies say when it comes again and when it is a dead letter.

use std::{
    error::Error as StdError,
    fmt,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::Task,
    worker::context::WorkerContext,
};
use clap::Args;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, unfold},
};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    Error,
    client::Subscriber,
    model::Message,
    subscriber::{MessageStream, ShutdownBehavior, ShutdownToken, handler::Handler},
};

/// How long a message stays with a worker that is not heard of any more. Google's client renews it every few seconds.
const LEASE: Duration = Duration::from_secs(10);
/// For how long a message's lease is extended at the most: longer than any job's deadline.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// Where messages come from.
#[derive(Args, Clone, Debug)]
pub struct PubSubSettings {
    /// Subscription, as projects/…/subscriptions/…
    #[arg(long, env = "PUBSUB_SUBSCRIPTION", value_parser = subscription)]
    pub pubsub_subscription: String,
    /// An emulator, as host:port, in the place of Google's own
    #[arg(long, env = "PUBSUB_EMULATOR_HOST")]
    pub pubsub_emulator_host: Option<String>,
    /// Messages that are worked on at a time
    #[arg(long, env = "JOBS_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs_concurrency: u16,
}

fn subscription(name: &str) -> Result<String, &'static str> {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "subscriptions", subscription] if !project.is_empty() && !subscription.is_empty() => Ok(name.to_owned()),
        _ => Err("a subscription is named projects/…/subscriptions/…"),
    }
}

/// A message, and what acknowledges it; dropped without that, it is sent back.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// What acknowledges it.
    pub handler: Handler,
}

/// The subscription's messages.
pub struct PubSub {
    messages: BoxStream<'static, Result<Delivery, Error>>,
    token: ShutdownToken,
    closing: BoxFuture<'static, ()>,
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PubSub")
    }
}

impl PubSub {
    /// The messages of a subscription; connects when it is first asked for one.
    ///
    /// # Errors
    /// If the settings, or the credentials of this machine, make no sense.
    pub async fn subscribe(settings: &PubSubSettings) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        let mut builder = Subscriber::builder();
        if let Some(host) = &settings.pubsub_emulator_host {
            builder = builder.with_endpoint(format!("http://{host}")).with_credentials(anonymous::Builder::new().build());
        }
        let stream = builder
            .build()
            .await?
            .subscribe(&settings.pubsub_subscription)
            .set_max_lease_extension(LEASE)
            .set_max_lease(LONGEST)
            .set_max_outstanding_messages(settings.jobs_concurrency)
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately)
            .build();
        let token = stream.shutdown_token();
        let closing = token.clone();
        let next = async |mut stream: MessageStream| {
            let next = stream.next().await?;
            Some((next.map(|(message, handler)| Delivery { message, handler }), stream))
        };
        Ok(Self { messages: unfold(stream, next).boxed(), token, closing: async move { closing.shutdown().await }.boxed() })
    }

    /// What sends back all messages that are still here, and waits until acknowledgements have left.
    #[must_use]
    pub fn shutdown_token(&self) -> ShutdownToken {
        self.token.clone()
    }
}

impl Backend for PubSub {
    type Task = Task<Delivery>;
    type Error = Error;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut TaskContext<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Error>>> {
        self.messages.poll_next_unpin(cx).map(|next| next.map(|delivery| delivery.map(Task::new)))
    }

    fn poll_close(&mut self, cx: &mut TaskContext<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        self.closing.poll_unpin(cx).map(Ok)
    }
}

impl BackendConfig for PubSub {
    type Args = Delivery;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_its_full_name() {
        assert!(subscription("projects/p/subscriptions/s").is_ok());
        for wrong in
            ["", "s", "projects/p/topics/s", "projects//subscriptions/s", "projects/p/subscriptions/", "projects/p/subscriptions/s/x"]
        {
            assert!(subscription(wrong).is_err(), "{wrong}");
        }
    }
}
