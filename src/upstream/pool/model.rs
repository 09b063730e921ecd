//! The shelf under many orders of steps: shuttle runs it with a lock of its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::sync::Arc;
use shuttle::thread;

mod sync {
    #[derive(Debug)]
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

#[path = "shelf.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the same file once more"
)]
mod shelf;

use shelf::Shelf;

const ORDERS: usize = 4_000;
const MOST: usize = 2;

/// A connection that knows how many hold it, and counts its end.
struct Held {
    users: AtomicUsize,
    ended: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn scenario() {
    let (shelf, ended) = (
        Arc::new(Shelf::<Held>::new()),
        Arc::new(AtomicUsize::new(0)),
    );
    let made = Arc::new(AtomicUsize::new(0));
    let worker = |turns: usize| {
        let (shelf, ended, made) = (Arc::clone(&shelf), Arc::clone(&ended), Arc::clone(&made));
        thread::spawn(move || {
            for _ in 0..turns {
                let item = shelf.take(|_| true).unwrap_or_else(|| {
                    made.fetch_add(1, Ordering::SeqCst);
                    Held {
                        users: AtomicUsize::new(0),
                        ended: Arc::clone(&ended),
                    }
                });
                let users = item.users.fetch_add(1, Ordering::SeqCst);
                assert_eq!(users, 0, "one connection serves one request at a time");
                thread::yield_now();
                item.users.fetch_sub(1, Ordering::SeqCst);
                drop(shelf.put(item, MOST));
                assert!(shelf.len() <= MOST);
            }
        })
    };
    let room = {
        let shelf = Arc::clone(&shelf);
        thread::spawn(move || {
            drop(shelf.take_oldest());
            shelf.sweep(|held| held.users.load(Ordering::SeqCst) > 0);
        })
    };
    for thread in [worker(2), worker(2), worker(1), room] {
        thread.join().unwrap();
    }
    let (made, kept) = (made.load(Ordering::SeqCst), shelf.len());
    assert_eq!(made, kept + ended.load(Ordering::SeqCst), "none is lost");
}

#[test]
fn no_connection_is_handed_out_twice_or_lost() {
    shuttle::check_random(scenario, ORDERS);
    shuttle::check_pct(scenario, ORDERS, 3);
}
