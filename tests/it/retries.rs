//! What is tried again, where, after what wait, and what is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::free_address;
use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::Proxy;

/// A proxy with one route, whose `retry` is given, in front of `endpoints`; `more` are lines of the upstream.
fn proxy(endpoints: &[SocketAddr], retry: &str, more: &str) -> Proxy {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\n\
         routes:\n  - name: app\n    forward: app\n    timeout: 5s\n    retry: {retry}\n\
         upstreams:\n  app:\n    endpoints: [{}]\n{more}",
        endpoints.join(", ")
    ))
}

type Fault = fn(&Request, &mut Peer) -> Then;

/// An origin that does `bad` the first `times` times and answers 200 from then on, with the body that it got.
fn bad_at_first(
    times: usize,
    bad: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static,
) -> Origin {
    let seen = AtomicUsize::new(0);
    Origin::start(move |request, peer| {
        if seen.fetch_add(1, Ordering::SeqCst) < times {
            return bad(request, peer);
        }
        let body = peer.body(request);
        peer.answer("200 OK", body);
        Then::KeepAlive
    })
}

fn unavailable(request: &Request, peer: &mut Peer) -> Then {
    peer.body(request);
    peer.answer("503 Service Unavailable", "no");
    Then::KeepAlive
}

fn reset(_: &Request, peer: &mut Peer) -> Then {
    peer.reset();
    Then::Close
}

const QUICK: &str = "{ backoff: { base: 1ms } }";

#[test]
fn an_endpoint_that_is_not_there_costs_the_client_nothing() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&[free_address(), origin.address()], QUICK, "");
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
        // A POST, too: nothing of it had been sent.
        assert_eq!(client.post("/", b"body").status(), 200);
    }
    assert_eq!(origin.count(), 20);
    assert!(proxy.metric(r#"outrigger_retries_total{upstream="app"}"#) >= 10.0);
}

#[test]
fn what_fails_once_is_tried_again() {
    let faults: [(&str, Fault); 5] = [
        ("a reset", reset),
        ("an orderly end", |_, _| Then::Close),
        ("503", unavailable),
        ("garbage", |_, peer| {
            peer.send("nonsense\r\n\r\n");
            Then::Close
        }),
        ("half a head", |_, peer| {
            peer.send("HTTP/1.1 200 OK\r\ncontent-le");
            Then::Close
        }),
    ];
    for (what, fault) in faults {
        let origin = bad_at_first(2, fault);
        let proxy = proxy(&[origin.address()], QUICK, "");
        let answer = proxy.client().get("/x");
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
        assert_eq!(origin.count(), 3, "{what}");
        let line = proxy.access_line("/x");
        assert_eq!(line["attempts"].as_array().unwrap().len(), 3, "{what}");
        assert_eq!(line.get("not_retried"), None, "{what}");
    }
}

#[test]
fn attempts_come_to_an_end_and_the_last_answer_is_passed_on() {
    let origin = bad_at_first(9, unavailable);
    let proxy = proxy(&[origin.address()], QUICK, "");
    let answer = proxy.client().get("/x");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "no"));
    assert_eq!(origin.count(), 3);
    assert_eq!(proxy.access_line("/x")["not_retried"], "attempts");
    let series = r#"outrigger_not_retried_total{reason="attempts",upstream="app"}"#;
    assert_eq!(proxy.metric(series), 1.0);
}

#[test]
fn another_endpoint_is_asked_if_there_is_one() {
    let bad = bad_at_first(usize::MAX, unavailable);
    let good = Origin::fixed("ok");
    let proxy = proxy(&[bad.address(), bad_twin(&bad), good.address()], QUICK, "");
    let mut client = proxy.client();
    for _ in 0..6 {
        assert_eq!(client.get("/x").status(), 200);
    }
    for line in proxy.access_log() {
        let attempts = line["attempts"].as_array().unwrap();
        let mut endpoints: Vec<_> = attempts.iter().map(|it| it["endpoint"].as_str()).collect();
        endpoints.dedup();
        assert_eq!(endpoints.len(), attempts.len(), "{line}");
    }
}

/// The same origin under another address.
fn bad_twin(origin: &Origin) -> SocketAddr {
    SocketAddr::new("127.0.0.2".parse().unwrap(), origin.address().port())
}

