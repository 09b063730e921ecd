//! A circuit breaker with a name: what it decides is told to metrics, journal and log.
//!
//! Path: [`super::admission`] takes permits and gives results back; `admin` shows and forces. An upstream that has the
//! section `circuit_breaker` has one breaker of its own and one for each endpoint. `scope` says which of them count; those
//! that do not never open by themselves, but can be forced like the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::policy::circuit_breaker::{
    CircuitBreaker, Force, Permit, Phase, Refused, Settings, Transition, Trigger,
};
use crate::policy::failure::Verdict;
use crate::telemetry::breaker::BreakerMetrics;
use crate::telemetry::journal::{Change, Journal, Kind};
use crate::telemetry::metrics::Metrics;
use crate::units::Pretty;

/// Whether a breaker acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It refuses requests while it is open.
    Enforce,
    /// It only tells what it would have done.
    Observe,
}

impl Mode {
    /// The word in YAML and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Where breakers tell what happens to them.
#[derive(Debug, Clone)]
pub struct Ears {
    /// Where handles come from.
    pub metrics: Arc<Metrics>,
    /// Where changes are written down.
    pub journal: Arc<Journal>,
}

/// The breakers of one upstream.
#[derive(Debug)]
pub struct Breakers {
    /// The upstream's own.
    pub whole: Breaker,
    upstream: Arc<str>,
    endpoints: Settings,
    mode: Mode,
    ears: Ears,
}

impl Breakers {
    /// For `upstream`; the two settings are for its own breaker and for those of its endpoints.
    pub fn new(
        upstream: &Arc<str>,
        whole: Settings,
        endpoints: Settings,
        mode: Mode,
        ears: Ears,
    ) -> Self {
        Self {
            whole: Breaker::new(upstream, "", whole, mode, &ears),
            upstream: Arc::clone(upstream),
            endpoints,
            mode,
            ears,
        }
    }

    /// A breaker for the endpoint at `address`: closed, with nothing counted.
    pub fn for_endpoint(&self, address: &str) -> Breaker {
        let breaker = self.fresh(address);
        if self.whole.core.phase() == Phase::ForcedClosed {
            // An operator wants everything to pass, also at endpoints that come later.
            breaker.core.force(Force::Closed);
        }
        breaker
    }

    fn fresh(&self, address: &str) -> Breaker {
        Breaker::new(
            &self.upstream,
            address,
            self.endpoints,
            self.mode,
            &self.ears,
        )
    }
}

/// One breaker.
#[derive(Debug)]
pub struct Breaker {
    core: CircuitBreaker,
    settings: Settings,
    mode: Mode,
    upstream: Arc<str>,
    /// Empty for the upstream's own.
    endpoint: Box<str>,
    metrics: BreakerMetrics,
    journal: Arc<Journal>,
}

/// What there is to see of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Where it stands.
    pub phase: Phase,
    /// How long it stays open.
    pub remaining: Option<Duration>,
    /// Whether it acts.
    pub mode: Mode,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCircuit {
    /// Where the breaker stands.
    pub phase: Phase,
    /// How long it stays open, if that is known.
    pub remaining: Option<Duration>,
    /// The key in the section `circuit_breaker` that opened it; `None` when it was forced.
    pub key: Option<&'static str>,
    /// The value of that key.
    pub value: String,
}

impl Breaker {
    fn new(
        upstream: &Arc<str>,
        endpoint: &str,
        settings: Settings,
        mode: Mode,
        ears: &Ears,
    ) -> Self {
        let metrics = ears.metrics.breaker(upstream, endpoint, mode.as_str());
        Self {
            core: CircuitBreaker::new(&settings, tokio::time::Instant::now().into_std()),
            settings,
            mode,
            upstream: Arc::clone(upstream),
            endpoint: endpoint.into(),
            metrics,
            journal: Arc::clone(&ears.journal),
        }
    }

