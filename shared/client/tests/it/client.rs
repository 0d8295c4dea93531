//! The client against a platform that does what the test tells it to.

mod acquiring;
mod keeping;
mod offline;
mod sharing;
mod trust;

use coditect_license::SeatStatus;
use testkit::must_complete;
use tokio::sync::watch;

/// The status once it is as wanted.
async fn status(status: &mut watch::Receiver<SeatStatus>, wanted: impl FnMut(&SeatStatus) -> bool) -> SeatStatus {
    must_complete("the status", status.wait_for(wanted)).await.expect("before the seat is gone").clone()
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
