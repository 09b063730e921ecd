//! Whether requests may go somewhere at all, judged by what became of the ones before (Nygard, "Release It!", ch. 5).
//!
//! Path: `upstream` keeps one for each upstream and one for each endpoint; [`CircuitBreaker::acquire`] before an attempt,
//! [`CircuitBreaker::record`] after it. Closed: requests pass. Too many failures open it: requests are refused at once,
//! which spares both sides the wait. After `open_for` it is half-open: a few probes pass. When they go well it closes,
//! when one fails it opens again.
//!
//! Pure: `now` is an argument. One atomic load admits a request while it is closed, one more takes note of a success.
//! It guarantees: never more than `half_open_max` probes at once; the failure that reaches the threshold opens it, and no
//! other; a permit that is given back without a result changes nothing.

mod laws;
mod state;
#[cfg(test)]
mod under_loom;
mod window;

use std::time::{Duration, Instant};

use super::failure::Verdict;
use state::{Limits, State, View};
pub use state::{Permit, Phase, Trigger};
use window::Window;

/// The atomics that `state` and `window` are made of.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that open it; `None`: any number passes.
    pub consecutive_failures: Option<u32>,
    /// How long it stays open. Rounded up to a millisecond.
    pub open_for: Duration,
    /// Probes at once while half-open, at least 1.
    pub half_open_max: u32,
    /// Probes that have to go well to close it, at least 1.
    pub half_open_successes: u32,
    /// Share of failures that opens it.
    pub error_rate: Option<Rate>,
    /// Share of slow answers that opens it.
    pub slow: Option<Slow>,
    /// The time over which shares are taken.
    pub window: Duration,
    /// A share of fewer requests than this says nothing.
    pub min_requests: u32,
}

impl Settings {
    /// Never opens by itself; may be forced.
    pub const IDLE: Self = Self {
        consecutive_failures: None,
        open_for: Duration::ZERO,
        half_open_max: 1,
        half_open_successes: 1,
        error_rate: None,
        slow: None,
        window: Duration::from_secs(10),
        min_requests: 1,
    };
}

/// A share in percent, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u8);

/// Which answers are slow, and how many of them are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// An answer that takes as long as this is slow.
    pub from: Duration,
    /// The share that opens the breaker.
    pub rate: Rate,
}

/// One breaker.
#[derive(Debug)]
pub struct CircuitBreaker {
    state: State,
    limits: Limits,
    errors: Option<(Rate, Window)>,
    slow: Option<(Slow, Window)>,
    min_requests: u64,
    /// Times are told in milliseconds from here.
    epoch: Instant,
}

/// A permit, and what taking it changed.
#[derive(Debug)]
pub struct Acquired {
    /// To be recorded or released.
    pub permit: Permit,
    /// The breaker went from open to half-open.
    pub transition: Option<Transition>,
}

/// The breaker went from one phase to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Phase,
    /// After.
    pub to: Phase,
    /// What opened it, this time or the last.
    pub trigger: Trigger,
}

/// A request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Until when: `None` if time alone does not change it (probes are under way, or it was forced).
    pub remaining: Option<Duration>,
    /// Where the breaker stands.
    pub phase: Phase,
    /// What opened it.
    pub trigger: Trigger,
}

impl CircuitBreaker {
    /// Closed. `epoch` is any instant not after the first `now`.
    pub fn new(settings: &Settings, epoch: Instant) -> Self {
        let window = millis(settings.window);
        Self {
            state: State::new(),
            limits: Limits {
                consecutive: settings.consecutive_failures.map(u64::from),
                open_for: millis(settings.open_for),
                probes: u64::from(settings.half_open_max.max(1)),
                successes: u64::from(settings.half_open_successes.max(1)),
            },
            errors: settings.error_rate.map(|rate| (rate, Window::new(window))),
            slow: settings.slow.map(|slow| (slow, Window::new(window))),
            min_requests: u64::from(settings.min_requests),
            epoch,
        }
    }

    /// The right to make one request.
    ///
    /// # Errors
    ///
    /// When the breaker is open, or half-open with all its probes under way.
    pub fn acquire(&self, now: Instant) -> Result<Acquired, Refused> {
        let (permit, entered) = self
            .state
            .acquire(&self.limits, || self.since_epoch(now))
            .map_err(|seen| refused(seen, self.since_epoch(now)))?;
        let transition = entered.map(|to| Transition {
            from: Phase::Open,
            to,
            trigger: self.state.view().trigger,
        });
        Ok(Acquired { permit, transition })
    }

