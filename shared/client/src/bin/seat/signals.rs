//! Signals that this process passes on.

use std::fs::File;

use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::report::Failure;

/// What is passed on. The rest is either not for catching or no business of the program's.
const PASSED_ON: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// The signals that come from now on; they no longer end this process.
pub(crate) fn caught() -> Result<mpsc::Receiver<Signal>, Failure> {
    let (sender, receiver) = mpsc::channel(16);
    for (kind, number) in PASSED_ON {
        let mut signals = signal(kind).map_err(|error| Failure::setup(format!("signals cannot be caught: {error}")))?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(number).await.is_ok() {} });
    }
    Ok(receiver)
}

/// Sends a signal to a child that has not been waited for yet, so that its number is still its own.
pub(crate) fn send(child: Option<u32>, signal: Signal) {
    if let Some(pid) = child.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended this moment: then there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

/// Whether a signal came from the keyboard, as far as can be told: the terminal has then sent it to the program itself, and a second one
/// would look like impatience.
pub(crate) fn is_from_keyboard(signal: Signal) -> bool {
    let in_foreground = || File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()));
    matches!(signal, Signal::INT | Signal::QUIT) && in_foreground()
}
