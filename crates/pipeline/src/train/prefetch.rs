//! Work that is done ahead, by other threads, and handed out in order: memory holds two results of each thread.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

/// Hands `consume` a function that returns the results of `steps`, one after another; `worker` makes the function that
/// a thread calls for its own share of the steps. After the last one, and after a worker that has panicked, it returns
/// `None`.
pub fn ahead<T: Send, F: FnMut(u64) -> T, R>(
    threads: usize,
    steps: Range<u64>,
    worker: impl Fn() -> F + Sync,
    consume: impl FnOnce(&mut dyn FnMut() -> Option<T>) -> R,
) -> R {
    let threads = threads.max(1);
    std::thread::scope(|scope| {
        let start = |i: usize| -> Receiver<T> {
            let (sender, receiver) = sync_channel(1);
            let (mine, worker) = (steps.clone().skip(i).step_by(threads), &worker);
            scope.spawn(move || {
                let mut work = worker();
                for k in mine {
                    if sender.send(work(k)).is_err() {
                        break; // nobody waits any more
                    }
                }
            });
            receiver
        };
        let receivers: Vec<_> = (0..threads).map(start).collect();
        let mut turn = 0..;
        // The receivers end with this closure, so that the threads end too.
        consume(&mut || receivers[turn.next()? % threads].recv().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_not_far_ahead() {
        for threads in [1, 3] {
            let made = AtomicUsize::new(0);
            let worker = || {
                |k: u64| {
                    made.fetch_add(1, Ordering::SeqCst);
                    k * k
                }
            };
            let mut taken = 0;
            let found = ahead(threads, 5..105, worker, |next| {
                let mut all = Vec::new();
                while let Some(square) = next() {
                    taken += 1;
                    all.push(square);
                    let ahead = made.load(Ordering::SeqCst) - taken;
                    assert!(ahead <= 3 * threads, "{ahead}"); // one sent, one waiting, one being made
                }
                all
            });
            assert!(found.into_iter().eq((5..105).map(|k| k * k)));
        }
    }

    #[test]
    fn an_early_end_ends_the_threads() {
        let third = ahead(2, 0..u64::MAX, || |k| k, |next| (next(), next(), next()).2);
        assert_eq!(third, Some(2));
    }
}
