use super::super::backoff::Jitter;
use super::*;
use proptest::prelude::*;

const BASE: Duration = Duration::from_millis(25);

fn policy() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        on: Conditions {
            connect_failure: true,
            refused_stream: true,
            reset: true,
            attempt_timeout: true,
            throttled: true,
            statuses: vec![StatusCode::SERVICE_UNAVAILABLE],
            grpc: vec![14],
        },
        backoff: Backoff {
            base: BASE,
            max: BASE * 10,
            jitter: Jitter::None,
        },
        max_retry_after: Duration::from_secs(1),
        unsafe_methods: false,
    }
}

fn situation(ended: Ended) -> Situation {
    Situation {
        ended,
        made: 1,
        idempotent: true,
        body: Replayable::Yes,
        open: false,
        left: None,
        previous: Duration::ZERO,
        random: 0,
    }
}

fn answer(status: u16, hint: Hint) -> Ended {
    Ended::Answer {
        status: StatusCode::from_u16(status).unwrap(),
        grpc: None,
        hint,
    }
}

fn decide(change: impl FnOnce(&mut Situation)) -> Decision {
    let mut situation = situation(Ended::Reset);
    change(&mut situation);
    policy().decide(&situation, || true)
}

fn stands(why: NotRetried) -> Decision {
    Decision::Stands(Some(why))
}

#[test]
fn what_is_covered_is_tried_again_after_the_backoff() {
    for ended in [
        Ended::ConnectFailure,
        Ended::Refused,
        Ended::Reset,
        Ended::AttemptTimeout,
        answer(503, Hint::None),
    ] {
        assert_eq!(
            policy().decide(&situation(ended), || true),
            Decision::Retry(BASE),
            "{ended:?}"
        );
    }
    assert_eq!(decide(|it| it.made = 2), Decision::Retry(BASE * 2));
}

#[test]
fn what_is_not_covered_stands_without_a_reason() {
    for ended in [
        answer(200, Hint::None),
        answer(500, Hint::None),
        answer(404, Hint::None),
        // Without a hint, coming again at once would be the opposite of what is asked.
        answer(429, Hint::None),
        Ended::Final,
    ] {
        assert_eq!(
            policy().decide(&situation(ended), || panic!("the budget is not asked")),
            Decision::Stands(None),
            "{ended:?}"
        );
    }
}

#[test]
fn a_request_that_may_have_arrived_is_repeated_only_if_that_is_safe() {
    let unsafe_reset = |it: &mut Situation| it.idempotent = false;
    assert_eq!(decide(unsafe_reset), stands(NotRetried::UnsafeMethod));
    for ended in [Ended::ConnectFailure, Ended::Refused] {
        let decision = decide(|it| (it.idempotent, it.ended) = (false, ended));
        assert_eq!(
            decision,
            Decision::Retry(BASE),
            "{ended:?}: nothing was sent"
        );
    }
    let told = RetryPolicy {
        unsafe_methods: true,
        ..policy()
    };
    let mut situation = situation(Ended::Reset);
    situation.idempotent = false;
    assert_eq!(told.decide(&situation, || true), Decision::Retry(BASE));
}

#[test]
fn every_obstacle_has_its_name() {
    assert_eq!(decide(|it| it.made = 3), stands(NotRetried::Attempts));
    assert_eq!(
        decide(|it| it.body = Replayable::TooLarge),
        stands(NotRetried::BodyTooLarge)
    );
    assert_eq!(
        decide(|it| it.body = Replayable::NoMemory),
        stands(NotRetried::NoMemory)
    );
    assert_eq!(decide(|it| it.open = true), stands(NotRetried::CircuitOpen));
    assert_eq!(
        decide(|it| it.left = Some(BASE)),
        stands(NotRetried::Deadline)
    );
    assert_eq!(
        policy().decide(&situation(Ended::Reset), || false),
        stands(NotRetried::Budget)
    );
    let off = RetryPolicy {
        attempts: 1,
        ..policy()
    };
    assert_eq!(
        off.decide(&situation(Ended::Reset), || true),
        stands(NotRetried::Off)
    );
}

#[test]
fn a_hint_is_followed_as_far_as_it_fits() {
    let after = |millis| Hint::After(Duration::from_millis(millis));
    let decide = |hint, left: Option<u64>| {
        let mut situation = situation(answer(429, hint));
        situation.left = left.map(Duration::from_millis);
        policy().decide(&situation, || true)
    };
    assert_eq!(
        decide(after(800), None),
        Decision::Retry(Duration::from_millis(800))
    );
    assert_eq!(decide(after(1), None), Decision::Retry(BASE));
    assert_eq!(decide(after(800), Some(700)), stands(NotRetried::Deadline));
    assert_eq!(decide(after(1001), None), stands(NotRetried::RetryAfter));
    assert_eq!(decide(Hint::Never, None), stands(NotRetried::RetryAfter));
}

#[test]
fn hints_are_read_from_both_headers() {
    let read = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        hint(&headers)
    };
    assert_eq!(
        read("retry-after", "2"),
        Hint::After(Duration::from_secs(2))
    );
    assert_eq!(
        read("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),
        Hint::After(Duration::MAX)
    );
    assert_eq!(
        read("grpc-retry-pushback-ms", "30"),
        Hint::After(Duration::from_millis(30))
    );
    assert_eq!(read("grpc-retry-pushback-ms", "-1"), Hint::Never);
    assert_eq!(hint(&HeaderMap::new()), Hint::None);
}

#[test]
fn a_key_makes_a_post_idempotent() {
    let mut headers = HeaderMap::new();
    assert!(is_idempotent(&Method::PUT, &headers));
    assert!(!is_idempotent(&Method::POST, &headers));
    headers.insert("idempotency-key", HeaderValue::from_static("a"));
    assert!(is_idempotent(&Method::POST, &headers));
}

proptest! {
    #[test]
    fn no_retry_begins_past_the_deadline_or_beyond_the_attempts(
        made in 1u32..20, attempts in 1u32..10, left in 0u64..2000, asked in 0u64..3000, random: u64
    ) {
        let policy = RetryPolicy { attempts, backoff: Backoff { jitter: Jitter::Full, ..policy().backoff }, ..policy() };
        let mut situation = situation(answer(503, Hint::After(Duration::from_millis(asked))));
        situation.made = made;
        situation.left = Some(Duration::from_millis(left));
        situation.random = random;
        if let Decision::Retry(wait) = policy.decide(&situation, || true) {
            prop_assert!(made < attempts);
            prop_assert!(wait < Duration::from_millis(left));
            prop_assert!(wait >= Duration::from_millis(asked));
        }
    }
}
