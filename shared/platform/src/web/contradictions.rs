//! Settings that make no sense together. What one setting alone must be is said where it is declared.

use std::net::IpAddr;

use clap::{Arg, ArgMatches, Command};

/// Times, in one unit, that must stand in an order.
struct Order {
    /// These, taken together,
    shorter: &'static [&'static str],
    /// must be less than this one, or no more.
    longer: &'static str,
    may_be_equal: bool,
    why: &'static str,
}

const ORDERS: [Order; 3] = [
    Order {
        shorter: &["DATABASE_TIMEOUT_MS", "REDIS_TIMEOUT_MS"],
        longer: "REQUEST_TIMEOUT_MS",
        may_be_equal: false,
        why: "a request that waits for both must be answered before its own time is over",
    },
    Order {
        shorter: &["REQUEST_TIMEOUT_MS"],
        longer: "SHUTDOWN_GRACE_MS",
        may_be_equal: true,
        why: "a request that has begun before SIGTERM must be answered before the process ends",
    },
    Order {
        shorter: &["LEAF_PUBLISHED_AHEAD"],
        longer: "LEAF_SIGNS_FOR",
        may_be_equal: false,
        why: "a leaf key must be published while the one before it still signs",
    },
];

/// Says what the settings of this command contradict each other in.
pub(super) fn of(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let settings = Settings { command, matches };
    ORDERS.iter().filter_map(|order| settings.breaks(order)).chain(settings.one_port()).collect()
}

struct Settings<'a> {
    command: &'a Command,
    matches: &'a ArgMatches,
}

impl Settings<'_> {
    /// The value of a setting with this variable, if the command has it.
    fn value(&self, variable: &str) -> Option<(&Arg, &str)> {
        let arg = self.command.get_arguments().find(|arg| arg.get_env().is_some_and(|name| name == variable))?;
        let value = self.matches.get_raw(arg.get_id().as_str())?.next()?.to_str()?;
        Some((arg, value))
    }

    fn breaks(&self, order: &Order) -> Option<String> {
        let shorter = order.shorter.iter().map(|name| self.value(name)).collect::<Option<Vec<_>>>()?;
        let (longer, limit) = self.value(order.longer)?;
        let sum = shorter.iter().map(|(_, value)| value.parse::<u64>().ok()).sum::<Option<u64>>()?;
        let limit: u64 = limit.parse().ok()?;
        if sum < limit || order.may_be_equal && sum == limit {
            return None;
        }
        let told: Vec<String> = shorter.iter().map(|(arg, value)| format!("{arg} of {value}")).collect();
        let (together, bound) = (if told.len() > 1 { " together" } else { "" }, if order.may_be_equal { "at most" } else { "less than" });
        Some(format!("{} must{together} be {bound} {longer} of {limit}: {}", told.join(" and "), order.why))
    }

    /// The metrics page needs a port of its own.
    fn one_port(&self) -> Option<String> {
        let ((arg, port), (of_metrics, metrics_port)) = (self.value("PORT")?, self.value("METRICS_PORT")?);
        let address = |variable| self.value(variable)?.1.parse::<IpAddr>().ok();
        let (host, metrics_host) = (address("HOST")?, address("METRICS_HOST")?);
        let is_shared = host == metrics_host || host.is_unspecified() || metrics_host.is_unspecified();
        let port: u16 = port.parse().ok()?;
        (port != 0 && metrics_port.parse() == Ok(port) && is_shared)
            .then(|| format!("{arg} and {of_metrics} are both {port}: the metrics page needs a port of its own"))
    }
}
