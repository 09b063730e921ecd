//! How long to wait before the next attempt.
//!
//! Path: [`super::retry`] asks when it has decided to try again. Exponential with a cap; jitter keeps clients that failed
//! together from coming back together (Brooker 2015, "Exponential Backoff And Jitter", AWS Architecture Blog).

use std::time::Duration;

/// How chance enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Uniform between 0 and the exponential bound.
    #[default]
    Full,
    /// Uniform between the base and three times the wait before, which spreads clients even further.
    Decorrelated,
    /// The exponential bound itself.
    None,
}

/// Waits that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first wait.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// How chance enters.
    pub jitter: Jitter,
}

impl Backoff {
    /// The wait before retry number `retry`, from 1, after a wait of `previous`. `random` is uniform over all `u64`.
    pub fn wait(&self, retry: u32, previous: Duration, random: u64) -> Duration {
        match self.jitter {
            Jitter::None => self.bound(retry),
            Jitter::Full => scaled(self.bound(retry), random),
            Jitter::Decorrelated => {
                let upper = previous.max(self.base).saturating_mul(3);
                let spread = scaled(upper.saturating_sub(self.base), random);
                self.base.saturating_add(spread).min(self.max)
            }
        }
    }

    /// The longest wait before retry number `retry`.
    pub fn bound(&self, retry: u32) -> Duration {
        let doubled = 1u32
            .checked_shl(retry.saturating_sub(1))
            .unwrap_or(u32::MAX);
        match self.jitter {
            Jitter::Decorrelated if retry > 1 => self.max,
            Jitter::Decorrelated => self.base.saturating_mul(3).min(self.max),
            Jitter::Full | Jitter::None => self.base.saturating_mul(doubled).min(self.max),
        }
    }
}

/// `bound`, times `random` as a fraction of all `u64`.
fn scaled(bound: Duration, random: u64) -> Duration {
    let nanos = (bound.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
            jitter,
        }
    }

    #[test]
    fn without_jitter_it_doubles_up_to_the_cap() {
        let backoff = backoff(Jitter::None);
        let waits = [1, 2, 3, 4, 5, 60].map(|retry| backoff.wait(retry, Duration::ZERO, 0));
        assert_eq!(
            waits.map(|wait| wait.as_millis()),
            [25, 50, 100, 200, 250, 250]
        );
    }

    #[test]
    fn ten_thousand_samples_stay_within_bounds_and_two_clients_do_not_march_in_step() {
        for jitter in [Jitter::Full, Jitter::Decorrelated] {
            let backoff = backoff(jitter);
            let mut random = fastrand::Rng::with_seed(7);
            let mut equal = 0;
            for _ in 0..10_000 {
                let (mut first, mut second) = (Duration::ZERO, Duration::ZERO);
                for retry in 1..4 {
                    first = backoff.wait(retry, first, random.u64(..));
                    second = backoff.wait(retry, second, random.u64(..));
                    for wait in [first, second] {
                        assert!(wait <= backoff.bound(retry), "{jitter:?} {retry} {wait:?}");
                        assert!(jitter == Jitter::Full || wait >= backoff.base);
                    }
                    // Two that both reached the cap are equal by right.
                    equal += usize::from(first == second && first < backoff.max);
                }
            }
            assert!(equal < 10, "{equal} of 30,000 waits were the same");
        }
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let backoff = backoff(Jitter::Full);
        let mut random = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..1000)
            .map(|_| backoff.wait(3, Duration::ZERO, random.u64(..)))
            .collect();
        assert!(waits.iter().any(|wait| wait.as_millis() < 10));
        assert!(waits.iter().any(|wait| wait.as_millis() > 90));
    }

    proptest! {
        #[test]
        fn no_wait_leaves_its_bounds(
            base in 1u64..10_000, factor in 1u64..1000, retry in 0u32..200, previous in 0u64..100_000, random: u64
        ) {
            for jitter in [Jitter::Full, Jitter::Decorrelated, Jitter::None] {
                let backoff = Backoff {
                    base: Duration::from_millis(base), max: Duration::from_millis(base * factor), jitter,
                };
                let wait = backoff.wait(retry, Duration::from_millis(previous), random);
                prop_assert!(wait <= backoff.max);
            }
        }
    }
}
