//! Endpoints whose requests fail are ejected, for a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// An app that answers 500 while `failing`.
fn app(failing: &Arc<AtomicBool>) -> Origin {
    let failing = Arc::clone(failing);
    Origin::start(move |_, peer| {
        let status = if failing.load(SeqCst) {
            "500 No"
        } else {
            "200 OK"
        };
        peer.answer(status, "ok");
        Then::KeepAlive
    })
}

fn flag(value: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(value))
}

fn proxy(apps: &[&Origin], outlier: &str) -> Proxy {
    let addresses: Vec<String> = apps.iter().map(|it| it.address().to_string()).collect();
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}], panic_threshold: off, outlier: {{ {outlier} }} }}\n",
        addresses.join(", ")
    ))
}

fn ejected(proxy: &Proxy) -> f64 {
    proxy.metric("outrigger_endpoints_ejected{upstream=\"app\"}")
}

fn ejections(proxy: &Proxy, app: &Origin, cause: &str) -> f64 {
    let address = app.address();
    proxy.metric(&format!(
        "outrigger_endpoint_ejections_total{{cause=\"{cause}\",endpoint=\"{address}\",upstream=\"app\"}}"
    ))
}

#[test]
fn failures_in_a_row_eject_and_time_brings_back() {
    let failing = flag(true);
    let (bad, good) = (app(&failing), app(&flag(false)));
    let proxy = proxy(&[&bad, &good], "eject_for: 300ms");
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..10).map(|_| client.get("/").status()).collect();
    assert_eq!(
        statuses.iter().filter(|it| **it == 500).count(),
        5,
        "{statuses:?}"
    );
    assert_eq!((bad.count(), good.count()), (5, 5));
    assert_eq!(
        (
            ejected(&proxy),
            ejections(&proxy, &bad, "consecutive_failures")
        ),
        (1.0, 1.0)
    );
    let view = proxy.control("/upstreams").text();
    assert!(
        view.contains("s more (5 failures in a row, the last: answered 500)"),
        "{view}"
    );
    failing.store(false, SeqCst);
    eventually("it is back", || {
        assert_eq!(client.get("/").status(), 200);
        bad.count() > 5
    });
    assert_eq!(ejected(&proxy), 0.0);
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let bad = app(&flag(true));
    let proxy = proxy(&[&bad], "");
    for _ in 0..20 {
        assert_eq!(proxy.client().get("/").status(), 500);
    }
    assert_eq!((bad.count(), ejected(&proxy)), (20, 0.0));
}

#[test]
fn unless_the_file_asks_for_it() {
    let bad = app(&flag(true));
    let proxy = proxy(&[&bad], "consecutive_failures: 3, max_ejected: 100%");
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").status(), 500);
    }
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 503);
    let text = answer.text();
    assert!(
        text.contains("ejected 30 s more (3 failures in a row"),
        "{text}"
    );
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 20
    );
    assert_eq!(bad.count(), 3);
}

#[test]
fn no_more_than_the_share_is_ejected() {
    let failing = flag(true);
    let apps: Vec<Origin> = (0..4).map(|_| app(&failing)).collect();
    let proxy = proxy(
        &apps.iter().collect::<Vec<_>>(),
        "consecutive_failures: 2, max_ejected: 50%",
    );
    for _ in 0..40 {
        proxy.client().get("/");
    }
    assert_eq!(ejected(&proxy), 2.0);
}

#[test]
fn a_low_success_rate_ejects_what_never_fails_often_in_a_row() {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let flaky = Origin::start(move |_, peer| {
        let fails = !turn.fetch_add(1, SeqCst).is_multiple_of(3);
        peer.answer(if fails { "500 No" } else { "200 OK" }, "ok");
        Then::KeepAlive
    });
    let good = app(&flag(false));
    let proxy = proxy(
        &[&flaky, &good],
        "success_rate: { below: 50%, min_requests: 10, window: 1h }",
    );
    for _ in 0..60 {
        proxy.client().get("/");
    }
    assert_eq!(ejections(&proxy, &flaky, "success_rate"), 1.0);
    // The tenth request was good; the eleventh failed.
    assert_eq!(flaky.count(), 11);
}

#[test]
fn a_dead_endpoint_is_ejected_with_its_error() {
    let dead = crate::support::free_address();
    let good = app(&flag(false));
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{dead}, {}], outlier: {{}} }}\n",
        good.address()
    ));
    for _ in 0..10 {
        proxy.client().get("/");
    }
    let view = proxy.control("/upstreams").text();
    assert!(
        view.contains(
            "ejected 30 s more (5 failures in a row, the last: connect: connection refused)"
        ),
        "{view}"
    );
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
}

#[test]
fn what_a_client_breaks_off_is_nobodys_failure() {
    let slow = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let other = app(&flag(false));
    let proxy = proxy(&[&slow, &other], "consecutive_failures: 2");
    for _ in 0..6 {
        let mut client = proxy.client();
        let before = slow.count() + other.count();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("it is under way", || slow.count() + other.count() > before);
    }
    eventually("all have ended", || {
        proxy.metric("http_requests_active{direction=\"inbound\",route=\"inbound\"}") == 0.0
    });
    assert_eq!((slow.count(), ejected(&proxy)), (3, 0.0));
}

#[test]
fn an_ejection_outlives_a_reload_of_the_upstream_and_ends_with_the_rules() {
    let (bad, good) = (app(&flag(true)), app(&flag(false)));
    let text = |more: &str| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
             upstreams:\n  app: {{ endpoints: [{}, {}]{more} }}\n",
            bad.address(),
            good.address()
        )
    };
    let proxy = Proxy::start(&text(", outlier: {}"));
    (0..10).for_each(|_| drop(proxy.client().get("/")));
    assert_eq!(ejected(&proxy), 1.0);
    proxy.reload(&text(", outlier: {}, balance: least_connections"));
    assert_eq!(ejected(&proxy), 1.0);
    (0..4).for_each(|_| assert_eq!(proxy.client().get("/").status(), 200));
    proxy.reload(&text(""));
    assert_eq!(ejected(&proxy), 0.0);
    let before = bad.count();
    (0..4).for_each(|_| drop(proxy.client().get("/")));
    assert_eq!(bad.count(), before + 2);
}
