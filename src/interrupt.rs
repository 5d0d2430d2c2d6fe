//! The stop flag. The program sets it on Ctrl-C and SIGTERM; every stage that can block checks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// A shared flag: once set it stays set. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<InterruptState>);

#[derive(Debug, Default)]
struct InterruptState {
    is_set: AtomicBool,
    /// Threads inside [`Interrupt::endure`].
    enduring: AtomicUsize,
}

impl Interrupt {
    /// A flag that is not set.
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Asks everything that shares the flag to stop. Returns false where a thread [endures](Interrupt::endure) something and
    /// will not notice: nothing is lost if the process ends then.
    // Sequentially consistent, as in `endure`: one of the two threads must see what the other one wrote.
    pub fn set(&self) -> bool {
        self.0.is_set.store(true, Ordering::SeqCst);
        self.0.enduring.load(Ordering::SeqCst) == 0
    }

    /// Waits for something that no flag can end, such as a line on standard input. Only where nothing is lost if the process
    /// ends meanwhile.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where the flag was set before.
    pub fn endure<T>(&self, wait: impl FnOnce() -> T) -> Result<T> {
        self.0.enduring.fetch_add(1, Ordering::SeqCst);
        let result = if self.0.is_set.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(wait()) };
        self.0.enduring.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_endures_something_is_not_waited_for() {
        let interrupt = Interrupt::new();
        assert_eq!(interrupt.endure(|| 7).unwrap(), 7);
        let inside = interrupt.clone();
        assert!(!interrupt.endure(|| inside.set()).unwrap());
        assert!(interrupt.set() && interrupt.is_set());
        assert!(matches!(interrupt.endure(|| 7), Err(Error::Interrupted)));
    }
}
