//! What became of the requests of the last while: how many, and how many were bad.
//!
//! Path: [`super::CircuitBreaker`] adds to it while it is closed.
//!
//! A ring of [`BUCKETS`] buckets, each a tenth of the window long and one `u64` wide: its turn, requests, bad ones. Whoever
//! finds an old turn in a bucket begins it anew in the same compare-and-swap that adds, so nothing is lost and nobody
//! tidies up. A full bucket halves both counts, which keeps their share. The sum over the ring is not one instant's: what
//! other threads add meanwhile may be missed or seen, a handful of requests at the edge of a window of many.
//! Turns repeat after 268 million: a bucket untouched for years on end could be taken for a fresh one.

use super::atomic::{AtomicU64, Ordering};

/// Parts of a window. The oldest one is dropped as a whole, so a window is between 9 and 10 parts long.
const BUCKETS: usize = 10;

const COUNT_BITS: u32 = 18;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TURN_SHIFT: u32 = 2 * COUNT_BITS;
const TURN_MASK: u64 = (1 << (64 - TURN_SHIFT)) - 1;

/// Requests counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// All.
    pub(super) all: u64,
    /// The bad ones among them.
    pub(super) bad: u64,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Window {
    buckets: [AtomicU64; BUCKETS],
    /// Milliseconds of a bucket.
    length: u64,
}

impl Window {
    /// Empty, and `millis` long.
    pub(super) fn new(millis: u64) -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            length: (millis / BUCKETS as u64).max(1),
        }
    }

    /// Counts one request at `now`, in milliseconds.
    pub(super) fn add(&self, bad: bool, now: u64) {
        let turn = self.turn(now);
        let Some(bucket) = self.buckets.get(index(turn)) else {
            return;
        };
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            let next = added(seen, turn & TURN_MASK, bad);
            match bucket.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// What was counted within the window that ends at `now`.
    pub(super) fn counts(&self, now: u64) -> Counts {
        let last = self.turn(now);
        let first = last.saturating_sub(BUCKETS as u64 - 1);
        let mut counts = Counts::default();
        for turn in first..=last {
            let word = self
                .buckets
                .get(index(turn))
                .map_or(0, |bucket| bucket.load(Ordering::Relaxed));
            if word >> TURN_SHIFT == turn & TURN_MASK {
                counts.all += (word >> COUNT_BITS) & COUNT_MASK;
                counts.bad += word & COUNT_MASK;
            }
        }
        counts
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// The first turn is 1: a bucket of zeros belongs to none that is asked for.
    fn turn(&self, now: u64) -> u64 {
        now / self.length + 1
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a remainder of ten fits everywhere"
)]
fn index(turn: u64) -> usize {
    (turn % BUCKETS as u64) as usize
}

fn added(word: u64, turn: u64, bad: bool) -> u64 {
    let mine = word >> TURN_SHIFT == turn;
    let (mut all, mut failed) = if mine {
        ((word >> COUNT_BITS) & COUNT_MASK, word & COUNT_MASK)
    } else {
        (0, 0)
    };
    if all == COUNT_MASK {
        (all, failed) = (all / 2, failed / 2);
    }
    turn << TURN_SHIFT | (all + 1) << COUNT_BITS | (failed + u64::from(bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_younger_than_nine_tenths_is_counted_and_what_is_older_than_the_window_is_not(
            steps in prop::collection::vec((0u64..400, any::<bool>()), 1..200)
        ) {
            let window = Window::new(1000);
            let (mut now, mut added) = (0, Vec::new());
            for (step, bad) in steps {
                now += step;
                window.add(bad, now);
                added.push((now, bad));
                let within = |age: u64| added.iter().filter(|(at, _)| now - at < age).count() as u64;
                let counts = window.counts(now);
                prop_assert!(within(900) <= counts.all && counts.all <= within(1000));
                prop_assert!(counts.bad <= counts.all);
            }
        }
    }

    #[test]
    fn a_full_bucket_keeps_the_share() {
        let window = Window::new(10_000);
        for n in 0..1_000_000 {
            window.add(n % 4 == 0, 0);
        }
        let counts = window.counts(0);
        assert!(counts.all > COUNT_MASK / 2, "{counts:?}");
        let share = counts.bad * 1000 / counts.all;
        assert!((249..=251).contains(&share), "{counts:?}");
    }

    #[test]
    fn a_cleared_window_is_empty() {
        let window = Window::new(1000);
        window.add(true, 5);
        window.clear();
        assert_eq!(window.counts(5), Counts::default());
    }
}
