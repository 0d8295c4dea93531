//! Panics that are caught, so that one piece of work does not take others with it.

use std::{any::Any, cell::RefCell, fmt, panic::AssertUnwindSafe};

use futures_util::FutureExt;

tokio::task_local! {
    static IS_CAUGHT: ();
}

thread_local! {
    /// Where the panic was that is just being caught.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught: what it says and, where panics are told to somebody, its place in the sources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Does the work, and catches its panic. Whoever calls this puts the panic into the log.
///
/// # Errors
/// [`Panicked`]: what the work has shared with others is as it was left.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let work = AssertUnwindSafe(IS_CAUGHT.scope((), work)).catch_unwind();
    work.await.map_err(|panic| {
        let place = PLACE.take().map(|place| format!(", at {place}")).unwrap_or_default();
        Panicked(format!("{}{place}", words(&*panic)))
    })
}

/// What a panic says.
pub(super) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of an unknown kind")
}

/// Whether [`caught`] catches the panic of what runs here.
pub(super) fn is_caught() -> bool {
    IS_CAUGHT.try_with(|()| ()).is_ok()
}

/// Tells [`caught`] where the panic was that it is about to catch.
pub(super) fn place(place: String) {
    // A thread that ends has none any more, and a hook must not panic.
    let _ = PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(place)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words_and_nothing_else_is() {
        assert_eq!(caught(async { 42 }).await, Ok(42));
        let number = 7;
        assert_eq!(caught(async { panic!("a bug") }).await, Err::<(), _>(Panicked("a bug".to_owned())));
        assert_eq!(caught(async { panic!("bug {number}") }).await.map_err(|panic| panic.to_string()), Err::<(), _>("bug 7".to_owned()));
        assert!(!is_caught());
        assert_eq!(caught(async { is_caught() }).await, Ok(true));
    }
}
