//! An upstream that fails is left alone for a while; what that means for its clients, and who does not count.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrigger::admin::status::Outcome;

use crate::support::client::{Answer, Client};
use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, free_address};

/// In front of `endpoints`, with this section `circuit_breaker` and further lines of the upstream.
fn yaml(endpoints: &[std::net::SocketAddr], breaker: &str, more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: inbound, forward: app, retry: off }}]\nupstreams:\n  app:\n    endpoints: [{}]\n    \
         circuit_breaker: {breaker}\n{more}",
        endpoints.join(", ")
    )
}

/// An app that fails while `failing` is true.
fn flaky() -> (Origin, Arc<AtomicBool>) {
    let failing = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&failing);
    let origin = Origin::start(move |request, peer| {
        peer.body(request);
        let status = if own.load(Ordering::SeqCst) {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        peer.answer(status, "from the app");
        Then::KeepAlive
    });
    (origin, failing)
}

fn is_refused(answer: &Answer) -> bool {
    answer.status() == 503 && answer.text().contains("CIRCUIT_OPEN")
}

fn state(proxy: &Proxy, endpoint: impl std::fmt::Display) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_circuit_breaker_state{{endpoint="{endpoint}",upstream="app"}}"#
    ))
}

#[test]
fn five_failures_in_a_row_open_it_and_requests_are_refused_at_once_with_the_reason() {
    let (origin, _) = flaky();
    let proxy = Proxy::start(&yaml(&[origin.address()], "{}", ""));
    let mut client = proxy.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_eq!((answer.status(), &*answer.text()), (503, "from the app"));
    }
    let begun = Instant::now();
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = client.get("/");
        quickest = quickest.min(begun.elapsed());
        assert!(is_refused(&answer), "{answer:?}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        let json = answer.json();
        let message = json["message"].as_str().unwrap();
        let expected = format!(
            "upstream `app` is not being called: its circuit breaker is open for another {wait} s"
        );
        assert_eq!(message, expected);
        let limit = &json["details"]["limit"];
        assert_eq!(
            limit["key"],
            "upstreams.app.circuit_breaker.consecutive_failures"
        );
        assert_eq!(limit["value"], "5");
        let last = format!("{} answered 503", origin.address());
        assert_eq!(json["details"]["last_error"], last);
    }
    assert!(quickest < Duration::from_millis(5), "{quickest:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "it is still open");
    assert_eq!(origin.count(), 5, "nothing more reached the app");
    assert_eq!(state(&proxy, origin.address()), 2.0);
    let rejected = r#"outrigger_circuit_breaker_rejected_total{mode="enforce",upstream="app"}"#;
    assert_eq!(proxy.metric(rejected), 20.0);
}

#[test]
fn without_the_section_nothing_is_refused() {
    let (origin, _) = flaky();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..30 {
        assert_eq!(client.get("/").text(), "from the app");
    }
}

#[test]
fn after_its_time_a_probe_that_goes_well_closes_it() {
    let (origin, failing) = flaky();
    let breaker = "{ consecutive_failures: 1, open_for: 100ms }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    assert_eq!(proxy.client().get("/").text(), "from the app");
    assert!(is_refused(&proxy.client().get("/")));
    failing.store(false, Ordering::SeqCst);
    eventually("a probe passes", || proxy.client().get("/").status() == 200);
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    assert_eq!(state(&proxy, origin.address()), 0.0);
    for to in ["open", "half_open", "closed"] {
        let transitions = format!(
            r#"outrigger_circuit_breaker_transitions_total{{endpoint="{}",to="{to}",upstream="app"}}"#,
            origin.address()
        );
        assert_eq!(proxy.metric(&transitions), 1.0, "{to}");
    }
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    let (origin, _) = flaky();
    let breaker = "{ consecutive_failures: 1, open_for: 50ms }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    proxy.client().get("/");
    eventually("three probes have failed", || {
        proxy.client().get("/");
        origin.count() == 4
    });
    assert_eq!(state(&proxy, origin.address()), 2.0);
}

/// An app that fails once and then holds every request until it is told to go on.
fn gated(fails: usize) -> (Origin, std::sync::mpsc::Sender<()>) {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let failed = AtomicUsize::new(0);
    let origin = Origin::start(move |_, peer| {
        if failed.fetch_add(1, Ordering::SeqCst) < fails {
            peer.answer("500 Internal Server Error", "");
        } else {
            let _ = gate.lock().unwrap().recv();
            peer.answer("200 OK", "ok");
        }
        Then::KeepAlive
    });
    (origin, open)
}

