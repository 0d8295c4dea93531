#![doc = include_str!("../README.md")]

mod command;
pub mod job;
pub mod jobs;
mod ledger;
pub mod order;
pub mod perform;
mod root;
pub mod schedule;
mod settings;

pub use command::run;
pub use root::RootSettings;
pub use settings::{JobSettings, ScheduleSettings};
