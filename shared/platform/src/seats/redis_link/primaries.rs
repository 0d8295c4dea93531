//! Whether every primary takes writes, and whether any of them evicts keys.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, RedisResult, Value, cmd};

use super::{connections::Connections, opener::Socket};

/// Numbers of keys that are tried, one in each sixteenth of a cluster's slots: so every primary is
/// tried that has a sixteenth of them in one piece.
const PROBES: [u16; 16] = [45, 269, 38, 16, 44, 299, 305, 17, 47, 98, 306, 14, 46, 68, 239, 15];

/// The policy under which Redis evicts no key.
pub(super) const NO_EVICTION: &str = "noeviction";

/// Returns the call that tries a write: a script, as all of our writes are, and a key that is gone
/// after a second.
pub(super) fn write_probe(number: usize) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg("return redis.call('SET', KEYS[1], '', 'PX', 1000)").arg(1).arg(probe_key(number));
    call
}

fn probe_key(number: usize) -> String {
    format!("write-probe:{}", PROBES[number])
}

/// Tries a write on the server, or on the primaries of the cluster.
pub(super) async fn try_writes(connections: &Arc<Connections>) -> RedisResult<()> {
    let number = if connections.is_cluster() { PROBES.len() } else { 1 };
    let calls = (0..number).map(async |number| connections.send(&write_probe(number)).await);
    join_all(calls).await.into_iter().try_for_each(|answer| answer.map(|_| ()))
}

/// Returns the eviction policy that is in force: of a cluster, one that evicts if any does. `None`
/// if Redis does not tell.
pub(super) async fn eviction_policy(socket: &Socket) -> Option<String> {
    // Managed servers forbid CONFIG GET; INFO has it, too.
    let mut info = cmd("INFO");
    info.arg("memory");
    let answers = socket.request_each(info).await.ok()?;
    let policies: Vec<String> = answers.into_iter().filter_map(policy_in).collect();
    policies.iter().find(|policy| *policy != NO_EVICTION).or(policies.first()).cloned()
}

fn policy_in(answer: Value) -> Option<String> {
    let text: String = redis::from_redis_value(answer).ok()?;
    text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(|policy| policy.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn write_probes_are_spread_over_the_slots() {
        for number in 0..16 {
            let slot = Slot::for_key(probe_key(usize::from(number)));
            assert!((number * 1024..(number + 1) * 1024).any(|part| Slot::new(part) == Some(slot)), "{number}");
        }
    }

    #[test]
    fn eviction_policy_is_found_in_info() {
        let info = "# Memory\r\nused_memory:1\r\nmaxmemory_policy:allkeys-lru\r\nmem_clients_normal:0\r\n";
        assert_eq!(policy_in(Value::BulkString(info.into())).as_deref(), Some("allkeys-lru"));
        assert_eq!(policy_in(Value::BulkString(b"# Memory\r\n".into())), None);
        assert_eq!(policy_in(Value::Nil), None);
    }
}
