//! The state of a circuit breaker in one word, and the steps between its states.
//!
//! Path: [`super::CircuitBreaker`] decides when, this carries it out.
//!
//! Everything that must be seen together stands in one `u64`, so each step is one compare-and-swap: a threshold is
//! reached by exactly one failure, a probe's place is taken by exactly one request, and nothing has to be locked.
//!
//! ```text
//! payload 40 bits │ generation 19 │ trigger 2 │ phase 3
//! ```
//!
//! Every change of phase begins a new generation. A result carries the generation in which its request was admitted and
//! counts in no other: what began before the breaker opened says nothing about the state after. Generations repeat after
//! 524,288 changes, which at the shortest `open_for` in use takes longer than any request.
//!
//! This file stands alone: `under_loom` compiles it a second time with loom's atomics.

use super::atomic::{AtomicU64, Ordering};

const TRIGGER_SHIFT: u32 = 3;
const GENERATION_SHIFT: u32 = 5;
const PAYLOAD_SHIFT: u32 = 24;
const PHASE_MASK: u64 = (1 << TRIGGER_SHIFT) - 1;
const TRIGGER_MASK: u64 = 0b11;
const GENERATION_MASK: u64 = (1 << (PAYLOAD_SHIFT - GENERATION_SHIFT)) - 1;
/// So many are told apart.
const GENERATIONS: u32 = 1 << (PAYLOAD_SHIFT - GENERATION_SHIFT);
const PAYLOAD_MASK: u64 = (1 << (64 - PAYLOAD_SHIFT)) - 1;
/// Successes and probes of half-open share the payload.
const PROBES_BITS: u32 = 20;
const PROBES_MASK: u64 = (1 << PROBES_BITS) - 1;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Requests pass, results are counted.
    Closed,
    /// Requests are refused for a time.
    Open,
    /// A few requests pass, to see whether it is better now.
    HalfOpen,
    /// Requests are refused until somebody says otherwise.
    ForcedOpen,
    /// Requests pass whatever comes of them, until somebody says otherwise.
    ForcedClosed,
}

/// What opened a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Failures in a row.
    Consecutive,
    /// The share of failures.
    ErrorRate,
    /// The share of slow answers.
    SlowRate,
}

/// The right to make one request. Has to be given back with `record` or `release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a probe's place stays taken until its permit is recorded or released"]
pub struct Permit {
    generation: u32,
    probe: bool,
}

impl Permit {
    /// Whether it is one of the few of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

/// One look at the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// Where the breaker stands.
    pub(super) phase: Phase,
    /// What opened it last.
    pub(super) trigger: Trigger,
    generation: u32,
    payload: u64,
}

impl View {
    /// Closed: failures in a row.
    pub(super) fn failures(&self) -> u64 {
        self.payload
    }

    /// Open: until when, in milliseconds.
    pub(super) fn until(&self) -> u64 {
        self.payload
    }

    /// Half-open: probes under way.
    pub(super) fn probes(&self) -> u64 {
        self.payload & PROBES_MASK
    }

    /// Half-open: probes that went well.
    pub(super) fn successes(&self) -> u64 {
        self.payload >> PROBES_BITS
    }

    fn decode(word: u64) -> Self {
        Self {
            phase: match word & PHASE_MASK {
                0 => Phase::Closed,
                1 => Phase::Open,
                2 => Phase::HalfOpen,
                3 => Phase::ForcedOpen,
                _ => Phase::ForcedClosed,
            },
            trigger: match (word >> TRIGGER_SHIFT) & TRIGGER_MASK {
                0 => Trigger::Consecutive,
                1 => Trigger::ErrorRate,
                _ => Trigger::SlowRate,
            },
            // It is 19 bits wide, so it always fits.
            generation: u32::try_from((word >> GENERATION_SHIFT) & GENERATION_MASK)
                .unwrap_or_default(),
            payload: word >> PAYLOAD_SHIFT,
        }
    }

    fn encode(self) -> u64 {
        let phase = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
            Phase::ForcedOpen => 3,
            Phase::ForcedClosed => 4,
        };
        let trigger = match self.trigger {
            Trigger::Consecutive => 0,
            Trigger::ErrorRate => 1,
            Trigger::SlowRate => 2,
        };
        phase
            | trigger << TRIGGER_SHIFT
            | (u64::from(self.generation) & GENERATION_MASK) << GENERATION_SHIFT
            | self.payload << PAYLOAD_SHIFT
    }

    fn with(self, payload: u64) -> Self {
        let payload = payload.min(PAYLOAD_MASK);
        Self { payload, ..self }
    }

    fn enter(self, phase: Phase, payload: u64) -> Self {
        let generation = (self.generation + 1) % GENERATIONS;
        let next = Self {
            phase,
            generation,
            ..self
        };
        next.with(payload)
    }

    fn permit(self, probe: bool) -> Permit {
        Permit {
            generation: self.generation,
            probe,
        }
    }
}

