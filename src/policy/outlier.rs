//! Which endpoint is taken out of service because of how its requests went, and for how long.
//!
//! Path: `upstream::report` hands each attempt's outcome to the endpoint's [`Tally`]; a [`Cause`] that comes back is an
//! ejection, if [`may_eject`] lets it happen. What the proxy refused by itself and what a client broke off never gets
//! here. The idea and the growing time are Envoy's outlier detection; the success rate is a plain share, not a
//! deviation from the others, so that the file says what happens.

use std::num::{NonZeroU8, NonZeroU32};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row.
    ConsecutiveFailures,
    /// Too few of its requests succeeded.
    SuccessRate,
}

/// When to eject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a row; `None`: they do not count.
    pub consecutive_failures: Option<NonZeroU32>,
    /// The share of requests that must succeed; `None`: it does not count.
    pub success_rate: Option<SuccessRate>,
    /// How long the first ejection lasts; the n-th in a row lasts n times as long.
    pub eject_for: Duration,
    /// No ejection lasts longer.
    pub max_eject_for: Duration,
    /// At most this share of endpoints is ejected, in per cent.
    pub max_ejected: NonZeroU8,
}

/// A share of requests in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Ejected when fewer than this succeed, in per cent.
    pub below: NonZeroU8,
    /// With fewer requests in the window a share says nothing.
    pub min_requests: NonZeroU32,
    /// The length of a window; one follows the other.
    pub window: Duration,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// Not well.
    Failure,
}

/// What an endpoint has to show for itself. Shared by all workers.
#[derive(Debug)]
pub struct Tally {
    /// Times are counted from here, in milliseconds.
    origin: Instant,
    in_a_row: AtomicU32,
    /// See [`Window`].
    window: AtomicU64,
    /// When the ejection ends or ended; 0 before the first.
    until: AtomicU64,
    /// Whether an ejection is in force.
    ejected: AtomicU32,
    /// Ejections one after the other.
    times: AtomicU32,
}

/// Number of the window (24 bits), requests and failures in it (20 bits each), in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    number: u64,
    requests: u64,
    failures: u64,
}

const COUNT: u64 = (1 << 20) - 1;
const NUMBER: u64 = (1 << 24) - 1;

impl Window {
    fn unpack(word: u64) -> Self {
        Self {
            number: word >> 40,
            requests: (word >> 20) & COUNT,
            failures: word & COUNT,
        }
    }

    fn pack(self) -> u64 {
        (self.number << 40) | (self.requests << 20) | self.failures
    }

    /// With one more request in the window `number`.
    fn count(self, number: u64, outcome: Outcome) -> Self {
        let mut window = if self.number == number {
            self
        } else {
            Self {
                number,
                requests: 0,
                failures: 0,
            }
        };
        if window.requests == COUNT {
            // The share stays what it is.
            window.requests /= 2;
            window.failures /= 2;
        }
        window.requests += 1;
        window.failures += u64::from(outcome == Outcome::Failure);
        window
    }
}

impl Tally {
    /// Nothing to show yet at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            in_a_row: AtomicU32::new(0),
            window: AtomicU64::new(0),
            until: AtomicU64::new(0),
            ejected: AtomicU32::new(0),
            times: AtomicU32::new(0),
        }
    }

    /// Takes note of a request that ended at `now`; a cause if the endpoint should be ejected for it.
    pub fn record(&self, rules: &Rules, outcome: Outcome, now: Instant) -> Option<Cause> {
        let share = rules
            .success_rate
            .and_then(|rate| self.count(rate, outcome, now));
        if outcome == Outcome::Success {
            // A store would take the line away from the other workers.
            if self.in_a_row.load(Relaxed) != 0 {
                self.in_a_row.store(0, Relaxed);
            }
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        let many = rules
            .consecutive_failures
            .is_some_and(|limit| in_a_row >= limit.get());
        many.then_some(Cause::ConsecutiveFailures).or(share)
    }

    fn count(&self, rate: SuccessRate, outcome: Outcome, now: Instant) -> Option<Cause> {
        let length = u64::try_from(rate.window.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let number = (self.millis(now) / length) & NUMBER;
        let next = |word| Some(Window::unpack(word).count(number, outcome).pack());
        let before = self.window.fetch_update(Relaxed, Relaxed, next);
        let window = Window::unpack(before.unwrap_or_else(|word| word)).count(number, outcome);
        let succeeded = window.requests - window.failures;
        let enough = window.requests >= u64::from(rate.min_requests.get());
        let poor = succeeded * 100 < window.requests * u64::from(rate.below.get());
        (enough && poor && outcome == Outcome::Failure).then_some(Cause::SuccessRate)
    }

    /// Ejects at `now`; how long. Each full `eject_for` of service since the last ejection takes one step back.
    pub fn eject(&self, rules: &Rules, now: Instant) -> Duration {
        let now = self.millis(now);
        let step = u64::try_from(rules.eject_for.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let served = now.saturating_sub(self.until.load(Relaxed)) / step;
        let served = u32::try_from(served).unwrap_or(u32::MAX);
        let times = self
            .times
            .load(Relaxed)
            .saturating_sub(served)
            .saturating_add(1);
        let length = rules
            .eject_for
            .saturating_mul(times)
            .min(rules.max_eject_for.max(rules.eject_for));
        let length_millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.times.store(times, Relaxed);
        self.until
            .store(now.saturating_add(length_millis).max(1), Relaxed);
        self.ejected.store(1, Relaxed);
        length
    }

    /// Puts it back into service with a clean slate.
    pub fn readmit(&self) {
        self.ejected.store(0, Relaxed);
        self.in_a_row.store(0, Relaxed);
        self.window.store(0, Relaxed);
    }

    /// Whether it was ejected and not put back, be its time over or not.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed) != 0
    }

    /// How much of the ejection is left at `now`; `None`: it is not ejected.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        if !self.is_ejected() {
            return None;
        }
        let left = self.until.load(Relaxed).saturating_sub(self.millis(now));
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Failures since the last success.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row.load(Relaxed)
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The endpoints of an upstream, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// All of them.
    pub all: usize,
    /// Those ejected.
    pub ejected: usize,
    /// Those neither ejected nor unhealthy.
    pub in_service: usize,
}

/// Whether one more endpoint of `crowd`, one in service, may be ejected: at most `max_ejected` per cent of them,
/// rounded down but one if there are two, and the last one in service only if the share is 100 %.
pub fn may_eject(crowd: Crowd, max_ejected: NonZeroU8) -> bool {
    let share = u64::from(max_ejected.get()).min(100);
    if share == 100 {
        return crowd.ejected < crowd.all;
    }
    let all = u64::try_from(crowd.all).unwrap_or(u64::MAX);
    let allowed = (all.saturating_mul(share) / 100).max(u64::from(all > 1));
    crowd.in_service > 1 && (crowd.ejected as u64) < allowed
}

/// The tests begin at some time; which one does not matter.
#[cfg(test)]
fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