#[test]
fn a_post_that_may_have_arrived_is_sent_once() {
    for fault in [unavailable as Fault, reset] {
        let origin = bad_at_first(1, fault);
        let proxy = proxy(&[origin.address()], QUICK, "");
        let status = proxy.client().post("/x", b"pay").status();
        assert!(status == 503 || status == 502, "{status}");
        assert_eq!(origin.count(), 1);
        assert_eq!(proxy.access_line("/x")["not_retried"], "unsafe_method");
    }
}

#[test]
fn a_post_is_sent_again_if_it_has_a_key_or_the_file_says_so() {
    let origin = bad_at_first(1, unavailable);
    let with_key = proxy(&[origin.address()], QUICK, "");
    let mut client = with_key.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: 7\r\ncontent-length: 3\r\n\r\npay");
    let answer = client.read();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "pay"));

    let origin = bad_at_first(1, unavailable);
    let told = proxy(
        &[origin.address()],
        "{ retry_unsafe: true, backoff: { base: 1ms } }",
        "",
    );
    let answer = told.client().post("/", b"pay");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "pay"));
}

#[test]
fn a_body_is_sent_again_from_its_beginning() {
    let origin = bad_at_first(2, unavailable);
    let proxy = proxy(&[origin.address()], QUICK, "");
    let mut client = proxy.client();
    let body = vec![b'x'; 60_000];
    client.send(format!(
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    let answer = client.read();
    assert_eq!(answer.status(), 200);
    assert!(answer.body == body);

    // Chunks, of which the app saw only some before it broke off.
    let origin = bad_at_first(1, |_, peer| {
        peer.chunk().expect("a first chunk");
        peer.reset();
        Then::Close
    });
    let proxy = self::proxy(&[origin.address()], QUICK, "");
    let mut client = proxy.client();
    client.send("PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    crate::support::eventually("the app broke off", || origin.count() > 0);
    client.send("3\r\ndef\r\n0\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abcdef"));
}

#[test]
fn a_body_that_is_too_large_streams_on_and_is_not_sent_again() {
    let origin = bad_at_first(1, unavailable);
    let proxy = proxy(
        &[origin.address()],
        "{ replay_bytes: 1KiB, backoff: { base: 1ms } }",
        "",
    );
    let mut client = proxy.client();
    let put = |path: &str, size: usize| {
        format!(
            "PUT {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{}",
            "x".repeat(size)
        )
    };
    client.send(put("/x", 1025));
    assert_eq!(client.read().status(), 503);
    assert_eq!(proxy.access_line("/x")["not_retried"], "body_too_large");
    client.send(put("/y", 200_000));
    assert_eq!(client.read().body.len(), 200_000);
}

#[test]
fn retry_after_is_honoured_if_it_fits() {
    let asks = |seconds: &'static str| {
        bad_at_first(1, move |_, peer| {
            peer.send(format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n"
            ));
            Then::KeepAlive
        })
    };
    let origin = asks("1");
    let proxy = proxy(&[origin.address()], QUICK, "");
    let begun = Instant::now();
    assert_eq!(proxy.client().get("/").status(), 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));

    for longer in ["2", "Wed, 21 Oct 2099 07:28:00 GMT"] {
        let origin = asks(longer);
        let proxy = self::proxy(&[origin.address()], QUICK, "");
        let answer = proxy.client().get("/x");
        assert_eq!(
            (answer.status(), answer.header("retry-after")),
            (429, Some(longer))
        );
        assert_eq!(proxy.access_line("/x")["not_retried"], "retry_after");
    }
}

#[test]
fn grpc_pushback_is_honoured() {
    for (pushback, count) in [("1", 2), ("-1", 1), ("5000", 1)] {
        let origin = bad_at_first(1, move |_, peer| {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n\
                 grpc-retry-pushback-ms: {pushback}\r\ncontent-length: 0\r\n\r\n"
            ));
            Then::KeepAlive
        });
        let proxy = proxy(&[origin.address()], QUICK, "");
        assert_eq!(proxy.client().get("/").status(), 200);
        assert_eq!(origin.count(), count, "pushback {pushback}");
    }
}

