//! Who is picked when endpoints are out of service, and what changes of the list do.

use super::address::Address;
use super::pool::HeadLimits;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};

use proptest::prelude::*;

use super::balance::Balance;
use super::members::{Listed, Settings};
use super::*;
use crate::policy::outlier::Cause;
use crate::telemetry::metrics::Metrics;

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint.address {
        Address::Socket(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

fn list(ports: &[u16]) -> Vec<Listed> {
    let listed = |port: &u16| {
        (
            SocketAddr::from(([127, 0, 0, 1], *port)).into(),
            NonZeroU32::MIN,
        )
    };
    ports.iter().map(listed).collect()
}

fn settings(balance: Balance, panic_threshold: u8) -> Settings {
    Settings {
        upstream: "app".into(),
        balance,
        panic_threshold: NonZeroU8::new(panic_threshold),
        workers: 1,
        metrics: Arc::new(Metrics::new().unwrap()),
        journal: Arc::default(),
        breakers: None,
    }
}

fn members(ports: &[u16], panic_threshold: u8) -> Members {
    let settings = settings(Balance::RoundRobin, panic_threshold);
    Members::new(settings, &list(ports), None, None, start())
}

fn rules(max_ejected: u8) -> Rules {
    Rules {
        consecutive_failures: NonZeroU32::new(1),
        success_rate: None,
        eject_for: Duration::from_secs(10),
        max_eject_for: Duration::from_secs(100),
        max_ejected: NonZeroU8::new(max_ejected).unwrap(),
    }
}

/// How often each port is picked in so many turns.
fn ports(members: &Members, turns: usize, now: Instant) -> Vec<(u16, usize)> {
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..turns {
        let picked = members.pick(&[], now, |_| true).unwrap();
        *seen.entry(port(&picked.endpoint)).or_default() += 1;
    }
    seen.into_iter().collect()
}

fn endpoint(members: &Members, index: usize) -> Arc<Endpoint> {
    members.load().iter().nth(index).map(Arc::clone).unwrap()
}

#[test]
fn what_was_tried_is_picked_again_only_if_there_is_nothing_else() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let now = start();
        let members = Members::new(settings(balance, 50), &list(&[1, 2, 3]), None, None, now);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let picked = members.pick(&tried, now, |_| true).unwrap();
            assert!(!tried.iter().any(|it| Arc::ptr_eq(it, &picked.endpoint)));
            tried.push(picked.endpoint);
        }
        assert!(members.pick(&tried, now, |_| true).is_some());
    }
}

#[test]
fn the_others_share_what_an_unhealthy_endpoint_leaves() {
    let members = members(&[1, 2, 3, 4], 50);
    let now = start();
    endpoint(&members, 1).set_healthy(false);
    members.refresh(now);
    assert_eq!(ports(&members, 30, now), [(1, 10), (3, 10), (4, 10)]);
    endpoint(&members, 1).set_healthy(true);
    members.refresh(now);
    assert_eq!(ports(&members, 40, now).len(), 4);
}

#[test]
fn an_ejection_ends_with_the_first_pick_after_its_time() {
    let members = members(&[1, 2, 3], 50);
    let now = start();
    let bad = endpoint(&members, 0);
    members.eject(&bad, &rules(50), Cause::ConsecutiveFailures, now);
    assert_eq!(ports(&members, 10, now), [(2, 5), (3, 5)]);
    assert!(bad.describe(now).starts_with("ejected 10 s more"));
    let later = now + Duration::from_secs(10);
    assert_eq!(ports(&members, 9, later).len(), 3);
    assert_eq!(bad.describe(later), "healthy");
    assert_eq!(members.load().crowd().ejected, 0);
}

#[test]
fn what_is_not_a_member_anymore_is_not_ejected() {
    let members = members(&[1, 2, 3], 50);
    let now = start();
    let gone = endpoint(&members, 0);
    let left = members.replace(&list(&[2, 3, 4]), now);
    assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &gone));
    members.eject(&gone, &rules(50), Cause::ConsecutiveFailures, now);
    assert!(!gone.tally.is_ejected());
}

#[test]
fn a_closed_upstream_changes_nothing_anymore() {
    let members = members(&[1, 2], 50);
    let now = start();
    members.close();
    assert!(members.replace(&list(&[3]), now).is_empty());
    members.eject(
        &endpoint(&members, 0),
        &rules(50),
        Cause::ConsecutiveFailures,
        now,
    );
    assert_eq!(ports(&members, 4, now), [(1, 2), (2, 2)]);
}

#[test]
fn no_endpoint_is_picked_where_there_is_none_in_service() {
    let now = start();
    assert!(members(&[], 50).pick(&[], now, |_| true).is_none());
    let members = members(&[1, 2], 0);
    for endpoint in members.load().iter() {
        endpoint.set_healthy(false);
    }
    members.refresh(now);
    assert!(members.pick(&[], now, |_| true).is_none());
}

