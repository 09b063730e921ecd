//! The laws of a rate limit. What follows is no part of the program.

#[cfg(test)]
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn rate(requests: u32, per: Duration, burst: u32) -> Rate {
    Rate {
        requests: NonZeroU32::new(requests).unwrap(),
        per,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn epoch() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Admissions at these times, in nanoseconds from the epoch.
fn admissions(limiter: &Limiter, key: u64, gaps: &[u64]) -> Vec<u64> {
    let mut at = 0;
    let mut admitted = Vec::new();
    for gap in gaps {
        at += gap;
        if let Ok(outcome) = limiter.check(key, limiter.epoch + Duration::from_nanos(at)) {
            admitted.push(at + nanos(outcome.wait));
        }
    }
    admitted
}

/// More than `burst` + rate × time in some window, if so which.
fn excess(admitted: &[u64], rate: Rate) -> Option<(u64, u64, usize)> {
    for (first, begin) in admitted.iter().enumerate() {
        for (count, end) in (1u64..).zip(&admitted[first..]) {
            // In time × requests, to stay with whole numbers.
            let allowed = u128::from(rate.burst.get()) * rate.per.as_nanos()
                + u128::from(end - begin) * u128::from(rate.requests.get());
            if u128::from(count) * rate.per.as_nanos() > allowed {
                return Some((*begin, *end, usize::try_from(count).unwrap()));
            }
        }
    }
    None
}

fn gaps(longest: u64) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![Just(0), 0..longest, 0..longest * 20], 1..120)
}

proptest! {
    #[test]
    fn no_window_ever_sees_more_than_the_burst_and_the_rate(
        requests in 1u32..50, burst in 1u32..50, millis in 1u64..2000, keyed: bool, gaps in gaps(100_000_000)
    ) {
        let rate = rate(requests, Duration::from_millis(millis), burst);
        let limiter = if keyed {
            Limiter::keyed(rate, Duration::ZERO, 10, epoch())
        } else {
            Limiter::single(rate, Duration::ZERO, epoch())
        };
        prop_assert_eq!(excess(&admissions(&limiter, 7, &gaps), rate), None);
    }

    #[test]
    fn nor_when_requests_wait(
        requests in 1u32..50, burst in 1u32..50, patience in 1u64..2000, gaps in gaps(50_000_000)
    ) {
        let rate = rate(requests, SECOND, burst);
        let limiter = Limiter::single(rate, Duration::from_millis(patience), epoch());
        let admitted = admissions(&limiter, 0, &gaps);
        prop_assert!(admitted.is_sorted(), "first come, first served");
        prop_assert_eq!(excess(&admitted, rate), None);
    }

    #[test]
    fn a_client_that_keeps_to_the_rate_is_never_refused(
        requests in 1u32..1000, burst in 1u32..20, slower in prop::collection::vec(0u64..1_000_000, 1..200)
    ) {
        let rate = rate(requests, SECOND, burst);
        let limiter = Limiter::keyed(rate, Duration::ZERO, 10, epoch());
        let gaps: Vec<u64> = slower.iter().map(|slower| nanos(rate.interval()) + slower).collect();
        prop_assert_eq!(admissions(&limiter, 1, &gaps).len(), gaps.len());
    }

    #[test]
    fn a_full_bucket_gives_its_burst_at_once_and_then_one_an_interval(
        requests in 1u32..1000, burst in 1u32..100, pause in 0u64..3
    ) {
        let rate = rate(requests, SECOND, burst);
        let limiter = Limiter::single(rate, Duration::ZERO, epoch());
        let start = limiter.epoch + rate.fill() * u32::try_from(pause).unwrap();
        let admitted = (0..burst * 2).filter(|_| limiter.check(0, start).is_ok()).count();
        prop_assert_eq!(admitted, burst as usize);
        let refused = limiter.check(0, start).unwrap_err();
        prop_assert_eq!(refused.retry_after, rate.interval());
        prop_assert!(limiter.check(0, start + refused.retry_after - Duration::from_nanos(1)).is_err());
        prop_assert!(limiter.check(0, start + refused.retry_after).is_ok());
        prop_assert!(limiter.check(0, start + refused.retry_after).is_err());
    }

    #[test]
    fn a_token_put_back_is_as_if_it_had_not_been_taken(before in 0usize..10, burst in 2u32..10) {
        let rate = rate(10, SECOND, burst);
        let (one, other) = (Limiter::keyed(rate, Duration::ZERO, 9, epoch()), Limiter::keyed(rate, Duration::ZERO, 9, epoch()));
        for limiter in [&one, &other] {
            (0..before).for_each(|_| assert!(limiter.check(3, limiter.epoch).is_ok() || before > 1));
        }
        if one.check(3, one.epoch).is_ok() {
            one.put_back(3);
        }
        prop_assert_eq!(
            one.check(3, one.epoch).map(|it| it.remaining).map_err(|it| it.retry_after),
            other.check(3, other.epoch).map(|it| it.remaining).map_err(|it| it.retry_after)
        );
    }
}

