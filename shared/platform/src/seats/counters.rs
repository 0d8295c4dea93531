//! What the engine counts.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use crate::db::Database;

/// Counters of one engine, since it started.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Seats granted.
    pub granted: Counter,
    /// Applications turned away because every seat was taken.
    pub denied: Counter,
    /// Sessions released by their holders.
    pub released: Counter,
    /// Licenses rebuilt from the record.
    pub rebuilt: Counter,
    /// Zombies ended by the sweep.
    pub expired: Counter,
    /// 1 while Redis answered the last check.
    pub redis_up: Gauge,
    /// 1 while PostgreSQL answered the last check.
    pub database_up: Gauge,
}

impl Counters {
    /// Puts them on the metrics page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("coditect_seats_granted", "Seats granted", self.granted.clone());
        registry.register("coditect_seats_denied", "Applications turned away because every seat was taken", self.denied.clone());
        registry.register("coditect_seats_released", "Sessions released by their holders", self.released.clone());
        registry.register("coditect_seats_rebuilt", "Licenses rebuilt in Redis from the record", self.rebuilt.clone());
        registry.register("coditect_seats_expired", "Zombie sessions ended by the sweep", self.expired.clone());
        registry.register("coditect_redis_up", "1 if Redis answered the last readiness check", self.redis_up.clone());
        registry.register("coditect_database_up", "1 if PostgreSQL answered the last readiness check", self.database_up.clone());
    }
}

/// Reads the state of a connection pool when the page is asked for.
#[derive(Debug)]
pub(super) struct PoolCollector(Database);

impl PoolCollector {
    pub(super) const fn new(database: Database) -> Self {
        Self(database)
    }
}

impl Collector for PoolCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let state = self.0.pool_state();
        for (name, help, value) in [
            ("coditect_database_connections_open", "Connections to PostgreSQL that are open", state.open),
            ("coditect_database_connections_idle", "Connections to PostgreSQL that nobody uses", state.idle),
            ("coditect_database_connections_waiting", "Callers that wait for a connection to PostgreSQL", state.waiting),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