#[test]
fn half_open_lets_exactly_so_many_probes_through_however_many_ask() {
    let (origin, gate) = gated(1);
    let breaker =
        "{ consecutive_failures: 1, open_for: 100ms, half_open_max: 3, half_open_successes: 3 }";
    let more = "workers: 2\n";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, more));
    proxy.client().get("/");
    assert!(is_refused(&proxy.client().get("/")));
    let mut clients: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
    eventually("it is to be probed", || {
        let view = proxy.control("/upstreams").text();
        view.contains("the next request is a probe")
    });
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    // The refused ones are answered while the probes hang.
    let (done, answers) = channel();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let done = done.clone();
            std::thread::spawn(move || drop(done.send(client.read())))
        })
        .collect();
    for _ in 0..47 {
        let answer = answers.recv_timeout(PATIENCE).unwrap();
        assert!(is_refused(&answer), "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    eventually("three probes hang", || origin.count() == 4);
    assert_eq!(state(&proxy, origin.address()), 1.0);
    for _ in 0..3 {
        gate.send(()).unwrap();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap().status(), 200);
    }
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    eventually("it is closed", || state(&proxy, origin.address()) == 0.0);
    assert_eq!(origin.count(), 4);
}

#[test]
fn a_probe_whose_client_leaves_gives_its_place_back() {
    let (origin, gate) = gated(1);
    let breaker = "{ consecutive_failures: 1, open_for: 50ms }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    proxy.client().get("/");
    let mut probe = proxy.client();
    eventually("a probe hangs", || {
        // Refused requests end, the probe does not.
        probe = proxy.client();
        probe.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        probe
            .stream()
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        probe.read_head().is_err()
    });
    assert!(is_refused(&proxy.client().get("/")), "its place is taken");
    drop(probe);
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    eventually("another probe passes", || {
        proxy.client().get("/").status() == 200
    });
}

#[test]
fn a_client_that_leaves_is_not_counted() {
    let (begun, told) = channel();
    let begun = Mutex::new(begun);
    let origin = Origin::start(move |request, peer| {
        if request.target() == "/ok" {
            peer.answer("200 OK", "ok");
            return Then::KeepAlive;
        }
        if request.target() == "/body" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
        }
        begun.lock().unwrap().send(()).unwrap();
        peer.is_closed();
        Then::Close
    });
    let breaker = "{ consecutive_failures: 1, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    for (path, upload) in [
        ("/head", ""),
        ("/body", ""),
        ("/upload", "content-length: 5\r\n"),
    ] {
        for _ in 0..5 {
            let mut client = proxy.client();
            client.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{upload}\r\n"));
            told.recv_timeout(PATIENCE).unwrap();
            drop(client);
        }
    }
    eventually("all are over", || proxy.access_log().len() == 15);
    assert_eq!(proxy.client().get("/ok").status(), 200);
    assert_eq!(state(&proxy, origin.address()), 0.0);
}

#[test]
fn what_the_proxy_refuses_by_itself_is_never_counted() {
    let (origin, failing) = flaky();
    let breaker = "{ consecutive_failures: 2, open_for: 100ms, scope: both }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    proxy.client().get("/");
    proxy.client().get("/");
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
        assert_eq!(client.read().status(), 400);
        proxy.client().get("/");
    }
    failing.store(false, Ordering::SeqCst);
    // Had its own 503 counted, it would be open for ever.
    eventually("it closes", || proxy.client().get("/").status() == 200);
    eventually("both are closed", || {
        proxy.client().get("/");
        state(&proxy, "") == 0.0 && state(&proxy, origin.address()) == 0.0
    });
}

#[test]
fn endpoints_that_cannot_be_reached_hang_or_break_off_open_it() {
    let nobody = free_address();
    let proxy = Proxy::start(&yaml(&[nobody], "{ consecutive_failures: 2 }", ""));
    assert_eq!(proxy.client().get("/").status(), 502);
    assert_eq!(proxy.client().get("/").status(), 502);
    assert!(is_refused(&proxy.client().get("/")));

    type Handler = fn(&Request, &mut Peer) -> Then;
    let misbehaviours: [(&str, Handler); 4] = [
        ("hangs", |_, peer| {
            peer.is_closed();
            Then::Close
        }),
        ("closes", |_, _| Then::Close),
        ("garbage", |_, peer| {
            peer.send("what\r\n\r\n");
            Then::Close
        }),
        ("breaks off in the middle", |_, peer| {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
            Then::Close
        }),
    ];
    for (what, handler) in misbehaviours {
        let origin = Origin::start(handler);
        let more = "    timeouts: { idle: 100ms }\n";
        let breaker = "{ consecutive_failures: 2, open_for: 1h }";
        let proxy = Proxy::start(&yaml(&[origin.address()], breaker, more));
        for _ in 0..2 {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = client.try_read();
            assert!(answer.is_err() || answer.unwrap().status() >= 502, "{what}");
        }
        assert!(is_refused(&proxy.client().get("/")), "{what}");
        assert_eq!(origin.count(), 2, "{what}");
    }
}

#[test]
fn others_take_over_from_an_endpoint_whose_breaker_is_open() {
    let (bad, _) = flaky();
    let good = Origin::fixed("good");
    let breaker = "{ consecutive_failures: 3, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[bad.address(), good.address()], breaker, ""));
    let mut client = proxy.client();
    let failures = (0..40).filter(|_| client.get("/").status() != 200).count();
    assert_eq!((failures, bad.count()), (3, 3));
    assert_eq!(
        (state(&proxy, bad.address()), state(&proxy, good.address())),
        (2.0, 0.0)
    );
}

