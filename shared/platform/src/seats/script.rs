//! How a script is called.

use std::sync::Arc;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, cmd};

use super::{Error, RedisLink, answer::Answer};
use crate::domain::{Clock, Timestamp, from_millis};

/// A script of ours, as a server knows it.
pub(super) struct Script {
    code: &'static str,
    script: redis::Script,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, script: redis::Script::new(code) }
    }
}

/// The pieces of a script, put together as one text.
macro_rules! lua {
    ($($piece:literal),+) => { concat!($(include_str!(concat!("lua/", $piece, ".lua"))),+) };
}
pub(super) use lua;

/// Calls scripts over one link, by one clock. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ScriptLink {
    link: RedisLink,
    /// Replaces Redis' clock; never in production.
    moved_time: Option<Arc<dyn Clock>>,
}

impl ScriptLink {
    pub(super) const fn new(link: RedisLink, moved_time: Option<Arc<dyn Clock>>) -> Self {
        Self { link, moved_time }
    }

    /// Whether all keys of one call must lie on one slot.
    pub(super) const fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        Ok(self.link.send(command).await?)
    }

    /// Begins a call with so many keys: these come next, then [`Self::time`], then what else the script takes.
    pub(super) fn begin(script: &Script, keys: usize, arguments: usize, bytes: usize) -> Cmd {
        let mut call = Cmd::with_capacity(keys + arguments + 4, bytes);
        call.arg("EVALSHA").arg(script.script.get_hash()).arg(keys);
        call
    }

    /// The first argument of every script.
    pub(super) fn time(&self, call: &mut Cmd) {
        match &self.moved_time {
            Some(clock) => call.arg(clock.now().timestamp_millis()),
            None => call.arg(""),
        };
    }

    /// Runs a script; where Redis does not know it (a fresh or restarted server), sends it along.
    pub(super) async fn run(&self, script: &Script, call: &Cmd) -> Result<Answer, Error> {
        let answer = match self.link.send(call).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.link.send(cmd("SCRIPT").arg("LOAD").arg(script.code)).await?;
                self.link.send(call).await?
            }
            answer => answer?,
        };
        Answer::of(answer)
    }

    /// Redis' time, by the clock that rules expiry.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        if let Some(clock) = &self.moved_time {
            return Ok(clock.now());
        }
        let (seconds, micros): (i64, i64) = redis::from_redis_value(self.link.send(&cmd("TIME")).await?).map_err(RedisError::from)?;
        Ok(from_millis(seconds * 1000 + micros / 1000))
    }
}
