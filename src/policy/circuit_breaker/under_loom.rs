//! The interleavings of three threads on one breaker's word with up to two preemptions, tried out by loom, which also
//! reorders what relaxed orderings allow. (Without that bound there are too many to wait for; most defects need one or
//! two: Musuvathi and Qadeer 2007.) `state` is compiled here a second time, with loom's atomics.

#[allow(
    clippy::duplicate_mod,
    dead_code,
    unreachable_pub,
    reason = "the same source with other atomics; not all of it is used here"
)]
#[path = "state.rs"]
mod state;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use state::{Limits, Phase, State};

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}

const LIMITS: Limits = Limits {
    consecutive: Some(2),
    open_for: 10,
    probes: 1,
    successes: 1,
};

/// A breaker that was opened at 0.
fn opened(limits: &Limits) -> State {
    let state = State::new();
    for _ in 0..2 {
        let (permit, _) = state.acquire(limits, || 0).unwrap();
        state.record(permit, false, limits, || 0);
    }
    assert_eq!(state.view().phase, Phase::Open);
    state
}

/// What a thread does with its probe.
#[derive(Clone, Copy)]
enum Then {
    Record(bool),
    Release,
}

fn race_for_probes(limits: Limits, then: [Then; 3]) {
    model(move || {
        let state = Arc::new(opened(&limits));
        let under_way = Arc::new(AtomicUsize::new(0));
        let threads = then.map(|then| {
            let (state, under_way) = (Arc::clone(&state), Arc::clone(&under_way));
            move || {
                let Ok((permit, _)) = state.acquire(&limits, || 10) else {
                    return;
                };
                if !permit.is_probe() {
                    // Closed meanwhile by somebody else's success.
                    return;
                }
                let before = under_way.fetch_add(1, Ordering::SeqCst) as u64;
                assert!(before < limits.probes, "{before} probes were under way");
                under_way.fetch_sub(1, Ordering::SeqCst);
                match then {
                    Then::Record(good) => drop(state.record(permit, good, &limits, || 10)),
                    Then::Release => state.release(permit),
                }
            }
        });
        let [first, second, third] = threads;
        let others = [thread::spawn(first), thread::spawn(second)];
        third();
        others.into_iter().for_each(|other| other.join().unwrap());
        let seen = state.view();
        assert!(
            seen.phase != Phase::HalfOpen || seen.probes() == 0,
            "{seen:?}"
        );
        // Whatever happened, after one more wait a request gets through.
        assert!(state.acquire(&limits, || 20).is_ok());
    });
}

#[test]
fn never_more_than_one_probe_and_no_place_is_lost_when_all_are_dropped() {
    race_for_probes(LIMITS, [Then::Release; 3]);
}

#[test]
fn never_more_than_one_probe_when_some_succeed_and_some_fail() {
    race_for_probes(
        LIMITS,
        [Then::Record(true), Then::Record(false), Then::Release],
    );
}

#[test]
fn never_more_than_two_probes_and_each_success_counts_once() {
    let limits = Limits {
        probes: 2,
        successes: 2,
        ..LIMITS
    };
    race_for_probes(
        limits,
        [Then::Record(true), Then::Record(true), Then::Release],
    );
}

#[test]
fn exactly_one_of_the_failures_opens_it_and_late_ones_do_not_count() {
    model(|| {
        let state = Arc::new(State::new());
        let permits = [(); 3].map(|()| state.acquire(&LIMITS, || 0).unwrap().0);
        let openers = Arc::new(AtomicUsize::new(0));
        let threads = permits.map(|permit| {
            let (state, openers) = (Arc::clone(&state), Arc::clone(&openers));
            move || {
                if state.record(permit, false, &LIMITS, || 0).is_some() {
                    openers.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let [first, second, third] = threads;
        let others = [thread::spawn(first), thread::spawn(second)];
        third();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(openers.load(Ordering::SeqCst), 1);
        assert_eq!(state.view().phase, Phase::Open);
    });
}

#[test]
fn what_an_operator_sets_stays_whatever_results_come_in() {
    model(|| {
        let state = Arc::new(opened(&LIMITS));
        let own = Arc::clone(&state);
        let probing = thread::spawn(move || {
            if let Ok((permit, _)) = own.acquire(&LIMITS, || 10) {
                own.record(permit, false, &LIMITS, || 10);
            }
        });
        state.set(Phase::ForcedClosed);
        probing.join().unwrap();
        assert_eq!(state.view().phase, Phase::ForcedClosed);
    });
}
