//! The laws of a breaker, for any order of events.

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::StatusCode;
    use proptest::prelude::*;

    use crate::policy::circuit_breaker::{
        CircuitBreaker, Force, Permit, Phase, Rate, Settings, Slow, Trigger,
    };
    use crate::policy::failure::{Failure, Verdict};

    const FAILED: Verdict = Verdict::Failure(Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
    const FAST: Duration = Duration::from_millis(1);

    fn settings() -> Settings {
        Settings {
            consecutive_failures: Some(5),
            open_for: Duration::from_secs(10),
            ..Settings::IDLE
        }
    }

    fn epoch() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn after(epoch: Instant, millis: u64) -> Instant {
        epoch + Duration::from_millis(millis)
    }

    fn run(breaker: &CircuitBreaker, verdict: Verdict, now: Instant) -> Option<Phase> {
        let permit = breaker.acquire(now).unwrap().permit;
        breaker.record(permit, verdict, FAST, now).map(|it| it.to)
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Wait(u64),
        Acquire,
        /// Gives back the n-th permit held.
        Return(usize, Verdict),
        Drop(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        let verdict = prop_oneof![
            2 => Just(FAILED),
            2 => Just(Verdict::Success),
            1 => Just(Verdict::Ignored)
        ];
        prop_oneof![
            1 => (0u64..3000).prop_map(Event::Wait),
            4 => Just(Event::Acquire),
            3 => (any::<usize>(), verdict).prop_map(|(n, verdict)| Event::Return(n, verdict)),
            1 => any::<usize>().prop_map(Event::Drop),
        ]
    }

    proptest! {
        #[test]
        fn never_more_probes_than_allowed_and_always_a_way_back(
            events in prop::collection::vec(event(), 1..400), max in 1u32..4, successes in 1u32..4
        ) {
            let settings = Settings {
                consecutive_failures: Some(2),
                open_for: Duration::from_secs(2),
                half_open_max: max,
                half_open_successes: successes,
                ..settings()
            };
            let epoch = epoch();
            let breaker = CircuitBreaker::new(&settings, epoch);
            let mut now = 0;
            let mut held: Vec<(Permit, u64)> = Vec::new();
            // Half-open begins anew each time it is entered; probes of an earlier time are not counted any more.
            let mut episode = 0;
            for event in events {
                match event {
                    Event::Wait(millis) => now += millis,
                    Event::Acquire => {
                        let expected = breaker.would_admit(after(epoch, now));
                        let acquired = breaker.acquire(after(epoch, now));
                        prop_assert_eq!(acquired.is_ok(), expected);
                        if let Ok(acquired) = acquired {
                            episode += u64::from(acquired.transition.is_some());
                            held.push((acquired.permit, episode));
                        }
                    }
                    Event::Return(n, verdict) if !held.is_empty() => {
                        let (permit, _) = held.swap_remove(n % held.len());
                        let before = breaker.phase();
                        let moved = breaker.record(permit, verdict, FAST, after(epoch, now));
                        prop_assert_eq!(moved.is_some(), before != breaker.phase());
                        if verdict == Verdict::Ignored {
                            prop_assert!(moved.is_none());
                        }
                    }
                    Event::Drop(n) if !held.is_empty() => {
                        let before = breaker.phase();
                        breaker.release(held.swap_remove(n % held.len()).0);
                        prop_assert_eq!(before, breaker.phase());
                    }
                    Event::Return(..) | Event::Drop(_) => {}
                }
                let probes = held.iter().filter(|(permit, of)| permit.is_probe() && *of == episode);
                if breaker.phase() == Phase::HalfOpen {
                    prop_assert!(probes.count() <= max as usize);
                }
            }
            held.drain(..).for_each(|(permit, _)| breaker.release(permit));
            prop_assert!(breaker.would_admit(after(epoch, now + 2000)), "stuck in {:?}", breaker.phase());
        }

        #[test]
        fn it_opens_with_the_failure_that_reaches_the_threshold_and_no_other(
            threshold in 1u32..20, interruptions in prop::collection::vec(0u32..19, 0..10)
        ) {
            let epoch = epoch();
            let consecutive_failures = Some(threshold);
            let breaker = CircuitBreaker::new(&Settings { consecutive_failures, ..settings() }, epoch);
            for failures in interruptions {
                for _ in 0..failures % threshold {
                    prop_assert_eq!(run(&breaker, FAILED, epoch), None);
                    prop_assert_eq!(run(&breaker, Verdict::Ignored, epoch), None);
                }
                prop_assert_eq!(run(&breaker, Verdict::Success, epoch), None);
            }
            for _ in 1..threshold {
                prop_assert_eq!(run(&breaker, FAILED, epoch), None);
            }
            prop_assert_eq!(run(&breaker, FAILED, epoch), Some(Phase::Open));
        }

        #[test]
        fn open_lasts_as_long_as_it_should(open_for in 1u64..100_000, opened in 0u64..1_000_000, early in 1u64..100_000) {
            let epoch = epoch();
            let settings = Settings {
                consecutive_failures: Some(1),
                open_for: Duration::from_millis(open_for),
                ..settings()
            };
            let breaker = CircuitBreaker::new(&settings, epoch);
            run(&breaker, FAILED, after(epoch, opened));
            let early = early.min(open_for);
            let refused = breaker.acquire(after(epoch, opened + open_for - early)).unwrap_err();
            prop_assert_eq!(refused.remaining, Some(Duration::from_millis(early)));
            let probe = breaker.acquire(after(epoch, opened + open_for)).unwrap();
            prop_assert_eq!(probe.transition.map(|it| it.to), Some(Phase::HalfOpen));
        }

        #[test]
        fn a_share_opens_it_as_soon_as_there_are_enough_and_never_before(
            outcomes in prop::collection::vec(any::<bool>(), 1..100), rate in 1u8..=100, min_requests in 1u32..30
        ) {
            let epoch = epoch();
            let settings = Settings {
                consecutive_failures: None,
                error_rate: Some(Rate(rate)),
                min_requests,
                ..settings()
            };
            let breaker = CircuitBreaker::new(&settings, epoch);
            let (mut all, mut bad) = (0u64, 0u64);
            for failed in outcomes {
                (all, bad) = (all + 1, bad + u64::from(failed));
                let verdict = if failed { FAILED } else { Verdict::Success };
                let expected = failed && all >= u64::from(min_requests) && bad * 100 >= all * u64::from(rate);
                let moved = run(&breaker, verdict, epoch);
                prop_assert_eq!(moved, expected.then_some(Phase::Open));
                if expected {
                    break;
                }
            }
        }
    }

    fn opened(settings: &Settings, epoch: Instant) -> CircuitBreaker {
        let breaker = CircuitBreaker::new(settings, epoch);
        for _ in 0..5 {
            run(&breaker, FAILED, epoch);
        }
        assert_eq!(breaker.phase(), Phase::Open);
        breaker
    }

    #[test]
    fn results_of_requests_that_began_before_it_opened_say_nothing() {
        let epoch = epoch();
        let breaker = CircuitBreaker::new(&settings(), epoch);
        let late: Vec<Permit> = (0..8)
            .map(|_| breaker.acquire(epoch).unwrap().permit)
            .collect();
        for _ in 0..5 {
            run(&breaker, FAILED, epoch);
        }
        let probe = breaker.acquire(after(epoch, 10_000)).unwrap().permit;
        for (permit, verdict) in late
            .into_iter()
            .zip([FAILED, Verdict::Success].into_iter().cycle())
        {
            let moved = breaker.record(permit, verdict, FAST, after(epoch, 10_000));
            assert_eq!((moved, breaker.phase()), (None, Phase::HalfOpen));
        }
        let closed = breaker.record(probe, Verdict::Success, FAST, after(epoch, 10_001));
        assert_eq!(closed.unwrap().to, Phase::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_as_long_again() {
        let epoch = epoch();
        let breaker = opened(&settings(), epoch);
        assert_eq!(
            run(&breaker, FAILED, after(epoch, 10_000)),
            Some(Phase::Open)
        );
        let refused = breaker.acquire(after(epoch, 19_999)).unwrap_err();
        assert_eq!(refused.remaining, Some(Duration::from_millis(1)));
    }

    #[test]
    fn slow_answers_open_it_and_what_was_counted_before_is_forgotten() {
        let epoch = epoch();
        let from = Duration::from_secs(2);
        let settings = Settings {
            slow: Some(Slow {
                from,
                rate: Rate(50),
            }),
            min_requests: 4,
            ..settings()
        };
        let breaker = CircuitBreaker::new(&settings, epoch);
        let slow = |millis, took| {
            let permit = breaker.acquire(after(epoch, millis)).unwrap().permit;
            breaker.record(permit, Verdict::Success, took, after(epoch, millis))
        };
        for took in [FAST, FAST, from] {
            assert_eq!(slow(0, took), None);
        }
        let moved = slow(0, from).unwrap();
        assert_eq!(
            (moved.to, moved.trigger),
            (Phase::Open, Trigger::SlowRate),
            "two of four"
        );
        assert_eq!(slow(10_000, from).unwrap().to, Phase::Closed);
        assert_eq!(slow(10_000, from), None, "one is not enough");
    }

    #[test]
    fn a_forced_state_stays_until_it_is_reset() {
        let epoch = epoch();
        let breaker = opened(&settings(), epoch);
        assert_eq!(breaker.force(Force::Closed), Phase::Open);
        for _ in 0..20 {
            assert_eq!(run(&breaker, FAILED, epoch), None);
        }
        breaker.force(Force::Open);
        let refused = breaker.acquire(after(epoch, 1_000_000)).unwrap_err();
        assert_eq!(
            (refused.phase, refused.remaining),
            (Phase::ForcedOpen, None)
        );
        breaker.reset();
        assert_eq!(run(&breaker, FAILED, epoch), None, "nothing is counted");
        assert_eq!(breaker.phase(), Phase::Closed);
    }
}