#[test]
fn failures_of_a_kind_that_says_nothing_are_not_counted() {
    let now = start();
    let upstream = Arc::new(Upstream {
        name: "app".into(),
        members: members(&[1, 2], 50),
        discovery: None,
        health_check: None,
        outlier: Some(rules(50)),
        connect_timeout: Duration::from_secs(1),
        tls: None,
        idle_timeout: Duration::from_secs(1),
        upgraded_idle: None,
        pool: PoolSettings {
            max_idle: 1,
            idle_timeout: Duration::from_secs(1),
            max_age: None,
            preserve_header_case: false,
            connections: None,
            http2: super::http2::Http2Settings {
                max_streams: 1,
                window: 1,
                keepalive_interval: None,
                keepalive_timeout: Duration::ZERO,
                header_bytes: 8192,
            },
            head: HeadLimits::DEFAULT,
        },
        protocol: super::Protocol::Auto,
        proxy_header: None,
        limits: UpstreamLimits::default(),
        retry_budget: None,
        failure: Classifier::default(),
        breakers: None,
        copies: Arc::new(tokio::sync::Semaphore::new(1)),
        metrics: Metrics::new().unwrap().retries("app", &[]),
    });
    let admission = upstream.enter(&[], now).unwrap();
    let endpoint = admission.endpoint();
    for verdict in [Verdict::Ignored, Verdict::Success] {
        upstream.report(endpoint, verdict, Duration::ZERO, now);
        assert!(!endpoint.tally.is_ejected());
    }
    let failure = Verdict::Failure(Failure::Reset);
    upstream.report(endpoint, failure, Duration::ZERO, now);
    assert!(endpoint.tally.is_ejected());
    assert_eq!(
        &*endpoint.last_error().unwrap().text,
        "the connection broke"
    );
}

#[test]
fn changes_from_all_sides_at_once_leave_a_set_that_is_true() {
    let members = members(&[1, 2, 3, 4, 5, 6], 50);
    let now = start();
    let lists = [&[1, 2, 3, 4, 5, 6][..], &[2, 3, 4, 5, 6, 7]];
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let members = &members;
            scope.spawn(move || {
                for round in 0..200 {
                    let now = now + Duration::from_millis(round * 97);
                    let picked = members.pick(&[], now, |_| true);
                    let Some(picked) = picked.map(|member| member.endpoint) else {
                        continue;
                    };
                    match (round + worker) % 4 {
                        0 => members.eject(&picked, &rules(50), Cause::ConsecutiveFailures, now),
                        1 => picked.set_healthy(round % 3 > 0),
                        2 => drop(members.replace(&list(lists[usize::from(round % 8 > 3)]), now)),
                        _ => members.refresh(now),
                    }
                }
            });
        }
    });
    let later = now + Duration::from_secs(1000);
    members.refresh(later);
    let set = members.load();
    let crowd = set.crowd();
    let healthy = set.iter().filter(|it| it.is_healthy()).count();
    assert_eq!(
        (crowd.all, crowd.ejected, crowd.in_service),
        (6, 0, healthy)
    );
}

#[test]
fn an_error_is_kept_short_and_whole() {
    let members = members(&[1], 50);
    let endpoint = endpoint(&members, 0);
    endpoint.note_error(&"é".repeat(500), start());
    assert_eq!(&*endpoint.last_error().unwrap().text, "é".repeat(100));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_endpoints_in_service_are_picked_unless_it_is_a_panic(
        healthy in prop::collection::vec(any::<bool>(), 1..24), threshold in 0u8..=100, least in any::<bool>()
    ) {
        let now = start();
        let all: Vec<u16> = (1..).take(healthy.len()).collect();
        let balance = if least { Balance::LeastConnections } else { Balance::RoundRobin };
        let members = Members::new(settings(balance, threshold), &list(&all), None, None, now);
        for (endpoint, &healthy) in members.load().iter().zip(&healthy) {
            endpoint.set_healthy(healthy);
        }
        members.refresh(now);
        let in_service = healthy.iter().filter(|it| **it).count();
        let panic = in_service * 100 < healthy.len() * usize::from(threshold);
        prop_assert_eq!(members.load().is_panicking(), panic);
        for _ in 0..3 * healthy.len() {
            match members.pick(&[], now, |_| true) {
                Some(picked) => prop_assert!(panic || picked.endpoint.is_healthy()),
                None => prop_assert!(!panic && in_service == 0),
            }
        }
    }

    #[test]
    fn endpoints_whose_address_stays_are_the_same_object(
        before in prop::collection::btree_set(1u16..30, 0..20), after in prop::collection::btree_set(1u16..30, 0..20)
    ) {
        let now = start();
        let ports = |set: &std::collections::BTreeSet<u16>| list(&set.iter().copied().collect::<Vec<_>>());
        let members = Members::new(settings(Balance::RoundRobin, 50), &ports(&before), None, None, now);
        let old = members.load();
        let gone = members.replace(&ports(&after), now);
        let new = members.load();
        prop_assert_eq!(new.iter().len(), after.len());
        for endpoint in old.iter() {
            let stays = after.contains(&port(endpoint));
            let held = new.iter().any(|it| Arc::ptr_eq(it, endpoint));
            let left = gone.iter().any(|it| Arc::ptr_eq(it, endpoint));
            prop_assert_eq!((held, left), (stays, !stays));
        }
    }
}
