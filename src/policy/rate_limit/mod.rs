//! Whether a request is within its rate.
//!
//! Path: `proxy::admit` asks with the hash of whatever the rule counts by; the answer says admitted, at once or after a
//! wait, or refused until when. A token bucket as the generic cell rate algorithm (ITU-T I.371) keeps it: one number a
//! key, the time at which its bucket is full again.
//!
//! The arithmetic is governor's. Its clock stands still at zero, and the table hands it each key's backlog: how far beyond
//! `now` the bucket is full again. So `now` stays an argument, is read once a request, and tests bring their own.

mod table;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use table::{Slot, Store, Table};

/// No bucket takes longer to fill: it keeps the arithmetic far from its limits.
pub const LONGEST_FILL: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many requests, how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many tokens come
    pub requests: NonZeroU32,
    /// in this time, one by one.
    pub per: Duration,
    /// So many tokens the bucket holds.
    pub burst: NonZeroU32,
}

impl Rate {
    /// The time in which one token comes, rounded up: never more than asked for.
    pub fn interval(&self) -> Duration {
        let nanos = self
            .per
            .as_nanos()
            .div_ceil(u128::from(self.requests.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1))
    }

    /// The time in which an empty bucket fills.
    pub fn fill(&self) -> Duration {
        self.interval().saturating_mul(self.burst.get())
    }
}

/// One rule: a bucket for each key, with one rate.
#[derive(Debug)]
pub struct Limiter {
    limiter: RateLimiter<Slot, Store, StandingClock, NoOpMiddleware<Nanos>>,
    table: Arc<Table>,
    epoch: Instant,
    interval: u64,
    /// What the bucket's tokens but one are worth: more backlog means a wait.
    tolerance: u64,
}

/// A request within its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// How long to wait before going on; zero where waiting is not allowed.
    pub wait: Duration,
    /// Requests that would be admitted now without waiting.
    pub remaining: u32,
    /// When the bucket is full again.
    pub full_in: Duration,
    /// Its mark in the table.
    mark: u64,
}

/// A request beyond its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When the next one would be admitted.
    pub retry_after: Duration,
    /// When the bucket is full again.
    pub full_in: Duration,
}

impl Limiter {
    /// One bucket for all: keys do not count.
    pub fn single(rate: Rate, patience: Duration, epoch: Instant) -> Self {
        Self::over(Table::single(), rate, patience, epoch)
    }

    /// A bucket for each of `max_keys` keys. Requests may wait for `patience`; zero: none does.
    pub fn keyed(rate: Rate, patience: Duration, max_keys: usize, epoch: Instant) -> Self {
        Self::over(Table::keyed(max_keys), rate, patience, epoch)
    }

    fn over(table: Table, rate: Rate, patience: Duration, epoch: Instant) -> Self {
        let interval = rate.interval();
        let nanos = nanos(interval);
        // As many as fill in time; `check` refuses slower ones before.
        let fitting = self::nanos(LONGEST_FILL) / nanos;
        let burst = u64::from(rate.burst.get()).min(fitting).max(1);
        // Waiting is a larger bucket whose lower part is admitted later. It holds whole tokens, so it may be too large by
        // less than one, which every backlog then has more.
        let patience = self::nanos(patience.min(LONGEST_FILL));
        let ahead = patience.div_ceil(nanos).min(fitting);
        let slack = ahead.saturating_mul(nanos).saturating_sub(patience);
        let tokens = u32::try_from(burst.saturating_add(ahead)).unwrap_or(u32::MAX);
        let tokens = NonZeroU32::new(tokens).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
        let table = Arc::new(table);
        let store = Store {
            table: Arc::clone(&table),
            slack,
        };
        Self {
            limiter: RateLimiter::new(quota.allow_burst(tokens), store, StandingClock),
            table,
            epoch,
            interval: nanos,
            tolerance: nanos.saturating_mul(burst - 1),
        }
    }

    /// Takes a token of `key`'s bucket at `now`.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing is taken.
    pub fn check(&self, key: u64, now: Instant) -> Result<Admitted, Refused> {
        let slot = Slot::new(key, self.nanos_at(now));
        match self.limiter.check_key(&slot) {
            Ok(()) => Ok(self.admitted(slot.backlog(), slot.mark())),
            Err(refusal) => Err(Refused {
                retry_after: refusal.wait_time_from(StandingClock.now()),
                full_in: Duration::from_nanos(slot.backlog()),
            }),
        }
    }

    fn admitted(&self, backlog: u64, mark: u64) -> Admitted {
        let bucket = self.tolerance.saturating_add(self.interval);
        let remaining = bucket.saturating_sub(backlog) / self.interval;
        Admitted {
            wait: Duration::from_nanos(backlog.saturating_sub(bucket)),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in: Duration::from_nanos(backlog),
            mark,
        }
    }

    /// Puts back the token of a request that was admitted just now and does not go on.
    pub fn put_back(&self, key: u64) {
        self.table.lower(key, self.interval);
    }

    /// Puts back the token of a request that waited and left, if nobody came after it: the places in time of those
    /// behind it are given out.
    pub fn leave(&self, key: u64, admitted: &Admitted) {
        self.table.lower_if(key, admitted.mark, self.interval);
    }

    /// Forgets keys whose buckets are full: they are as good as new.
    pub fn sweep(&self, now: Instant) {
        self.table.sweep(self.nanos_at(now));
    }

    /// Keys remembered.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// Keys forgotten to make room, since the beginning.
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    fn nanos_at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Always zero: the table knows the time.
#[derive(Debug, Clone, Copy)]
struct StandingClock;

impl Clock for StandingClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests;
