//! Apps that close idle connections, in the very moment in which a request comes, too.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

#[test]
fn a_connection_that_the_app_closed_after_its_answer_is_not_used_again() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let origin = Origin::start(move |request, peer| {
        peer.body(request);
        peer.answer("200 OK", "ok");
        peer.reader.get_ref().shutdown(Shutdown::Both).unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for number in 1..=40 {
        let answer = match number % 2 {
            0 => client.get("/"),
            _ => client.post("/", b"body"),
        };
        assert_eq!(answer.status(), 200, "{number}");
        eventually("the close has arrived", || {
            closed.load(Ordering::SeqCst) == number
        });
    }
    assert_eq!((origin.count(), origin.connections()), (40, 40));
}

#[test]
fn an_answer_that_announces_its_close_leaves_nothing_in_the_pool() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.post("/", b"body").status(), 200);
    }
    assert_eq!((origin.count(), origin.connections()), (20, 20));
}

/// Answers the first request of each connection, and closes on the second without a byte.
fn closes_on_the_second() -> Origin {
    Origin::start(|request, peer| {
        if request.number > 1 {
            return Then::Close;
        }
        peer.body(request);
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    })
}

#[test]
fn a_get_that_met_a_stale_connection_is_sent_once_more_on_a_fresh_one() {
    let origin = closes_on_the_second();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status(), 200);
    assert_eq!(client.get("/second").status(), 200);
    let seen: Vec<(usize, usize)> = origin
        .requests()
        .iter()
        .map(|request| (request.connection, request.number))
        .collect();
    assert_eq!(seen, [(1, 1), (1, 2), (2, 1)]);
    let requests = origin.requests();
    assert_eq!(
        requests[1].headers, requests[2].headers,
        "both tries are the same"
    );
    let line = proxy.access_line("/second");
    assert_eq!(line["attempts"][0]["outcome"], "stale_connection");
    assert_eq!(line["attempts"][1]["outcome"], "200");
    assert_eq!(line.get("reason"), None);
}

#[test]
fn a_post_that_may_have_reached_the_app_is_not_sent_again() {
    for body in [&b"body"[..], b""] {
        let origin = closes_on_the_second();
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        assert_eq!(client.get("/first").status(), 200);
        let answer = client.post("/second", body);
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.json()["code"], "UPSTREAM_RESET");
        assert_eq!(origin.count(), 2);
        assert_eq!(
            client.get("/third").status(),
            200,
            "the client's connection goes on"
        );
    }
}

#[test]
fn a_put_is_sent_again_if_its_body_was_kept() {
    for (keep, status, count) in [("64KiB", 200, 3), ("3", 502, 2)] {
        let origin = closes_on_the_second();
        let proxy = Proxy::start(&format!(
            "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\n\
             routes: [{{ name: a, forward: app, retry: {{ on: [refused_stream], replay_bytes: {keep} }} }}]\n\
             upstreams: {{ app: {{ endpoints: [{}] }} }}\n",
            origin.address()
        ));
        let mut client = proxy.client();
        assert_eq!(client.get("/first").status(), 200);
        client.send("PUT /second HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
        assert_eq!(client.read().status(), status);
        assert_eq!(origin.count(), count);
    }
}

#[test]
fn nothing_is_sent_again_that_a_fresh_connection_broke_on() {
    let origin = Origin::start(|_, _| Then::Close);
    let proxy = Proxy::without_retries(origin.address());
    let mut client = proxy.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.json()["code"], "UPSTREAM_RESET");
    }
    assert_eq!((origin.count(), origin.connections()), (5, 5));
}

#[test]
fn a_replay_happens_once() {
    let requests = AtomicUsize::new(0);
    let origin = Origin::start(move |_, peer| {
        if requests.fetch_add(1, Ordering::SeqCst) > 0 {
            peer.reset();
            return Then::Close;
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::without_retries(origin.address());
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/").status(), 502);
    assert_eq!(origin.count(), 3);
}

#[test]
fn an_announced_idle_timeout_is_honoured_with_a_margin() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.send("HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.get("/1");
    client.get("/2");
    assert_eq!(origin.connections(), 1);
    // Half of the announced second has to pass.
    thread::sleep(Duration::from_millis(550));
    client.get("/3");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn bytes_that_nobody_asked_for_end_an_idle_connection() {
    const UNASKED: &str =
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::start(move |request, peer| {
        peer.body(request);
        if request.target() == "/at-once" {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{UNASKED}"
            ));
        } else {
            peer.answer("200 OK", "ok");
            peer.send(UNASKED);
        }
        count.fetch_add(1, Ordering::SeqCst);
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for number in 1..=20 {
        let path = if number % 2 == 0 {
            "/at-once"
        } else {
            "/later"
        };
        let answer = client.post(path, b"body");
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "ok"),
            "{number}"
        );
        eventually("all has arrived", || sent.load(Ordering::SeqCst) == number);
    }
    assert_eq!(origin.connections(), 20);
}

/// An app that closes a connection which idles for `limit`.
fn impatient(limit: Duration, announced: bool) -> Origin {
    Origin::start(move |request, peer| {
        peer.body(request);
        let announcement = if announced {
            "keep-alive: timeout=1\r\n"
        } else {
            ""
        };
        peer.send(format!(
            "HTTP/1.1 200 OK\r\n{announcement}content-length: 2\r\n\r\nok"
        ));
        peer.reader.get_ref().set_read_timeout(Some(limit)).unwrap();
        Then::KeepAlive
    })
}

/// Sends `each` requests on each of `clients` connections, with random gaps around `limit`; counts what failed.
fn hammer(proxy: &Proxy, clients: usize, each: usize, limit: Duration, method: &str) -> usize {
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..each {
                    thread::sleep(limit.mul_f64(0.8 + fastrand::f64() * 0.4));
                    let answer = match method {
                        "GET" => client.get("/"),
                        _ => client.post("/", b"body"),
                    };
                    if answer.status() != 200 {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner()
}

#[test]
fn no_request_of_9000_fails_at_an_app_that_closes_idle_connections_unannounced() {
    let limit = Duration::from_millis(10);
    let origin = impatient(limit, false);
    let proxy = Proxy::before(origin.address());
    assert_eq!(hammer(&proxy, 16, 9000 / 16, limit, "GET"), 0);
    assert!(
        origin.connections() > 100,
        "the race was run: {}",
        origin.connections()
    );
}

#[test]
fn no_request_of_500_fails_at_an_app_that_closes_after_a_second() {
    let limit = Duration::from_secs(1);
    let origin = impatient(limit, false);
    let proxy = Proxy::before(origin.address());
    assert_eq!(hammer(&proxy, 100, 5, limit, "GET"), 0);
}

#[test]
fn no_post_of_500_fails_at_an_app_that_announces_its_second() {
    let limit = Duration::from_secs(1);
    let origin = impatient(limit, true);
    let proxy = Proxy::before(origin.address());
    assert_eq!(hammer(&proxy, 100, 5, limit, "POST"), 0);
}
