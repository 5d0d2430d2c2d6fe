//! Work of a model on several threads at once: two parts that load, or a step that every picture takes by itself.
//!
//! Results are in the order of the work, whatever the number of threads. Memory: the results.

use std::thread;

/// Calls both, the first on another thread, and returns when both are done. A panic of either goes on here.
pub(super) fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// Calls `work` for each item and returns the results in the order of the items. Each thread, of at most `threads`, gets
/// a run of consecutive items; this one takes the first. A panic goes on here.
pub(super) fn each_of<T: Send, R: Send>(items: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    let mut rest = items.into_iter();
    let mut shares = std::iter::from_fn(|| {
        let share: Vec<T> = rest.by_ref().take(share).collect();
        (!share.is_empty()).then_some(share)
    });
    let run = |share: Vec<T>| share.into_iter().map(&work).collect::<Vec<R>>();
    let first = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| scope.spawn(|| run(share))).collect();
        let mut results = run(first);
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        for count in [0, 1, 2, 7, 16] {
            let wanted: Vec<usize> = (0..count).map(|n| n * n).collect();
            for threads in [0, 1, 2, 3, 16, 100] {
                assert_eq!(each_of((0..count).collect(), threads, |n| n * n), wanted, "{count} on {threads}");
            }
        }
    }

    #[test]
    fn items_can_be_changed_where_they_are() {
        let mut values = [1, 2, 3];
        each_of(values.iter_mut().collect(), 2, |v| *v *= 10);
        assert_eq!(values, [10, 20, 30]);
    }

    #[test]
    #[should_panic(expected = "the third")]
    fn a_panic_goes_on() {
        each_of(vec![1, 2, 3], 3, |n| assert!(n < 3, "the third"));
    }
}
