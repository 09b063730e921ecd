//! What answers and failures do to what is known.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn named(host: &str, weight: u32) -> Target {
    Target {
        place: Place::Name {
            host: host.into(),
            port: 80,
        },
        weight: NonZeroU32::new(weight).unwrap(),
    }
}

fn found(ips: &[&str], ttl: u64) -> FamilyAnswer {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    FamilyAnswer::Addresses(ips, seconds(ttl))
}

fn failed() -> FamilyAnswer {
    FamilyAnswer::Failed(LookupResult::Timeout, "no answer".into())
}

fn directory(now: Instant) -> Directory {
    let mut directory = Directory::default();
    directory.list(vec![named("a", 3)], now);
    assert_eq!(directory.take_due(9, now).0.len(), 1);
    directory
}

fn addresses(directory: &Directory) -> Vec<String> {
    let listed = directory.addresses();
    listed
        .iter()
        .map(|(address, _)| address.to_string())
        .collect()
}

#[test]
fn an_answer_is_good_for_its_ttl_within_bounds() {
    for (ttl, wait) in [(0, 1), (1, 1), (30, 30), (3600, 3600), (1 << 31, 3600)] {
        let now = start();
        let mut directory = directory(now);
        let answer = Answer([found(&["10.0.0.1"], ttl), FamilyAnswer::Empty]);
        let told = directory.answered("a", answer, now);
        assert_eq!(told, Some((LookupResult::Ok, None)));
        assert_eq!(
            directory.take_due(9, now),
            (Vec::new(), Some(now + seconds(wait)))
        );
    }
}

#[test]
fn a_family_that_fails_keeps_its_addresses_and_the_other_goes_on() {
    let now = start();
    let mut directory = directory(now);
    let both = Answer([found(&["10.0.0.1"], 60), found(&["::1"], 60)]);
    directory.answered("a", both, now);
    let half = Answer([found(&["10.0.0.2"], 60), failed()]);
    let (result, news) = directory.answered("a", half.clone(), now).unwrap();
    assert_eq!(
        (result, news),
        (LookupResult::Timeout, Some(News::Fails("no answer".into())))
    );
    assert_eq!(addresses(&directory), ["10.0.0.2:80", "[::1]:80"]);
    assert_eq!(
        directory.answered("a", half, now).unwrap().1,
        None,
        "told once"
    );
    let one = Answer([found(&["10.0.0.2"], 60), FamilyAnswer::Empty]);
    assert_eq!(
        directory.answered("a", one, now).unwrap().1,
        Some(News::Recovers)
    );
    assert_eq!(addresses(&directory), ["10.0.0.2:80"]);
    assert_eq!(directory.trouble(), None);
}

#[test]
fn failures_are_retried_more_and_more_rarely() {
    let now = start();
    let mut directory = directory(now);
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            directory.answered("a", Answer([failed(), failed()]), now);
            (directory.take_due(9, now).1.unwrap() - now).as_secs()
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn a_name_that_is_not_listed_anymore_is_forgotten_with_its_answer() {
    let now = start();
    let mut directory = directory(now);
    directory.list(vec![named("b", 1)], now);
    let answer = Answer([found(&["10.0.0.1"], 60), FamilyAnswer::Empty]);
    assert_eq!(directory.answered("a", answer, now), None);
    assert!(addresses(&directory).is_empty());
    assert_eq!(
        directory.take_due(0, now),
        (Vec::new(), Some(now)),
        "no room"
    );
}

#[test]
fn weights_are_carried_and_an_address_counts_once() {
    let now = start();
    let mut directory = directory(now);
    directory.list(vec![named("a", 3), named("b", 1)], now);
    for host in ["a", "b"] {
        let answer = Answer([found(&["10.0.0.1", "10.0.0.2"], 60), FamilyAnswer::Empty]);
        directory.answered(host, answer, now);
    }
    let weights: Vec<u32> = directory.addresses().iter().map(|it| it.1.get()).collect();
    assert_eq!(weights, [3, 3]);
}

#[test]
fn it_is_settled_when_each_name_has_answered_or_failed() {
    let now = start();
    let mut directory = directory(now);
    assert!(!directory.is_settled());
    assert_eq!(directory.trouble().unwrap(), "`a`: not answered yet");
    directory.answered("a", Answer([failed(), FamilyAnswer::NotAsked]), now);
    assert!(directory.is_settled());
    assert_eq!(directory.trouble().unwrap(), "`a`: no answer");
    directory.file_refused("gone");
    assert_eq!(directory.trouble().unwrap(), "gone; `a`: no answer");
}

fn family() -> impl Strategy<Value = FamilyAnswer> {
    prop_oneof![
        Just(FamilyAnswer::NotAsked),
        Just(FamilyAnswer::Empty),
        Just(failed()),
        (
            prop::collection::btree_set(any::<u32>(), 1..2000),
            any::<u32>()
        )
            .prop_map(|(ips, ttl)| {
                let ips = ips.into_iter().map(|ip| IpAddr::from(ip.to_be_bytes()));
                FamilyAnswer::Addresses(ips.collect(), seconds(ttl.into()))
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_answered_no_failure_takes_away_and_no_wait_is_too_short_or_too_long(
        answers in prop::collection::vec((family(), family()), 1..12)
    ) {
        let now = start();
        let mut directory = directory(now);
        for (v4, v6) in answers {
            let before = directory.addresses().len();
            let asked = v4 != FamilyAnswer::NotAsked && v6 != FamilyAnswer::NotAsked;
            let found = [&v4, &v6].iter().any(|it| matches!(it, FamilyAnswer::Addresses(..)));
            directory.answered("a", Answer([v4, v6]), now);
            let after = directory.addresses().len();
            prop_assert!(after <= MAX_ENDPOINTS);
            prop_assert!(found || !asked || after == before);
            let wait = directory.take_due(9, now).1.unwrap() - now;
            prop_assert!(wait >= MIN_TTL && wait <= MAX_TTL);
        }
    }
}
