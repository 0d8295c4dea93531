//! Whether PostgreSQL can be used, said in the log when it changes and not by every caller who finds it so.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Error, Role};
use crate::domain::UnreadyReason;

/// For how long a write that was refused because the server is full counts as the server's state: what asks it whether it works writes
/// nothing that needs room.
const FULL_FOR: Duration = Duration::from_secs(5);

/// The state of PostgreSQL as one pool sees it.
#[derive(Debug)]
pub(super) struct Health {
    role: Role,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down: Option<UnreadyReason>,
    full_at: Option<Instant>,
}

impl Health {
    pub(super) fn new(role: Role) -> Self {
        Self { role, state: Mutex::default() }
    }

    /// A connection could not be opened, or was refused what everybody needs.
    pub(super) fn fails(&self, reason: UnreadyReason, words: &str) {
        self.set(Some(reason), words);
    }

    /// A connection was opened.
    pub(super) fn works(&self) {
        if !self.is_full() {
            self.set(None, "");
        }
    }

    /// Looks at what a statement has met.
    pub(super) fn meets(&self, error: &Error) {
        if let Error::Query(_) = error
            && let Some(reason @ (UnreadyReason::Full | UnreadyReason::ReadOnly)) = error.reason()
        {
            if reason == UnreadyReason::Full {
                self.lock().full_at = Some(Instant::now());
            }
            self.fails(reason, &error.to_string());
        }
    }

    /// Whether a statement was refused a moment ago because the server is full.
    pub(super) fn is_full(&self) -> bool {
        self.lock().full_at.is_some_and(|at| at.elapsed() < FULL_FOR)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, down: Option<UnreadyReason>, words: &str) {
        let before = std::mem::replace(&mut self.lock().down, down);
        let role = self.role.name();
        if before == down {
            return;
        }
        match down {
            None => tracing::info!(role, "PostgreSQL can be used again"),
            Some(reason) => tracing::warn!(role, reason = reason.as_str(), error = words, "PostgreSQL cannot be used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn outage_is_logged_once_for_each_change() {
        let written = Written::default();
        let log = written.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let health = Health::new(Role::Functions);
            health.works();
            for _ in 0..100 {
                health.fails(UnreadyReason::WrongPassword, "password authentication failed (SQLSTATE 28P01)");
            }
            health.fails(UnreadyReason::Refused, "connection refused");
            for _ in 0..100 {
                health.works();
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("wrong_password") && lines[0].contains("SQLSTATE 28P01"), "{text}");
        assert!(lines[1].contains("refused") && lines[2].contains("can be used again"), "{text}");
    }
}