    /// The right to make an attempt; `None` when it does not count, because the breaker only observes.
    ///
    /// # Errors
    ///
    /// When no attempt may be made.
    pub fn acquire(&self, now: Instant) -> Result<Option<Permit>, Refused> {
        match self.core.acquire(now) {
            Ok(acquired) => {
                if let Some(transition) = acquired.transition {
                    self.tell(transition, Verdict::Ignored);
                }
                Ok(Some(acquired.permit))
            }
            Err(_) if self.mode == Mode::Observe => {
                self.metrics.rejected.inc();
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Whether [`Self::acquire`] would let an attempt be made.
    pub fn would_admit(&self, now: Instant) -> bool {
        self.mode == Mode::Observe || self.core.would_admit(now)
    }

    /// Takes note of how the attempt of `permit` went.
    pub fn record(&self, permit: Permit, verdict: Verdict, elapsed: Duration, now: Instant) {
        if let Some(transition) = self.core.record(permit, verdict, elapsed, now) {
            self.tell(transition, verdict);
        }
    }

    /// Gives `permit` back without a result.
    pub fn release(&self, permit: Permit) {
        self.core.release(permit);
    }

    /// Why it would refuse an attempt at `now`.
    pub fn refusal(&self, now: Instant) -> Option<OpenCircuit> {
        let refused = self
            .core
            .refusal(now)
            .filter(|_| self.mode == Mode::Enforce)?;
        let forced = refused.phase == Phase::ForcedOpen;
        let (key, value) = self.limit(refused.trigger);
        Some(OpenCircuit {
            phase: refused.phase,
            remaining: refused.remaining,
            key: (!forced).then_some(key),
            value,
        })
    }

    /// Counts a request that was refused.
    pub fn count_refused(&self) {
        self.metrics.rejected.inc();
    }

    /// Forces it, or with `None` lets it decide by itself again, from closed.
    pub fn force(&self, force: Option<Force>) {
        let from = match force {
            Some(force) => self.core.force(force),
            None => self.core.reset(),
        };
        self.entered(from, self.core.phase(), "by hand".into());
    }

    /// Takes over what an operator had forced on `other`, which it replaces.
    pub fn inherit(&self, other: &Self) {
        match other.core.phase() {
            Phase::ForcedOpen => drop(self.core.force(Force::Open)),
            Phase::ForcedClosed => drop(self.core.force(Force::Closed)),
            Phase::Closed | Phase::Open | Phase::HalfOpen => {}
        }
    }

    /// Sets the gauge of its state. Called when somebody looks: what a breaker of a refused configuration, or of one that is
    /// no more, would say must not be seen.
    pub fn show(&self) {
        let state = i64::try_from(state(self.core.phase()));
        self.metrics.state.set(state.unwrap_or_default());
    }

    /// Where it stands at `now`.
    pub fn status(&self, now: Instant) -> BreakerStatus {
        BreakerStatus {
            phase: self.core.phase(),
            remaining: self.core.refusal(now).and_then(|refused| refused.remaining),
            mode: self.mode,
        }
    }

    /// The key that `trigger` stands for, and its value.
    fn limit(&self, trigger: Trigger) -> (&'static str, String) {
        let Settings {
            consecutive_failures,
            error_rate,
            slow,
            ..
        } = self.settings;
        match trigger {
            Trigger::Consecutive => {
                let failures = consecutive_failures.unwrap_or_default();
                ("consecutive_failures", failures.to_string())
            }
            Trigger::ErrorRate => {
                let rate = error_rate.map_or(0, |rate| rate.0);
                ("error_rate", format!("{rate}%"))
            }
            Trigger::SlowRate => {
                let rate = slow.map_or(0, |slow| slow.rate.0);
                ("slow_rate", format!("{rate}%"))
            }
        }
    }

    fn tell(&self, transition: Transition, verdict: Verdict) {
        let Transition { from, to, trigger } = transition;
        self.entered(from, to, self.cause(from, to, trigger, verdict));
    }

    fn cause(&self, from: Phase, to: Phase, trigger: Trigger, verdict: Verdict) -> String {
        let settings = &self.settings;
        let last = match verdict {
            Verdict::Failure(failure) => failure.to_string(),
            Verdict::Success | Verdict::Ignored => "slow".into(),
        };
        match (from, to) {
            (Phase::HalfOpen, Phase::Open) => format!("a probe failed: {last}"),
            (_, Phase::Open) => {
                let (window, (_, limit)) = (Pretty::Time(settings.window), self.limit(trigger));
                match trigger {
                    Trigger::Consecutive => format!("{limit} × in a row, the last time: {last}"),
                    Trigger::ErrorRate => {
                        format!("{limit} or more failed within {window}, the last one: {last}")
                    }
                    Trigger::SlowRate => format!("{limit} or more were slow within {window}"),
                }
            }
            (_, Phase::HalfOpen) => {
                format!(
                    "{} are over; probes may pass",
                    Pretty::Time(settings.open_for)
                )
            }
            _ => format!("{} × a probe went well", settings.half_open_successes),
        }
    }

    fn entered(&self, from: Phase, to: Phase, cause: String) {
        let index = state(to);
        if let Some(counter) = self.metrics.transitions.get(index) {
            counter.inc();
        }
        let (upstream, endpoint) = (&*self.upstream, &*self.endpoint);
        let whom = if endpoint.is_empty() {
            format!("upstream `{upstream}`")
        } else {
            format!("{endpoint} of upstream `{upstream}`")
        };
        let observed = match self.mode {
            Mode::Enforce => "",
            Mode::Observe => " (observed only: nothing is refused)",
        };
        match to {
            Phase::Open => {
                let open_for = Pretty::Time(self.settings.open_for);
                let detail = format!("{whom} is not called for {open_for}: {cause}{observed}");
                tracing::warn!(detail, upstream, endpoint, "breaker open");
            }
            Phase::ForcedOpen => {
                let detail = format!("{whom} is not called until the breaker is closed: {cause}");
                tracing::warn!(detail, upstream, endpoint, "breaker open");
            }
            Phase::HalfOpen => {
                let detail = format!("{whom}: {cause}{observed}");
                tracing::info!(detail, upstream, endpoint, "breaker half-open");
            }
            Phase::Closed | Phase::ForcedClosed => {
                let detail = format!("{whom} is called again: {cause}{observed}");
                tracing::info!(detail, upstream, endpoint, "breaker closed");
            }
        }
        let subject = if endpoint.is_empty() {
            format!("upstreams.{upstream}")
        } else {
            format!("upstreams.{upstream}.endpoints.{endpoint}")
        };
        self.journal.append(Change {
            kind: Kind::CircuitBreaker,
            subject,
            from: word(from).into(),
            to: word(to).into(),
            cause,
        });
    }
}

/// The word for a phase, in events and views.
pub fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Closed => "closed",
        Phase::Open => "open",
        Phase::HalfOpen => "half_open",
        Phase::ForcedOpen => "forced_open",
        Phase::ForcedClosed => "forced_closed",
    }
}

/// The place of a phase in [`crate::telemetry::breaker::STATES`].
fn state(phase: Phase) -> usize {
    match phase {
        Phase::Closed | Phase::ForcedClosed => 0,
        Phase::HalfOpen => 1,
        Phase::Open | Phase::ForcedOpen => 2,
    }
}
