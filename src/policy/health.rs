//! When an endpoint that is asked for its health counts as healthy.
//!
//! Path: the checks of `upstream::health` bring results, one after the other; what changes is told to the endpoint.
//!
//! `rise` results in a row make an endpoint healthy, `fall` make it unhealthy. Until the first result it counts as
//! healthy, for a start must not refuse what could be served; the first result decides alone, whichever way, so that
//! a dead endpoint gets no more than the requests of one check's time.

use std::num::NonZeroU32;

/// How many results in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed checks until an unhealthy endpoint is healthy.
    pub rise: NonZeroU32,
    /// Failed checks until a healthy endpoint is unhealthy.
    pub fall: NonZeroU32,
}

/// What became of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The endpoint answered as it should.
    Passed,
    /// It did not.
    Failed,
}

/// The health of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    healthy: bool,
    /// Results in a row that say the opposite.
    against: u32,
    checked: bool,
}

impl Health {
    /// Before the first check; `healthy` is what was known before.
    pub fn unchecked(healthy: bool) -> Self {
        Self {
            healthy,
            against: 0,
            checked: false,
        }
    }

    /// Whether it counts as healthy.
    pub fn is_healthy(self) -> bool {
        self.healthy
    }

    /// Takes note of a result; tells whether the endpoint is now something else than before.
    pub fn observe(&mut self, result: CheckResult, thresholds: Thresholds) -> bool {
        let says = result == CheckResult::Passed;
        let first = !std::mem::replace(&mut self.checked, true);
        if says == self.healthy {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.healthy {
            thresholds.fall
        } else {
            thresholds.rise
        };
        let turned = first || self.against >= needed.get();
        if turned {
            self.healthy = says;
            self.against = 0;
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckResult::{Failed, Passed};
    use proptest::prelude::*;

    fn thresholds(rise: u32, fall: u32) -> Thresholds {
        Thresholds {
            rise: NonZeroU32::new(rise).unwrap(),
            fall: NonZeroU32::new(fall).unwrap(),
        }
    }

    #[test]
    fn the_first_result_decides_alone() {
        let mut health = Health::unchecked(true);
        assert!(health.observe(Failed, thresholds(2, 3)));
        assert!(!health.is_healthy());
        let mut health = Health::unchecked(false);
        assert!(health.observe(Passed, thresholds(2, 3)));
        assert!(health.is_healthy());
    }

    #[test]
    fn later_it_takes_so_many_in_a_row() {
        let mut health = Health::unchecked(true);
        let seen: Vec<bool> = [
            Passed, Failed, Failed, Passed, Failed, Failed, Failed, Passed, Failed, Passed, Passed,
        ]
        .into_iter()
        .map(|result| {
            health.observe(result, thresholds(2, 3));
            health.is_healthy()
        })
        .collect();
        assert_eq!(
            seen,
            [
                true, true, true, true, true, true, false, false, false, false, true
            ]
        );
    }

    proptest! {
        #[test]
        fn it_turns_exactly_when_the_last_results_all_say_the_opposite(
            results in prop::collection::vec(any::<bool>(), 1..60), rise in 1u32..5, fall in 1u32..5
        ) {
            let mut health = Health::unchecked(true);
            for (index, &passed) in results.iter().enumerate() {
                let before = health.is_healthy();
                let needed = if before { fall } else { rise } as usize;
                let turned = health.observe(if passed { Passed } else { Failed }, thresholds(rise, fall));
                prop_assert_eq!(turned, health.is_healthy() != before);
                let row = results[..=index].iter().rev().take_while(|&&seen| seen != before).count();
                if turned {
                    prop_assert!(row >= needed || index == 0);
                } else {
                    prop_assert!(row < needed || passed == before);
                }
            }
        }
    }
}