#[test]
fn with_scope_upstream_the_endpoints_are_counted_together() {
    let (first, _) = flaky();
    let (second, _) = flaky();
    let breaker = "{ consecutive_failures: 3, open_for: 1h, scope: upstream }";
    let proxy = Proxy::start(&yaml(&[first.address(), second.address()], breaker, ""));
    let mut client = proxy.client();
    (0..10).for_each(|_| drop(client.get("/")));
    assert_eq!(first.count() + second.count(), 3);
    assert_eq!(state(&proxy, ""), 2.0);
    assert_eq!(state(&proxy, first.address()), 0.0);
}

#[test]
fn a_share_of_failures_opens_it_once_there_are_enough() {
    let turn = AtomicUsize::new(0);
    let origin = Origin::start(move |_, peer| {
        // Every second one fails, so there are never two in a row.
        let failed = turn.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        peer.answer(if failed { "500 No" } else { "200 OK" }, "from the app");
        Then::KeepAlive
    });
    let breaker = "{ error_rate: 50%, min_requests: 10, window: 1h, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    let mut client = proxy.client();
    for n in 0..10 {
        assert_eq!(client.get("/").text(), "from the app", "{n}");
    }
    let answer = client.get("/");
    let limit = &answer.json()["details"]["limit"];
    assert_eq!(limit["key"], "upstreams.app.circuit_breaker.error_rate");
    assert_eq!(limit["value"], "50%");
}

#[test]
fn a_share_of_slow_answers_opens_it() {
    let origin = Origin::start(|_, peer| {
        std::thread::sleep(Duration::from_millis(30));
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let breaker = "{ slow: 20ms, min_requests: 3, window: 1h, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    eventually("it is open", || is_refused(&client.get("/")));
    assert!(origin.count() <= 4);
}

#[test]
fn with_mode_observe_nothing_is_refused_and_everything_is_told() {
    let (origin, _) = flaky();
    let breaker = "{ consecutive_failures: 2, open_for: 1h, mode: observe }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "from the app");
    }
    assert_eq!(state(&proxy, origin.address()), 2.0);
    let rejected = r#"outrigger_circuit_breaker_rejected_total{mode="observe",upstream="app"}"#;
    assert_eq!(proxy.metric(rejected), 8.0);
}

#[test]
fn a_reload_that_does_not_touch_the_section_keeps_an_open_breaker_open() {
    let (origin, _) = flaky();
    let breaker = "{ consecutive_failures: 2, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    proxy.client().get("/");
    proxy.client().get("/");
    assert!(is_refused(&proxy.client().get("/")));
    for more in [
        "    timeouts: { idle: 7s }\n",
        "    balance: least_connections\n",
        "header_case: preserve\n",
        "drain: { timeout: 7s }\n",
    ] {
        let outcome = proxy.reload(&yaml(&[origin.address()], breaker, more));
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        assert!(is_refused(&proxy.client().get("/")), "{more}");
        assert_eq!(state(&proxy, origin.address()), 2.0, "{more}");
    }
    let other = Origin::fixed("ok");
    proxy.reload(&yaml(&[origin.address(), other.address()], breaker, ""));
    for _ in 0..4 {
        assert_eq!(
            proxy.client().get("/").text(),
            "ok",
            "the new one is asked, the old one is not"
        );
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_reload_that_changes_the_section_begins_with_a_closed_breaker_and_keeps_the_pool() {
    let (origin, failing) = flaky();
    let breaker = "{ consecutive_failures: 2, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&[origin.address()], breaker, ""));
    proxy.client().get("/");
    proxy.client().get("/");
    assert!(is_refused(&proxy.client().get("/")));
    failing.store(false, Ordering::SeqCst);
    proxy.reload(&yaml(
        &[origin.address()],
        "{ consecutive_failures: 3 }",
        "",
    ));
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(origin.connections(), 1, "the pooled connection serves on");
    assert_eq!(state(&proxy, origin.address()), 0.0);
}

#[test]
fn a_refused_reload_changes_no_breaker_and_a_removed_one_is_shown_no_longer() {
    let (origin, _) = flaky();
    let other = Origin::fixed("ok");
    let both = [origin.address(), other.address()];
    let breaker = "{ consecutive_failures: 1, open_for: 1h }";
    let proxy = Proxy::start(&yaml(&both, breaker, ""));
    eventually("it is open", || {
        proxy.client().get("/");
        state(&proxy, origin.address()) == 2.0
    });
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let changed = yaml(&both, "{ consecutive_failures: 2 }", "")
        .replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    assert!(matches!(proxy.reload(&changed), Outcome::Refused { .. }));
    assert_eq!(state(&proxy, origin.address()), 2.0);
    for _ in 0..4 {
        assert_eq!(proxy.client().get("/").text(), "ok");
    }
    proxy.reload(&yaml(&[other.address()], breaker, ""));
    let text = proxy.probe("/metrics").text();
    let series = |endpoint: std::net::SocketAddr| {
        format!(r#"outrigger_circuit_breaker_state{{endpoint="{endpoint}""#)
    };
    assert!(text.contains(&series(other.address())));
    assert!(!text.contains(&series(origin.address())), "{text}");
}
