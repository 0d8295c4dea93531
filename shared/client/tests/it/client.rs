//! The client against a platform that does what the test tells it to.

mod acquiring;
mod keeping;
mod offline;
mod sharing;
mod trust;

use std::time::Duration;

use coditect_license::SeatStatus;
use tokio::sync::watch;

/// The status once it is as wanted.
async fn status(status: &mut watch::Receiver<SeatStatus>, wanted: impl FnMut(&SeatStatus) -> bool) -> SeatStatus {
    let found = tokio::time::timeout(Duration::from_secs(10), status.wait_for(wanted)).await;
    found.expect("within ten seconds").expect("before the seat is gone").clone()
}

fn is_held(status: &SeatStatus) -> bool {
    matches!(status, SeatStatus::Held { .. })
}

fn is_in_danger(status: &SeatStatus) -> bool {
    matches!(status, SeatStatus::InDanger { .. })
}

fn is_lost(status: &SeatStatus) -> bool {
    matches!(status, SeatStatus::Lost { .. })
}
