//! The HTTP shell that every function shares: strict bodies in, answers and problem documents out, deadlines, metrics,
//! health, and a graceful end.

mod authenticator;
mod body;
mod browsers;
mod client_address;
mod command_line;
mod conflict;
mod connection;
mod connections;
mod contradictions;
mod edge;
mod fields;
mod json;
mod limits;
mod log;
mod metrics;
mod negotiation;
mod openapi;
mod outgoing;
mod panics;
mod parts;
mod problem;
mod readiness;
mod repeats;
mod sentry;
mod serve;
mod server;
mod settings;
mod spans;
mod telemetry;
mod trace;

pub use authenticator::{Algorithm, AuthenticationSettings, Authenticator, InvalidIssuers, InvalidKeys, Issuer, Issuers};
pub use body::{JsonObject, MaybeJsonObject};
pub use browsers::Origins;
pub use client_address::ClientAddress;
pub use command_line::command_line;
pub use conflict::Conflict;
pub use edge::{REQUEST_ID, shell};
pub use fields::{Change, Fields, Member, text, texts, truth, whole};
pub use json::{JsonAnswer, json};
pub use limits::{Checked, limited_as_public};
pub use log::print_error;
pub use metrics::Metrics;
pub use negotiation::preferred;
pub use openapi::{Problem, describe};
pub use outgoing::InvalidOutgoingUrl;
pub use panics::{Panicked, caught};
pub use parts::{
    AcquireParts, AcquireSettings, Parts, Public, PublicSettings, SeatSettings, SignedSeatSettings, SignedSeats, ValidateParts,
    ValidateSettings,
};
pub use problem::{ApiError, Denial, FieldFault, none_may};
pub use sentry::InvalidDsn;
pub use serve::{block_on, reported, run, serve, start_reporting};
pub use server::serve_metrics;
pub use settings::HttpSettings;
pub use spans::record_run;
pub use telemetry::{TelemetrySettings, init as start_logging};
pub use trace::TraceContext;
