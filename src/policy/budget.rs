//! What share of an upstream's requests may be retries.
//!
//! Path: `proxy::attempts` counts every request as it begins, and asks before each retry. A retry is taken from the budget
//! when it is decided, so those that still wait for their backoff count, too. Without a budget, an outage would multiply
//! its own load by the number of attempts; with it, a total outage adds the given share and a small constant, whatever
//! the number of clients (the idea is Finagle's, `RetryBudget`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Parts of the window: requests older than the window count for a tenth of it longer at most.
const SLOTS: usize = 10;

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Retries per hundred requests of the window.
    pub percent: u32,
    /// How far back requests and retries count.
    pub window: Duration,
    /// Retries that are allowed in each second of the window whatever the requests.
    pub min_per_second: u32,
}

/// Requests and retries of the latest window, counted by all workers.
#[derive(Debug)]
pub struct RetryBudget {
    limits: BudgetLimits,
    begun: Instant,
    /// Length of a slot in nanoseconds; never 0.
    slot: u64,
    requests: Counts,
    retries: Counts,
    /// Two retries must not both take the last one that is left.
    taking: Mutex<()>,
}

impl RetryBudget {
    /// A budget of which nothing is used at `now`.
    pub fn new(limits: BudgetLimits, now: Instant) -> Self {
        Self {
            limits,
            begun: now,
            slot: u64::try_from((limits.window / 10).as_nanos())
                .unwrap_or(u64::MAX)
                .max(1_000_000),
            requests: Counts::default(),
            retries: Counts::default(),
            taking: Mutex::new(()),
        }
    }

    /// Counts a request that begins at `now`.
    pub fn deposit(&self, now: Instant) {
        self.requests.add(self.tick(now));
    }

    /// Takes one retry at `now`; whether there was one left.
    pub fn withdraw(&self, now: Instant) -> bool {
        let tick = self.tick(now);
        let _taking = self.taking.lock();
        let left = self.allowed(tick) > self.retries.sum(tick);
        if left {
            self.retries.add(tick);
        }
        left
    }

    /// Retries left at `now`.
    pub fn balance(&self, now: Instant) -> u64 {
        let tick = self.tick(now);
        self.allowed(tick).saturating_sub(self.retries.sum(tick))
    }

    /// What it allows.
    pub fn limits(&self) -> BudgetLimits {
        self.limits
    }

    fn allowed(&self, tick: u64) -> u64 {
        let share = self.requests.sum(tick) * u64::from(self.limits.percent) / 100;
        let millis = u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX);
        share.saturating_add(u64::from(self.limits.min_per_second).saturating_mul(millis) / 1000)
    }

    /// The number of the slot that `now` falls into.
    fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begun).as_nanos();
        // Slot numbers have 32 bits: with the shortest window they last for seven weeks, then begin again.
        (u64::try_from(elapsed).unwrap_or(u64::MAX) / self.slot + SLOTS as u64)
            & u64::from(u32::MAX)
    }
}

/// One counter per slot, with the number of the slot that it is for in its upper half: a slot whose number is another
/// belongs to an earlier round, and counts as empty.
#[derive(Debug, Default)]
struct Counts([AtomicU64; SLOTS]);

impl Counts {
    fn add(&self, tick: u64) {
        if let Some(slot) = self.0.get(index(tick)) {
            let next = |value: u64| {
                let count = if value >> 32 == tick {
                    value & u64::from(u32::MAX)
                } else {
                    0
                };
                Some(tick << 32 | (count + 1).min(u64::from(u32::MAX)))
            };
            // `next` always gives a value.
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
    }

    fn sum(&self, tick: u64) -> u64 {
        let values = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = values.filter(|value| tick.wrapping_sub(value >> 32) < SLOTS as u64);
        recent.map(|value| value & u64::from(u32::MAX)).sum()
    }
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BudgetLimits = BudgetLimits {
        percent: 20,
        window: Duration::from_secs(10),
        min_per_second: 3,
    };

    #[test]
    fn an_idle_upstream_has_its_minimum() {
        let now = tokio::time::Instant::now().into_std();
        let budget = RetryBudget::new(LIMITS, now);
        let taken = (0..100).filter(|_| budget.withdraw(now)).count();
        assert_eq!(taken, 30, "3 a second for 10 seconds");
        assert!(!budget.withdraw(now + Duration::from_secs(5)));
        assert_eq!(budget.balance(now + Duration::from_secs(11)), 30);
    }

    #[test]
    fn a_hundred_requests_allow_twenty_more() {
        let now = tokio::time::Instant::now().into_std();
        let budget = RetryBudget::new(LIMITS, now);
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!(budget.balance(now), 50);
        assert_eq!(
            budget.balance(now + Duration::from_secs(20)),
            30,
            "requests grow old"
        );
    }

    #[test]
    fn in_an_outage_the_load_is_at_most_a_quarter_more() {
        let start = tokio::time::Instant::now().into_std();
        let budget = RetryBudget::new(LIMITS, start);
        let mut attempts = 0u32;
        // A thousand requests a second for a minute; every one would be retried twice.
        for request in 0..60_000u32 {
            let now = start + Duration::from_millis(request.into());
            budget.deposit(now);
            attempts += 1 + (0..2).map(|_| u32::from(budget.withdraw(now))).sum::<u32>();
        }
        let ratio = f64::from(attempts) / 60_000.0;
        assert!((1.15..=1.25).contains(&ratio), "{ratio}");
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_and_the_minimum(
            steps in prop::collection::vec((0u64..400, any::<bool>()), 1..400),
            percent in 0u32..=100, min_per_second in 0u32..5
        ) {
            let limits = BudgetLimits { percent, min_per_second, ..LIMITS };
            let start = tokio::time::Instant::now().into_std();
            let budget = RetryBudget::new(limits, start);
            let (mut now, mut requests, mut retries) = (start, Vec::new(), Vec::new());
            for (millis, retry) in steps {
                now += Duration::from_millis(millis);
                if !retry {
                    budget.deposit(now);
                    requests.push(now);
                } else if budget.withdraw(now) {
                    retries.push(now);
                }
                // Within any window, retries are bounded by the share of a window that is one slot longer.
                let within = |times: &[Instant], length| {
                    times.iter().filter(|&&time| now - time < length).count() as u64
                };
                let longer = LIMITS.window + LIMITS.window / 10;
                let allowed = (within(&requests, longer) + within(&requests, longer)) * u64::from(percent) / 100
                    + u64::from(min_per_second) * 10;
                prop_assert!(within(&retries, LIMITS.window - LIMITS.window / 10) <= allowed);
            }
        }
    }

    #[test]
    fn workers_together_do_not_take_more_than_there_is() {
        let now = tokio::time::Instant::now().into_std();
        let budget = RetryBudget::new(LIMITS, now);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| budget.withdraw(now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 30);
    }
}
