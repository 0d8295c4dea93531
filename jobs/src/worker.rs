//! `jobs worker`: does what messages ask for, and acknowledges each when it is done.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use apalis_core::worker::{builder::WorkerBuilder, context::WorkerContext};
use google_cloud_pubsub::model::Message;
use platform::{
    domain::{from_millis, rfc3339},
    web::TraceContext,
};
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};
use tower::limit::ConcurrencyLimitLayer;

use crate::{
    job::{Context, Failure, Job},
    order::Order,
    perform::perform,
    pubsub::{Delivery, PubSub, PubSubSettings},
};

/// How long what runs may go on once the end has begun: whoever sent SIGTERM waits for ten seconds.
const LAST: Duration = Duration::from_secs(7);
/// How long acknowledgements may take to leave after that.
const FLUSH: Duration = Duration::from_secs(1);
/// How long a failed message is kept before it goes back: a subscription without a backoff would send it at once, and again.
const PAUSE: Duration = Duration::from_secs(1);
/// So many messages that can never be done are remembered, so that each is logged once.
const REMEMBERED: usize = 1000;

/// Does what messages ask for.
#[derive(Debug)]
pub struct Worker {
    context: Context,
    jobs: &'static [&'static Job],
    poison: Mutex<VecDeque<String>>,
}

impl Worker {
    /// A worker that knows these jobs.
    #[must_use]
    pub const fn new(context: Context, jobs: &'static [&'static Job]) -> Self {
        Self { context, jobs, poison: Mutex::new(VecDeque::new()) }
    }

    /// Works until `stop`: then nothing new is taken, and what runs is finished or, after seven seconds, given up and sent back.
    ///
    /// # Errors
    /// If it ends by itself, because the subscription cannot be read for good.
    pub async fn run(self, settings: &PubSubSettings, stop: impl Future<Output = ()>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let messages = PubSub::subscribe(settings).await?;
        let (token, apalis, worker) = (messages.shutdown_token(), WorkerContext::new("jobs"), Arc::new(self));
        let tasks = WorkerBuilder::new(apalis.clone())
            .backend(messages)
            .layer(ConcurrencyLimitLayer::new(settings.jobs_concurrency.into()))
            .build(move |delivery: Delivery| {
                let worker = Arc::clone(&worker);
                async move { trace_of(&delivery.message).scope(worker.attend(delivery)).await }
            });
        let mut running = Box::pin(tasks.run());
        tokio::select! {
            biased;
            ended = &mut running => return Err(ended.map_or_else(Into::into, |()| "the subscription has ended".into())),
            () = stop => {}
        }
        tracing::info!("finishing what runs");
        apalis.stop()?;
        let drained = timeout(LAST, &mut running).await;
        // What still runs is dropped, and its messages go back.
        drop(running);
        let flushed = timeout(FLUSH, token.shutdown()).await;
        if drained.is_err() || flushed.is_err() {
            tracing::warn!("some jobs were given up; their messages come again");
        }
        Ok(drained.unwrap_or(Ok(()))?)
    }

    async fn attend(&self, Delivery { message, handler }: Delivery) -> Result<(), Failure> {
        let done = match self.read(&message) {
            Ok((job, key, args)) => perform(&self.context, job, Some(&key), args).await,
            Err(why) => Err(Failure::GiveUp(why)),
        };
        let Err(failure) = done else {
            handler.ack();
            return Ok(());
        };
        if let Failure::GiveUp(why) = &failure
            && self.is_new(&message.message_id)
        {
            self.context.meter.poison();
            tracing::error!(message = message.message_id, why, "a message can never be done: it is left to become a dead letter");
        }
        sleep(PAUSE).await;
        handler.nack();
        Err(failure)
    }

    /// The job that a message asks for, and for which key: its own, or the time when the run that it was published for was due. So a
    /// schedule that is published twice is done once.
    fn read(&self, message: &Message) -> Result<(&'static Job, String, Map<String, Value>), String> {
        let order = Order::read(&message.data)?;
        let job = self.jobs.iter().find(|job| job.name == order.job).ok_or("there is no such job")?;
        let published = message.publish_time.map_or_else(|| self.context.clock.now(), |time| from_millis(time.seconds() * 1000));
        let key = order.key.unwrap_or_else(|| rfc3339(job.schedule.slot(published)));
        Ok((job, key, order.args))
    }

    fn is_new(&self, message: &str) -> bool {
        let mut poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        if poison.iter().any(|known| known == message) {
            return false;
        }
        if poison.len() == REMEMBERED {
            poison.pop_front();
        }
        poison.push_back(message.to_owned());
        true
    }
}

/// The trace that whoever published the message worked on: Google's clients have a name of their own for the attribute.
fn trace_of(message: &Message) -> TraceContext {
    let attribute = |name| message.attributes.get(name).map(String::as_str);
    TraceContext::continuing(attribute("googclient_traceparent").or_else(|| attribute("traceparent")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_the_trace_of_its_publisher() {
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for name in ["googclient_traceparent", "traceparent"] {
            let trace = trace_of(&Message::new().set_attributes([(name, theirs)]));
            assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        }
        assert_ne!(trace_of(&Message::new()).trace_id(), trace_of(&Message::new()).trace_id());
    }
}