    /// Whether [`Self::acquire`] would give a permit. Changes nothing.
    pub fn would_admit(&self, now: Instant) -> bool {
        let seen = self.state.view();
        match seen.phase {
            Phase::Closed | Phase::ForcedClosed => true,
            Phase::Open => seen.until() <= self.since_epoch(now),
            Phase::HalfOpen => seen.probes() < self.limits.probes,
            Phase::ForcedOpen => false,
        }
    }

    /// Takes note of how the request went that `permit` was given for, and that took `elapsed`.
    pub fn record(
        &self,
        permit: Permit,
        verdict: Verdict,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Transition> {
        let failed = match verdict {
            Verdict::Ignored => {
                self.state.release(permit);
                return None;
            }
            Verdict::Success => false,
            Verdict::Failure(_) => true,
        };
        let before = self.state.view();
        if before.phase == Phase::HalfOpen {
            // Nothing is added to the windows now, so closing begins with empty ones.
            self.forget();
        }
        let clock = || self.since_epoch(now);
        let entered = self.state.record(permit, !failed, &self.limits, clock);
        let entered = entered.or_else(|| self.judge_rates(permit, failed, elapsed, now));
        entered.map(|to| Transition {
            from: if permit.is_probe() {
                Phase::HalfOpen
            } else {
                Phase::Closed
            },
            to,
            trigger: self.state.view().trigger,
        })
    }

    /// Gives `permit` back without a result.
    pub fn release(&self, permit: Permit) {
        self.state.release(permit);
    }

    /// Opens or closes it until [`Self::reset`]; the phase before.
    pub fn force(&self, open: Force) -> Phase {
        self.state.set(match open {
            Force::Open => Phase::ForcedOpen,
            Force::Closed => Phase::ForcedClosed,
        })
    }

    /// Closes it, with nothing counted, to decide by itself again; the phase before.
    pub fn reset(&self) -> Phase {
        self.forget();
        self.state.set(Phase::Closed)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.state.view().phase
    }

    /// Why it would refuse at `now`; `None` when it would not.
    pub fn refusal(&self, now: Instant) -> Option<Refused> {
        let seen = self.state.view();
        (!self.would_admit(now)).then(|| refused(seen, self.since_epoch(now)))
    }

    fn judge_rates(
        &self,
        permit: Permit,
        failed: bool,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Phase> {
        if (self.errors.is_none() && self.slow.is_none())
            || permit.is_probe()
            || !self.state.is_closed_for(permit)
        {
            return None;
        }
        let now = self.since_epoch(now);
        let errors = self.errors.as_ref();
        let errors = errors.filter(|(rate, window)| self.is_reached(window, failed, *rate, now));
        let slow = self
            .slow
            .as_ref()
            .filter(|(slow, window)| self.is_reached(window, elapsed >= slow.from, slow.rate, now));
        let trigger = match (errors, slow) {
            (Some(_), _) => Trigger::ErrorRate,
            (None, Some(_)) => Trigger::SlowRate,
            (None, None) => return None,
        };
        let opened = self.state.open(permit, trigger, &self.limits, || now);
        opened.then_some(Phase::Open)
    }

    /// Counts one request; whether it was bad and made their share too large. A good one never opens a breaker.
    fn is_reached(&self, window: &Window, bad: bool, rate: Rate, now: u64) -> bool {
        window.add(bad, now);
        if !bad {
            return false;
        }
        let counts = window.counts(now);
        counts.all >= self.min_requests && counts.bad * 100 >= counts.all * u64::from(rate.0)
    }

    fn forget(&self) {
        if let Some((_, window)) = &self.errors {
            window.clear();
        }
        if let Some((_, window)) = &self.slow {
            window.clear();
        }
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What an operator may make of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuse everything.
    Open,
    /// Let everything pass.
    Closed,
}

fn refused(seen: View, now: u64) -> Refused {
    let remaining = seen.until().saturating_sub(now);
    Refused {
        remaining: (seen.phase == Phase::Open).then(|| Duration::from_millis(remaining)),
        phase: seen.phase,
        trigger: seen.trigger,
    }
}

/// Rounded up, so that nothing is over before its time.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
