//! The gate under every order of steps that matters: shuttle runs it with primitives of its own.

#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::block_on;
use shuttle::thread;

mod sync {
    pub(super) use shuttle::sync::Arc;
    pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    pub(super) struct Lock<T>(shuttle::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(super) fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
            action(&mut self.0.lock().unwrap())
        }
    }
}

#[path = "gate.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the same file once more"
)]
mod gate;

use gate::{Entry, Gate};
use sync::Arc;

/// More than these are not needed to find an order that breaks.
const ORDERS: usize = 4_000;

struct Seen {
    under_way: AtomicUsize,
    most: AtomicUsize,
    served: AtomicUsize,
}

fn work(seen: &Seen) {
    let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(now, Ordering::SeqCst);
    thread::yield_now();
    seen.under_way.fetch_sub(1, Ordering::SeqCst);
    seen.served.fetch_add(1, Ordering::SeqCst);
}

/// `workers` threads ask once; each other one of `leaving` leaves the queue instead of waiting.
fn scenario(limit: u32, places: u32, workers: usize, leaving: usize) {
    let gate = Arc::new(Gate::new(limit, places));
    let seen = Arc::new(Seen {
        under_way: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        served: AtomicUsize::new(0),
    });
    let refused = Arc::new(AtomicUsize::new(0));
    let left = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..workers)
        .map(|index| {
            let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
            let (refused, left) = (Arc::clone(&refused), Arc::clone(&left));
            thread::spawn(move || match gate.enter() {
                Ok(Entry::Now(permit)) => {
                    work(&seen);
                    drop(permit);
                }
                Ok(Entry::Later(queued)) if index < leaving => {
                    assert!(gate.waiting() <= places);
                    thread::yield_now();
                    drop(queued);
                    left.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Entry::Later(queued)) => {
                    // A lost wake-up is a deadlock, which shuttle reports.
                    let permit = block_on(queued);
                    work(&seen);
                    drop(permit);
                }
                Err(_) => {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|it| it.join().unwrap());
    let count = |it: &AtomicUsize| it.load(Ordering::SeqCst);
    assert!(count(&seen.most) <= limit as usize, "more than the limit");
    assert_eq!(
        count(&seen.served) + count(&refused) + count(&left),
        workers
    );
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0), "all given back");
}

#[test]
fn never_more_than_the_limit_no_wake_up_lost_the_queue_bounded() {
    shuttle::check_random(|| scenario(1, 3, 4, 0), ORDERS);
    shuttle::check_random(|| scenario(2, 1, 4, 0), ORDERS);
}

#[test]
fn nor_when_some_leave_the_queue() {
    shuttle::check_random(|| scenario(1, 3, 4, 2), ORDERS);
    shuttle::check_pct(|| scenario(1, 2, 4, 1), ORDERS, 3);
}
