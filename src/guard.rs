//! Runs code of other crates on input that may be broken: a panic becomes a value, and prints nothing.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// How many guards this thread is inside.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A guarded call panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls `act`, and returns [`Panicked`] if it panics. The panic's message and backtrace are not printed: they would name
/// lines of a crate, and help nobody whose file is broken. Panics elsewhere are reported as before.
///
/// The caller must not use what `act` may have left half changed. A thread that `act` starts is not guarded.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Panicked> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The thread's own values may be gone while it ends.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                before(info);
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(act));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_values() {
        assert_eq!(guarded(|| 1), Ok(1));
        let nested = guarded(|| {
            assert_eq!(guarded(|| panic!("not printed")), Err::<(), _>(Panicked));
            panic!("not printed either")
        });
        assert_eq!(nested, Err::<(), _>(Panicked));
        assert_eq!(DEPTH.get(), 0);
    }
}
