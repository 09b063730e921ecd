//! The laws of ejection.

use super::*;
use proptest::prelude::*;

fn rules() -> Rules {
    Rules {
        consecutive_failures: NonZeroU32::new(5),
        success_rate: None,
        eject_for: Duration::from_secs(30),
        max_eject_for: Duration::from_secs(100),
        max_ejected: NonZeroU8::new(50).unwrap(),
    }
}

fn rate(below: u8, min_requests: u32) -> Rules {
    Rules {
        consecutive_failures: None,
        success_rate: Some(SuccessRate {
            below: NonZeroU8::new(below).unwrap(),
            min_requests: NonZeroU32::new(min_requests).unwrap(),
            window: Duration::from_secs(10),
        }),
        ..rules()
    }
}

#[test]
fn a_success_ends_the_row() {
    let now = start();
    let tally = Tally::new(now);
    let outcomes = [Outcome::Failure; 4].into_iter().chain([Outcome::Success]);
    for outcome in outcomes.cycle().take(50) {
        assert_eq!(tally.record(&rules(), outcome, now), None);
    }
    for _ in 0..4 {
        assert_eq!(tally.record(&rules(), Outcome::Failure, now), None);
    }
    assert_eq!(
        tally.record(&rules(), Outcome::Failure, now),
        Some(Cause::ConsecutiveFailures)
    );
}

#[test]
fn a_low_share_ejects_once_there_are_enough_requests_in_one_window() {
    let now = start();
    let tally = Tally::new(now);
    let rules = rate(50, 10);
    // Half of them succeed: that is not below a half.
    for n in 0..20 {
        let outcome = if n % 2 == 0 {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        let seen = tally.record(&rules, outcome, now);
        assert_eq!(seen.is_some(), n >= 10 && n % 2 == 0, "request {n}");
    }
    // The next window begins with nothing.
    let later = now + Duration::from_secs(10);
    for _ in 0..9 {
        assert_eq!(tally.record(&rules, Outcome::Failure, later), None);
    }
    assert_eq!(
        tally.record(&rules, Outcome::Failure, later),
        Some(Cause::SuccessRate)
    );
}

#[test]
fn ejections_grow_and_shrink_again() {
    let mut now = start();
    let tally = Tally::new(now);
    let mut seconds = |good: u64| {
        now += Duration::from_secs(good);
        let length = tally.eject(&rules(), now);
        assert_eq!(tally.ejected_for(now), Some(length));
        now += length;
        assert_eq!(tally.ejected_for(now), None);
        assert!(tally.is_ejected());
        tally.readmit();
        assert!(!tally.is_ejected());
        length.as_secs()
    };
    assert_eq!(seconds(0), 30);
    assert_eq!(seconds(1), 60);
    assert_eq!(seconds(29), 90);
    assert_eq!(seconds(0), 100, "no longer than the maximum");
    assert_eq!(seconds(60), 90, "two steps back, one forward");
    assert_eq!(seconds(3600), 30);
}

proptest! {
    #[test]
    fn never_too_many_are_ejected_and_never_the_last_one(
        all in 1usize..60, share in 1u8..=100, unhealthy in 0usize..60
    ) {
        let max_ejected = NonZeroU8::new(share).unwrap();
        let unhealthy = unhealthy.min(all);
        let mut crowd = Crowd { all, ejected: 0, in_service: all - unhealthy };
        while crowd.in_service > 0 && may_eject(crowd, max_ejected) {
            crowd.ejected += 1;
            crowd.in_service -= 1;
        }
        if share < 100 {
            prop_assert!(crowd.ejected <= 1.max(all * usize::from(share) / 100));
            prop_assert!(crowd.in_service > 0 || unhealthy == all);
        } else {
            prop_assert_eq!(crowd.in_service, 0);
        }
        if all > 1 && unhealthy == 0 {
            prop_assert!(crowd.ejected > 0, "one of two may always go");
        }
    }

    #[test]
    fn an_ejection_lasts_as_long_as_the_rules_say(
        ejections in prop::collection::vec(0u64..200_000, 1..40)
    ) {
        let rules = rules();
        let mut now = start();
        let tally = Tally::new(now);
        for good in ejections {
            now += Duration::from_millis(good);
            let length = tally.eject(&rules, now);
            prop_assert!(length >= rules.eject_for && length <= rules.max_eject_for);
            now += length;
            tally.readmit();
        }
    }

    #[test]
    fn only_failures_eject(outcomes in prop::collection::vec(any::<bool>(), 0..200), below in 1u8..=100) {
        let now = start();
        let tally = Tally::new(now);
        let rules = Rules { consecutive_failures: NonZeroU32::new(3), ..rate(below, 5) };
        let mut in_a_row = 0;
        let (mut all, mut good) = (0u64, 0u64);
        for success in outcomes {
            all += 1;
            let outcome = if success { Outcome::Success } else { Outcome::Failure };
            if success { in_a_row = 0; good += 1 } else { in_a_row += 1 }
            let expected = if success {
                None
            } else if in_a_row >= 3 {
                Some(Cause::ConsecutiveFailures)
            } else {
                (all >= 5 && good * 100 < all * u64::from(below)).then_some(Cause::SuccessRate)
            };
            prop_assert_eq!(tally.record(&rules, outcome, now), expected);
        }
    }

    #[test]
    fn counts_survive_packing(number in 0u64..=NUMBER, requests in 0u64..=COUNT, failures in 0u64..=COUNT) {
        let window = Window { number, requests, failures: failures.min(requests) };
        prop_assert_eq!(Window::unpack(window.pack()), window);
        let next = window.count(number, Outcome::Failure);
        prop_assert!(next.requests <= COUNT && next.failures <= next.requests);
    }
}