/// The numbers that steps depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Failures in a row that open it; `None`: any number passes.
    pub(super) consecutive: Option<u64>,
    /// How long it stays open, in milliseconds.
    pub(super) open_for: u64,
    /// Probes at once.
    pub(super) probes: u64,
    /// Probes that have to go well to close it.
    pub(super) successes: u64,
}

/// The word. `now` is in milliseconds, and asked for only where it matters: working it out costs more than the rest.
#[derive(Debug)]
pub(super) struct State(AtomicU64);

impl State {
    /// Closed, with nothing counted.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What it says now.
    pub(super) fn view(&self) -> View {
        View::decode(self.0.load(Ordering::Acquire))
    }

    /// A permit, and the phase that was entered by taking it; `Err` is the view that refused.
    pub(super) fn acquire(
        &self,
        limits: &Limits,
        now: impl Fn() -> u64,
    ) -> Result<(Permit, Option<Phase>), View> {
        loop {
            let seen = self.view();
            match seen.phase {
                Phase::Closed | Phase::ForcedClosed => return Ok((seen.permit(false), None)),
                Phase::ForcedOpen => return Err(seen),
                Phase::Open if now() < seen.until() => return Err(seen),
                Phase::Open => {
                    let next = seen.enter(Phase::HalfOpen, 1);
                    if self.step(seen, next) {
                        return Ok((next.permit(true), Some(Phase::HalfOpen)));
                    }
                }
                Phase::HalfOpen if seen.probes() >= limits.probes => return Err(seen),
                Phase::HalfOpen => {
                    if self.step(seen, seen.with(seen.payload + 1)) {
                        return Ok((seen.permit(true), None));
                    }
                }
            }
        }
    }

    /// Counts a success or a failure; the phase that was entered by it.
    pub(super) fn record(
        &self,
        permit: Permit,
        good: bool,
        limits: &Limits,
        now: impl Fn() -> u64,
    ) -> Option<Phase> {
        loop {
            let seen = self.view();
            if seen.generation != permit.generation {
                return None;
            }
            let next = match (seen.phase, good) {
                (Phase::Closed, true) => seen.with(0),
                (Phase::Closed, false) => {
                    let failures = seen.failures() + 1;
                    if limits.consecutive.is_some_and(|limit| failures >= limit) {
                        seen.opened(Trigger::Consecutive, limits, now())
                    } else {
                        seen.with(failures)
                    }
                }
                (Phase::HalfOpen, true) if seen.successes() + 1 >= limits.successes => {
                    seen.enter(Phase::Closed, 0)
                }
                (Phase::HalfOpen, true) => seen.with(seen.payload + (1 << PROBES_BITS) - 1),
                (Phase::HalfOpen, false) => seen.opened(seen.trigger, limits, now()),
                (Phase::Open | Phase::ForcedOpen | Phase::ForcedClosed, _) => return None,
            };
            if self.step(seen, next) {
                return (next.phase != seen.phase).then_some(next.phase);
            }
        }
    }

    /// Gives a permit back that says nothing.
    pub(super) fn release(&self, permit: Permit) {
        loop {
            let seen = self.view();
            let counted = seen.phase == Phase::HalfOpen && seen.generation == permit.generation;
            if !permit.probe || !counted || self.step(seen, seen.with(seen.payload - 1)) {
                return;
            }
        }
    }

    /// Opens it because of a rate, if it is still as it was when the permit was given; whether it did.
    pub(super) fn open(
        &self,
        permit: Permit,
        trigger: Trigger,
        limits: &Limits,
        now: impl Fn() -> u64,
    ) -> bool {
        loop {
            let seen = self.view();
            if seen.phase != Phase::Closed || seen.generation != permit.generation {
                return false;
            }
            if self.step(seen, seen.opened(trigger, limits, now())) {
                return true;
            }
        }
    }

    /// Whether it is closed, and has been since `permit` was given.
    pub(super) fn is_closed_for(&self, permit: Permit) -> bool {
        let seen = self.view();
        seen.phase == Phase::Closed && seen.generation == permit.generation
    }

    /// Goes to `phase` whatever it is; the phase before. Closed begins anew.
    pub(super) fn set(&self, phase: Phase) -> Phase {
        loop {
            let seen = self.view();
            if self.step(seen, seen.enter(phase, 0)) {
                return seen.phase;
            }
        }
    }

    fn step(&self, from: View, to: View) -> bool {
        let (from, to) = (from.encode(), to.encode());
        from == to
            || self
                .0
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }
}

impl View {
    fn opened(self, trigger: Trigger, limits: &Limits, now: u64) -> Self {
        let opened = self.enter(Phase::Open, now.saturating_add(limits.open_for));
        Self { trigger, ..opened }
    }
}
