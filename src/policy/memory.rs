//! How near the process is to the end of its memory, and what it gives up then.
//!
//! Path: `app::memory` measures a few times a second on the control runtime and notes it here; workers read one word.
//! First nothing is kept for replays anymore, then new requests are refused; those under way go on. A level is left only
//! when use has fallen clearly below where it began, so that it does not flutter.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A level ends this many points of a hundred below where it begins.
const SLACK: u8 = 5;

/// What is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    #[default]
    Normal = 0,
    /// No request's body is kept for a replay.
    NoReplay = 1,
    /// New requests are refused, too.
    Shed = 2,
}

/// Shares of the limit, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// From here on [`Level::NoReplay`].
    pub replay_at: u8,
    /// From here on [`Level::Shed`].
    pub shed_at: u8,
}

/// Bytes of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// In use.
    pub used: u64,
    /// Allowed.
    pub limit: u64,
}

impl Use {
    fn reaches(self, percent: u8) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
    }
}

/// The level that follows on `before`.
pub fn next(before: Level, measured: Use, thresholds: Thresholds) -> Level {
    let holds = |level: Level, begins: u8| {
        let at = if before >= level {
            begins.saturating_sub(SLACK).max(1)
        } else {
            begins
        };
        measured.reaches(at)
    };
    if holds(Level::Shed, thresholds.shed_at) {
        Level::Shed
    } else if holds(Level::NoReplay, thresholds.replay_at) {
        Level::NoReplay
    } else {
        Level::Normal
    }
}

/// The level in force, for all to read.
#[derive(Debug, Default)]
pub struct Budget {
    level: AtomicU8,
    used: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    /// The level in force.
    pub fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Normal,
            1 => Level::NoReplay,
            _ => Level::Shed,
        }
    }

    /// Whether a request's body may be kept for a replay.
    pub fn may_buffer(&self) -> bool {
        self.level() == Level::Normal
    }

    /// Whether new requests are refused.
    pub fn sheds(&self) -> bool {
        self.level() == Level::Shed
    }

    /// The latest measurement; a limit of 0 is none.
    pub fn measured(&self) -> Use {
        Use {
            used: self.used.load(Ordering::Relaxed),
            limit: self.limit.load(Ordering::Relaxed),
        }
    }

    /// Notes a measurement; gives the level before and after.
    pub fn note(&self, measured: Use, thresholds: Thresholds) -> (Level, Level) {
        let before = self.level();
        let after = if measured.limit == 0 {
            Level::Normal
        } else {
            next(before, measured, thresholds)
        };
        self.used.store(measured.used, Ordering::Relaxed);
        self.limit.store(measured.limit, Ordering::Relaxed);
        self.level.store(after as u8, Ordering::Relaxed);
        (before, after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: Thresholds = Thresholds {
        replay_at: 80,
        shed_at: 90,
    };

    fn of_hundred(used: u64) -> Use {
        Use { used, limit: 100 }
    }

    #[test]
    fn levels_begin_where_they_are_said_to_and_end_clearly_below() {
        let budget = Budget::default();
        let seen: Vec<Level> = [79, 80, 89, 90, 86, 85, 84, 76, 75, 74]
            .into_iter()
            .map(|used| budget.note(of_hundred(used), USUAL).1)
            .collect();
        use Level::{NoReplay, Normal, Shed};
        let expected = [
            Normal, NoReplay, NoReplay, Shed, Shed, Shed, NoReplay, NoReplay, NoReplay, Normal,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn without_a_limit_nothing_is_given_up() {
        let budget = Budget::default();
        budget.note(of_hundred(99), USUAL);
        assert!(budget.sheds() && !budget.may_buffer());
        let unlimited = Use {
            used: u64::MAX,
            limit: 0,
        };
        assert_eq!(budget.note(unlimited, USUAL), (Level::Shed, Level::Normal));
        assert!(!budget.sheds() && budget.may_buffer());
    }

    proptest! {
        #[test]
        fn more_use_never_means_a_lower_level(
            before in 0u8..3, used in 0u64..200, more in 0u64..200, replay_at in 1u8..=100, above in 0u8..100
        ) {
            let thresholds = Thresholds { replay_at, shed_at: replay_at.saturating_add(above).min(100) };
            let before = [Level::Normal, Level::NoReplay, Level::Shed][usize::from(before)];
            prop_assert!(
                next(before, of_hundred(used), thresholds) <= next(before, of_hundred(used + more), thresholds)
            );
        }

        #[test]
        fn steady_use_means_a_steady_level(used in 0u64..200) {
            let first = next(Level::Normal, of_hundred(used), USUAL);
            prop_assert_eq!(next(first, of_hundred(used), USUAL), first);
        }
    }
}
