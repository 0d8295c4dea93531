#![doc = include_str!("../README.md")]

mod command;
pub mod cron;
pub mod job;
pub mod jobs;
mod ledger;
pub mod meter;
pub mod order;
mod pace;
pub mod perform;
pub mod pubsub;
pub mod schedule;
mod settings;
pub mod worker;

pub use command::{migrate, run};
pub use settings::{JobSettings, RetentionSettings, ScheduleSettings};