#[test]
fn what_remains_is_told() {
    let limiter = Limiter::single(rate(10, SECOND, 3), Duration::ZERO, epoch());
    let now = limiter.epoch + SECOND;
    let seen: Vec<_> = (0..3)
        .map(|_| limiter.check(0, now).unwrap().remaining)
        .collect();
    assert_eq!(seen, [2, 1, 0]);
    let refused = limiter.check(0, now).unwrap_err();
    assert_eq!(refused.full_in, SECOND * 3 / 10);
}

#[test]
fn waiting_has_an_end_and_is_in_order() {
    let patience = Duration::from_millis(250);
    let limiter = Limiter::single(rate(10, SECOND, 1), patience, epoch());
    let waits: Vec<_> = (0..5).map(|_| limiter.check(0, limiter.epoch)).collect();
    let millis = |wait: &Result<Admitted, Refused>| wait.map(|it| it.wait.as_millis()).ok();
    assert_eq!(
        waits.iter().map(millis).collect::<Vec<_>>(),
        [Some(0), Some(100), Some(200), None, None]
    );
}

#[test]
fn patience_shorter_than_an_interval_is_kept_to() {
    let patience = Duration::from_millis(30);
    let limiter = Limiter::single(rate(10, SECOND, 1), patience, epoch());
    let at = |millis| limiter.check(0, limiter.epoch + Duration::from_millis(millis));
    assert!(at(0).is_ok());
    assert_eq!(at(69).unwrap_err().retry_after.as_millis(), 1);
    assert_eq!(at(71).unwrap().wait.as_millis(), 29);
    assert!(at(71).is_err());
}

#[test]
fn whoever_leaves_last_gives_the_place_back_and_whoever_leaves_before_does_not() {
    let limiter = Limiter::single(rate(10, SECOND, 1), SECOND, epoch());
    let places: Vec<_> = (0..3)
        .map(|_| limiter.check(0, limiter.epoch).unwrap())
        .collect();
    limiter.leave(0, &places[1]);
    assert_eq!(
        limiter.check(0, limiter.epoch).unwrap().wait.as_millis(),
        300
    );
    let last = limiter.check(0, limiter.epoch).unwrap();
    limiter.leave(0, &last);
    assert_eq!(limiter.check(0, limiter.epoch).unwrap().wait, last.wait);
}

#[test]
fn keys_do_not_share_buckets() {
    let limiter = Limiter::keyed(rate(1, SECOND, 1), Duration::ZERO, 100, epoch());
    for key in 0..100 {
        assert!(limiter.check(key, limiter.epoch).is_ok());
        assert!(limiter.check(key, limiter.epoch).is_err());
    }
    assert_eq!((limiter.keys(), limiter.evictions()), (100, 0));
}

#[test]
fn a_million_random_keys_stay_within_the_bound_and_do_not_free_whoever_is_limited() {
    const BOUND: usize = 4096;
    let limiter = Limiter::keyed(rate(10, SECOND, 10), Duration::ZERO, BOUND, epoch());
    let limited = 0x1234_5678_9abc_def0;
    let now = limiter.epoch + SECOND;
    while limiter.check(limited, now).is_ok() {}
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..1_000_000 {
        let _ = limiter.check(random.u64(..), now);
        if round % 1000 == 0 {
            assert!(limiter.keys() <= BOUND, "{}", limiter.keys());
            assert!(
                limiter.check(limited, now).is_err(),
                "forgotten after {round}"
            );
        }
    }
    assert_eq!(limiter.keys(), BOUND);
    assert!(
        limiter.table.room() <= 3 * BOUND,
        "{}",
        limiter.table.room()
    );
    assert!(limiter.evictions() > 990_000, "{}", limiter.evictions());
    limiter.sweep(now + SECOND * 2);
    assert_eq!(limiter.keys(), 0);
    assert!(
        limiter.table.room() <= BOUND / 4,
        "{}",
        limiter.table.room()
    );
}

#[test]
fn a_small_bound_is_exact() {
    let limiter = Limiter::keyed(rate(1, SECOND, 1), Duration::ZERO, 3, epoch());
    (0..10).for_each(|key| assert!(limiter.check(key, limiter.epoch).is_ok()));
    assert_eq!((limiter.keys(), limiter.evictions()), (3, 7));
}

#[test]
fn extreme_rates_do_not_overflow() {
    let day = SECOND * 24 * 3600;
    for (requests, per, burst) in [
        (1, day, 1_000_000),
        (1_000_000, Duration::from_millis(1), 1_000_000),
        (u32::MAX, Duration::from_nanos(1), u32::MAX),
        (1, day, u32::MAX),
    ] {
        let limiter = Limiter::keyed(rate(requests, per, burst), day, 2, epoch());
        for seconds in [0, 1, 1_000_000_000] {
            assert!(
                limiter
                    .check(
                        seconds,
                        limiter.epoch + SECOND * u32::try_from(seconds).unwrap()
                    )
                    .is_ok()
            );
        }
    }
}

#[test]
fn several_threads_take_no_more_than_there_is() {
    for keyed in [false, true] {
        let rate = rate(1, SECOND * 3600, 1000);
        let limiter = if keyed {
            Limiter::keyed(rate, Duration::ZERO, 2000, epoch())
        } else {
            Limiter::single(rate, Duration::ZERO, epoch())
        };
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                (0..1000)
                    .filter(|_| limiter.check(5, limiter.epoch).is_ok())
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 1000);
    }
}