#[test]
fn a_grpc_status_in_the_head_is_tried_again_if_the_route_lists_it() {
    for (code, count) in [(14, 2), (5, 1)] {
        let origin = bad_at_first(1, move |_, peer| {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ngrpc-status: {code}\r\ncontent-length: 0\r\n\r\n"
            ));
            Then::KeepAlive
        });
        let proxy = proxy(&[origin.address()], QUICK, "");
        proxy.client().get("/");
        assert_eq!(origin.count(), count, "grpc-status {code}");
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up_for_another() {
    let slow = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let good = Origin::fixed("ok");
    let retry = "{ per_try_timeout: 100ms, backoff: { base: 1ms } }";
    let both = proxy(&[slow.address(), good.address()], retry, "");
    let begun = Instant::now();
    assert_eq!(both.client().get("/").status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(2));

    let alone = proxy(&[slow.address()], retry, "");
    let answer = alone.client().get("/x");
    assert_eq!(answer.status(), 504);
    let json = answer.json();
    assert_eq!(json["code"], "ATTEMPT_TIMEOUT");
    assert_eq!(json["details"]["not_retried"], "attempts");
    let message = json["message"].as_str().unwrap();
    let key = "routes.app.retry.per_try_timeout";
    assert!(message.ends_with(&format!("`{key}` is 100ms")), "{message}");
    assert_eq!(json["details"]["limit"]["key"], key);
}

#[test]
fn retries_can_be_turned_off() {
    let origin = bad_at_first(1, unavailable);
    let proxy = proxy(&[origin.address()], "off", "");
    assert_eq!(proxy.client().get("/x").status(), 503);
    assert_eq!(origin.count(), 1);
    assert_eq!(proxy.access_line("/x")["not_retried"], "off");
}

#[test]
fn in_an_outage_the_budget_keeps_the_load_down() {
    let origins: Vec<Origin> = (0..3)
        .map(|_| bad_at_first(usize::MAX, unavailable))
        .collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    // Without the minimum, the share alone counts, whatever the machine's speed.
    let proxy = Arc::new(proxy(
        &addresses,
        QUICK,
        "    retry_budget: { min_per_second: 0 }\n",
    ));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || {
                let mut client = proxy.client();
                (0..250).for_each(|_| assert_eq!(client.get("/").status(), 503));
            })
        })
        .collect();
    clients.into_iter().for_each(|it| it.join().unwrap());
    let load: usize = origins.iter().map(Origin::count).sum();
    assert!((2100..=2500).contains(&load), "{load} for 2000 requests");
    let series = r#"outrigger_not_retried_total{reason="budget",upstream="app"}"#;
    assert!(proxy.metric(series) > 1000.0);
}

#[test]
fn a_budget_survives_a_reload_that_does_not_touch_it() {
    let origin = bad_at_first(usize::MAX, unavailable);
    let yaml = |balance: &str, budget: &str| {
        format!(
            "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\n\
             routes: [{{ name: app, forward: app, retry: {QUICK} }}]\n\
             upstreams: {{ app: {{ endpoints: [{}], balance: {balance}, retry_budget: {budget} }} }}\n",
            origin.address()
        )
    };
    let budget = "{ percent: 0%, min_per_second: 1 }";
    let proxy = Proxy::start(&yaml("round_robin", budget));
    let mut client = proxy.client();
    (0..20).for_each(|_| drop(client.get("/")));
    assert_eq!(origin.count(), 30, "1 a second for 10 seconds");
    proxy.reload(&yaml("least_connections", budget));
    client.get("/");
    assert_eq!(origin.count(), 31);
    proxy.reload(&yaml("round_robin", "{ percent: 0%, min_per_second: 2 }"));
    client.get("/");
    assert_eq!(origin.count(), 34);
}

#[test]
fn a_client_that_leaves_during_a_backoff_ends_it() {
    let origin = bad_at_first(usize::MAX, unavailable);
    let proxy = proxy(
        &[origin.address()],
        "{ backoff: { base: 4s, max: 4s, jitter: none } }",
        "",
    );
    let mut client: Client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    crate::support::eventually("a first attempt", || origin.count() == 1);
    drop(client);
    let line = proxy.access_line("/x");
    assert_eq!(line["reason"], "client_gone", "{line}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_retried_answer_leaves_its_connection_in_the_pool() {
    let origin = bad_at_first(2, unavailable);
    let proxy = proxy(&[origin.address()], QUICK, "");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!((origin.count(), origin.connections()), (3, 1));
}
