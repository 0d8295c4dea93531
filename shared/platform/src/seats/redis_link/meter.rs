//! What is counted of the connections to Redis.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters of one process. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// Connections that were lost or did not answer.
    pub(super) replaced: Counter,
    /// 1 while Redis may evict keys.
    pub(super) evicts: Gauge,
}

impl Meter {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Connections to Redis that were replaced, because they were lost or did not answer";
        registry.register("coditect_redis_connections_replaced", help, self.replaced.clone());
        let help = "1 if Redis' maxmemory-policy is another than noeviction: it loses sessions when it is full";
        registry.register("coditect_redis_evicts", help, self.evicts.clone());
    }
}
