//! Whether a client sends its request's body fast enough.
//!
//! Path: `upstream::request_body` tells when it awaits the client and when a piece came; `proxy::wait` and `proxy::body`
//! ask how long the client may go on like this. A body that trickles in holds an app's worker for as long as it likes
//! ("slow body" attack). As with `MinRate` of Apache's `mod_reqtimeout`, what counts is the average so far, but only
//! over the time in which the client was awaited: time in which the endpoint would take nothing is not the client's.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How long a client must have been awaited before its average says anything.
pub const GRACE: Duration = Duration::from_secs(5);

/// No look comes sooner after another one, be the client ever so close to its limit.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// How long a client was awaited, and how long it may be.
#[derive(Debug)]
pub struct Pace {
    /// Bytes per second.
    rate: NonZeroU32,
    grace: Duration,
    /// Of the waits that are over.
    awaited: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// At least `rate` bytes per second are wanted, once the client was awaited for `grace`.
    pub fn new(rate: NonZeroU32, grace: Duration) -> Self {
        Self {
            rate,
            grace,
            awaited: Duration::ZERO,
            since: None,
        }
    }

    /// The client is awaited from `now` on, unless it already was.
    pub fn awaits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A piece, or the end, came at `now`.
    pub fn came(&mut self, now: Instant) {
        self.awaited = self.awaited(now);
        self.since = None;
    }

    /// Nobody has asked the client for a while: the wait under way does not count.
    pub fn forgive(&mut self) {
        self.since = None;
    }

    /// From now on the client may take its time.
    pub fn release(&mut self) {
        self.grace = Duration::MAX;
    }

    /// How long nobody has to look again at a client that has sent `bytes`; zero: it is too slow.
    pub fn left(&self, bytes: u64, now: Instant) -> Duration {
        let awaited = self.awaited(now);
        let earned = self.earned(bytes);
        if awaited >= self.grace && awaited > earned {
            return Duration::ZERO;
        }
        // It can be awaited no faster than time passes, and what it sends only adds to what it has earned.
        let left = earned.max(self.grace).saturating_sub(awaited);
        left.max(BETWEEN_LOOKS)
    }

    fn awaited(&self, now: Instant) -> Duration {
        let under_way = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.awaited.saturating_add(under_way)
    }

    /// The time in which `bytes` would have come at the wanted rate.
    fn earned(&self, bytes: u64) -> Duration {
        let rate = u64::from(self.rate.get());
        let rest = bytes % rate * 1_000_000_000 / rate;
        Duration::from_secs(bytes / rate).saturating_add(Duration::from_nanos(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u32) -> (Pace, Instant) {
        let rate = NonZeroU32::new(rate).unwrap();
        (
            Pace::new(rate, GRACE),
            tokio::time::Instant::now().into_std(),
        )
    }

    #[test]
    fn a_client_that_sends_nothing_is_too_slow_when_the_grace_is_over() {
        let (mut pace, start) = pace(1000);
        pace.awaits(start);
        assert_eq!(pace.left(0, start), GRACE);
        assert_eq!(pace.left(0, start + SECOND * 4), SECOND);
        assert_eq!(pace.left(0, start + GRACE), Duration::ZERO);
    }

    #[test]
    fn what_was_sent_counts_as_an_average() {
        let (mut pace, start) = pace(1000);
        pace.awaits(start);
        assert_eq!(pace.left(8000, start + GRACE), SECOND * 3);
        assert_eq!(pace.left(8000, start + SECOND * 8), BETWEEN_LOOKS);
        let late = start + SECOND * 8 + Duration::from_millis(1);
        assert_eq!(pace.left(8000, late), Duration::ZERO);
        assert_eq!(pace.left(8002, late), BETWEEN_LOOKS);
    }

    #[test]
    fn time_in_which_the_endpoint_takes_nothing_does_not_count() {
        let (mut pace, start) = pace(1000);
        pace.awaits(start);
        pace.came(start + SECOND);
        let late = start + SECOND * 3600;
        assert_eq!(pace.left(1, late), SECOND * 4);
        pace.awaits(late);
        assert_eq!(pace.left(1, late + SECOND * 3), SECOND);
        assert_eq!(pace.left(1, late + SECOND * 4), Duration::ZERO);
    }

    #[test]
    fn asking_again_does_not_begin_the_wait_anew() {
        let (mut pace, start) = pace(1000);
        pace.awaits(start);
        pace.awaits(start + SECOND * 4);
        assert_eq!(pace.left(0, start + GRACE), Duration::ZERO);
    }

    #[test]
    fn what_is_forgiven_does_not_count_and_who_is_released_is_never_too_slow() {
        let (mut pace, start) = pace(1000);
        pace.awaits(start);
        pace.forgive();
        assert_eq!(pace.left(0, start + SECOND * 60), GRACE);
        pace.awaits(start);
        pace.release();
        assert!(pace.left(0, start + SECOND * 86_400) > SECOND * 86_400);
    }

    proptest! {
        /// Whoever looks when told to misses nothing: until then no client can have become too slow.
        #[test]
        fn nobody_is_too_slow_before_the_next_look(rate in 1u32.., bytes: u64, awaited in 0u64..100_000, part in 0.0..1.0f64) {
            let (mut pace, start) = pace(rate);
            pace.awaits(start);
            let now = start + Duration::from_millis(awaited);
            let left = pace.left(bytes, now).min(SECOND * 86_400);
            if left > BETWEEN_LOOKS {
                prop_assert!(pace.left(bytes, now + left.mul_f64(part)) > Duration::ZERO);
            }
        }

        #[test]
        fn a_client_at_or_above_the_rate_is_never_too_slow(rate in 1u32..1 << 30, seconds in 0u64..100_000, more in 0u64..1000) {
            let (mut pace, start) = pace(rate);
            pace.awaits(start);
            let bytes = u64::from(rate) * seconds + more;
            prop_assert!(pace.left(bytes, start + SECOND * u32::try_from(seconds).unwrap()) > Duration::ZERO);
        }
    }
}
