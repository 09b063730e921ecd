//! How many requests may be under way at once, and what becomes of the others.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::http2::{Http2, empty, request};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{eventually, free_address};

/// An origin whose answers wait until the gate is opened; it knows how many were in it at most.
struct Gated {
    origin: Origin,
    gate: Arc<(Mutex<bool>, Condvar)>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    fn start() -> Self {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let most = Arc::new(AtomicUsize::new(0));
        let (inside, seen, door) = (AtomicUsize::new(0), Arc::clone(&most), Arc::clone(&gate));
        let origin = Origin::start(move |request, peer| {
            seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if request.target() == "/body" {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab");
            }
            let open = door.0.lock().unwrap();
            drop(door.1.wait_while(open, |open| !*open).unwrap());
            inside.fetch_sub(1, Ordering::SeqCst);
            if request.target() == "/body" {
                peer.send("cd");
            } else {
                peer.answer("200 OK", "ok");
            }
            Then::KeepAlive
        });
        Self { origin, gate, most }
    }

    fn open(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.open();
    }
}

/// A file with these limits for the listener, the route and the upstream.
fn yaml(origins: &[&Origin], [listener, route, upstream]: [&str; 3]) -> String {
    let endpoints: Vec<String> = origins.iter().map(|it| it.address().to_string()).collect();
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, limits: {{ {listener} }} }}\nroutes:\n  - {{ name: some, match: {{ path: /some }}, forward: app, limits: {{ {route} }} }}\nupstreams:\n  app: {{ endpoints: [{}], limits: {{ {upstream} }} }}\n",
        endpoints.join(", ")
    )
}

fn sent(proxy: &Proxy, path: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    client
}

fn of(proxy: &Proxy, what: &str, scope: &str, name: &str) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_{what}{{name="{name}",scope="{scope}"}}"#
    ))
}

fn refused(proxy: &Proxy, scope: &str, name: &str, result: &str) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_limit_rejected_total{{name="{name}",result="{result}",scope="{scope}"}}"#
    ))
}

/// With a limit of two, the third is refused at once, for this reason and with this key.
fn third_is_refused(limits: [&str; 3], path: &str, reason: &str, key: &str) {
    let gated = Gated::start();
    let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
    let mut held = [sent(&proxy, path), sent(&proxy, path)];
    eventually("two are under way", || gated.origin.count() == 2);
    let mut client = proxy.client();
    let fastest = (0..5).map(|_| {
        let begun = Instant::now();
        let answer = client.get(path);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        let body = answer.json();
        assert_eq!(body["code"], reason.to_uppercase());
        assert_eq!(body["details"]["limit"]["key"], key, "{body}");
        assert_eq!(body["details"]["limit"]["value"], "2");
        assert!(body["message"].as_str().unwrap().contains('2'), "{body}");
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
    assert_eq!(proxy.access_line(path)["reason"], reason);
    assert_eq!(gated.origin.count(), 2);
    gated.open();
    held.iter_mut()
        .for_each(|client| assert_eq!(client.read().status(), 200));
    eventually("there is room again", || client.get(path).status() == 200);
}

#[test]
fn a_listener_takes_no_more_than_its_limit() {
    third_is_refused(
        ["in_flight: 2", "", ""],
        "/",
        "listener_overloaded",
        "listeners.inbound.limits.in_flight",
    );
}

#[test]
fn a_route_takes_no_more_than_its_limit() {
    third_is_refused(
        ["", "in_flight: 2", ""],
        "/some",
        "route_overloaded",
        "routes.some.limits.in_flight",
    );
}

#[test]
fn an_upstream_takes_no_more_than_its_limit() {
    third_is_refused(
        ["", "", "in_flight: 2"],
        "/",
        "upstream_overloaded",
        "upstreams.app.limits.in_flight",
    );
}

#[test]
fn an_endpoint_takes_no_more_than_its_limit() {
    third_is_refused(
        ["", "", "endpoint_in_flight: 2"],
        "/",
        "endpoints_overloaded",
        "upstreams.app.limits.endpoint_in_flight",
    );
}

#[test]
fn an_endpoint_has_no_more_connections_than_it_may() {
    third_is_refused(
        ["", "", "connections: 2, endpoint_in_flight: 3"],
        "/",
        "endpoints_overloaded",
        "upstreams.app.limits.connections",
    );
}

#[test]
fn each_stream_of_an_http_2_connection_counts() {
    let gated = Gated::start();
    let text = yaml(
        &[&gated.origin],
        ["in_flight: 2, pending: 1, pending_wait: 1m", "", ""],
    );
    let proxy = Proxy::start(&text);
    let client = Http2::connect(proxy.address());
    client.run(async {
        let ask = || {
            let mut sender = client.sender.clone();
            let request = request("GET", "http://a/", empty());
            async move { sender.send_request(request).await }
        };
        let pending = || of(&proxy, "pending", "listener", "inbound");
        let mut first = Vec::new();
        for _ in 0..3 {
            first.push(tokio::spawn(ask()));
        }
        while gated.origin.count() < 2 || pending() < 1.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(ask().await.unwrap().status(), 503);
        gated.open();
        for answer in first {
            assert_eq!(answer.await.unwrap().unwrap().status(), 200);
        }
    });
    assert_eq!(gated.most(), 2);
}

#[test]
fn a_full_endpoint_is_passed_over() {
    let (slow, quick) = (Gated::start(), Origin::fixed("ok"));
    let limits = ["", "", "endpoint_in_flight: 1"];
    let proxy = Proxy::start(&yaml(&[&slow.origin, &quick], limits));
    let mut clients: Vec<Client> = Vec::new();
    eventually("the slow one has a request", || {
        clients.push(sent(&proxy, "/"));
        slow.origin.count() == 1
    });
    let active = r#"http_requests_active{direction="inbound",route="inbound"}"#;
    eventually("the others have ended", || proxy.metric(active) == 1.0);
    // The others are answered, so that only the slow one is full.
    let mut rest = clients.len() - 1;
    for client in &mut clients {
        let read = client
            .stream()
            .set_read_timeout(Some(Duration::from_millis(100)));
        read.unwrap();
        rest -= usize::from(rest > 0 && client.try_read().is_ok());
    }
    let before = quick.count();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(slow.origin.count(), 1);
    assert!(quick.count() >= before + 10);
}

#[test]
fn when_all_endpoints_are_full_requests_wait_for_their_turn() {
    let (one, two) = (Gated::start(), Gated::start());
    let limits = [
        "",
        "",
        "endpoint_in_flight: 1, pending: 2, pending_wait: 10s",
    ];
    let proxy = Proxy::start(&yaml(&[&one.origin, &two.origin], limits));
    let mut held = vec![sent(&proxy, "/1"), sent(&proxy, "/2")];
    eventually("both are full", || {
        one.origin.count() + two.origin.count() == 2
    });
    for (number, path) in ["/3", "/4"].into_iter().enumerate() {
        held.push(sent(&proxy, path));
        eventually("it waits", || {
            of(&proxy, "pending", "endpoint", "app") == (number + 1) as f64
        });
    }
    let refusal = proxy.client().get("/5");
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.json()["code"], "ENDPOINTS_OVERLOADED");
    one.open();
    // Whoever waited first goes first; the other endpoint still holds its request.
    for mut client in held.drain(2..) {
        assert_eq!(client.read().status(), 200);
    }
    let order: Vec<String> = one
        .origin
        .requests()
        .iter()
        .map(|it| it.line.clone())
        .collect();
    let place = |path: &str| order.iter().position(|line| line.contains(path));
    assert!(place("/3") < place("/4"), "{order:?}");
    assert_eq!((one.most(), two.most()), (1, 1));
    assert_eq!(of(&proxy, "pending", "endpoint", "app"), 0.0);
    let line = proxy.access_line("/3");
    assert!(line["phases_ms"]["queue"].as_f64().unwrap() > 0.0, "{line}");
}

#[test]
fn nobody_waits_longer_for_an_endpoint_than_pending_wait() {
    let gated = Gated::start();
    let limits = [
        "",
        "",
        "endpoint_in_flight: 1, pending: 5, pending_wait: 150ms",
    ];
    let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
    let _held = sent(&proxy, "/1");
    eventually("it is full", || gated.origin.count() == 1);
    let begun = Instant::now();
    let answer = proxy.client().get("/2");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(answer.status(), 503);
    let json = answer.json();
    assert_eq!(json["code"], "QUEUE_TIMEOUT");
    assert_eq!(
        json["details"]["limit"]["key"],
        "upstreams.app.limits.pending_wait"
    );
    assert_eq!(refused(&proxy, "endpoint", "app", "timeout"), 1.0);
    // A client that leaves gives up its place.
    drop(sent(&proxy, "/3"));
    eventually("nobody waits", || {
        of(&proxy, "pending", "endpoint", "app") == 0.0
    });
}

#[test]
fn a_connection_that_idles_at_another_worker_makes_room() {
    let origin = Origin::fixed("ok");
    let text = yaml(&[&origin], ["", "", "connections: 1"]);
    let proxy = Proxy::start(&format!("{text}workers: 2\n"));
    let mut one = proxy.client();
    eventually("it has a worker", || proxy.app().connections().contains(&1));
    let mut other = proxy.client();
    eventually("and the other one, too", || {
        proxy.app().connections() == [1, 1]
    });
    for _ in 0..5 {
        assert_eq!(one.get("/").status(), 200);
        eventually("the first has ended", || other.get("/").status() == 200);
        eventually("the second has ended", || one.get("/").status() == 200);
    }
    assert!(origin.connections() > 2, "{}", origin.connections());
}

#[test]
fn a_permit_lasts_to_the_end_of_the_answers_body() {
    let gated = Gated::start();
    let proxy = Proxy::start(&yaml(&[&gated.origin], ["in_flight: 1", "", ""]));
    let mut client = sent(&proxy, "/body");
    assert_eq!(client.read_head().unwrap().status(), 200);
    assert_eq!(client.bytes(2), b"ab");
    assert_eq!(proxy.client().get("/").status(), 503);
    assert_eq!(of(&proxy, "in_flight", "listener", "inbound"), 1.0);
    gated.open();
    assert_eq!(client.bytes(2), b"cd");
    eventually("the permit is back", || {
        of(&proxy, "in_flight", "listener", "inbound") == 0.0
    });
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_client_that_leaves_gives_its_permits_back() {
    let gated = Gated::start();
    let limits = ["in_flight: 1", "in_flight: 1", "in_flight: 1"];
    let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
    let client = sent(&proxy, "/some");
    eventually("it is under way", || gated.origin.count() == 1);
    drop(client);
    gated.open();
    eventually("there is room again", || {
        proxy.client().get("/some").status() == 200
    });
    for (scope, name) in [
        ("listener", "inbound"),
        ("route", "some"),
        ("upstream", "app"),
    ] {
        eventually("all is given back", || {
            of(&proxy, "in_flight", scope, name) == 0.0
        });
    }
}

#[test]
fn a_pipe_holds_its_permits() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        peer.is_closed();
        Then::Close
    });
    let limits = [
        "in_flight: 1",
        "",
        "in_flight: 1, endpoint_in_flight: 1, connections: 1",
    ];
    let proxy = Proxy::start(&yaml(&[&origin], limits));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert_eq!(proxy.client().get("/").status(), 503);
    drop(client);
    eventually("the permits are back", || {
        of(&proxy, "in_flight", "upstream", "app") == 0.0
    });
}

#[test]
fn pending_requests_are_served_in_turn() {
    for (limits, scope, name) in [
        (
            ["in_flight: 1, pending: 3, pending_wait: 1m", "", ""],
            "listener",
            "inbound",
        ),
        (
            ["", "in_flight: 1, pending: 3, pending_wait: 1m", ""],
            "route",
            "some",
        ),
        (
            ["", "", "in_flight: 1, pending: 3, pending_wait: 1m"],
            "upstream",
            "app",
        ),
    ] {
        let gated = Gated::start();
        let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
        let mut first = sent(&proxy, "/some/0");
        eventually("one is under way", || gated.origin.count() == 1);
        let mut waiting = Vec::new();
        for number in 1..=3 {
            waiting.push(sent(&proxy, &format!("/some/{number}")));
            eventually("it waits", || {
                of(&proxy, "pending", scope, name) == f64::from(number)
            });
        }
        assert_eq!(proxy.client().get("/some/4").status(), 503);
        assert_eq!(refused(&proxy, scope, name, "full"), 1.0);
        gated.open();
        assert_eq!(first.read().status(), 200);
        waiting
            .iter_mut()
            .for_each(|client| assert_eq!(client.read().status(), 200));
        let targets: Vec<String> = gated
            .origin
            .requests()
            .iter()
            .map(|it| it.target().to_owned())
            .collect();
        assert_eq!(
            targets,
            ["/some/0", "/some/1", "/some/2", "/some/3"],
            "{scope}"
        );
        assert_eq!(gated.most(), 1);
    }
}

#[test]
fn nobody_waits_longer_than_pending_wait() {
    for (limits, scope, name, key) in [
        (
            ["in_flight: 1, pending: 1, pending_wait: 50ms", "", ""],
            "listener",
            "inbound",
            "listeners.inbound",
        ),
        (
            ["", "", "in_flight: 1, pending: 1, pending_wait: 50ms"],
            "upstream",
            "app",
            "upstreams.app",
        ),
    ] {
        let gated = Gated::start();
        let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
        let _first = sent(&proxy, "/");
        eventually("one is under way", || gated.origin.count() == 1);
        let begun = Instant::now();
        let answer = proxy.client().get("/waits");
        assert!(
            begun.elapsed() >= Duration::from_millis(50),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        let body = answer.json();
        assert_eq!(body["code"], "QUEUE_TIMEOUT");
        assert_eq!(
            body["details"]["limit"]["key"],
            format!("{key}.limits.pending_wait")
        );
        assert_eq!(body["details"]["limit"]["value"], "50ms");
        assert_eq!(refused(&proxy, scope, name, "timeout"), 1.0);
        let line = proxy.access_line("/waits");
        assert_eq!(line["reason"], "queue_timeout");
        assert!(
            line["phases_ms"]["queue"].as_f64().unwrap() >= 50.0,
            "{line}"
        );
        eventually("the place is free", || {
            of(&proxy, "pending", scope, name) == 0.0
        });
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let gated = Gated::start();
    let limits = ["in_flight: 1, pending: 1, pending_wait: 1m", "", ""];
    let proxy = Proxy::start(&yaml(&[&gated.origin], limits));
    let pending = || of(&proxy, "pending", "listener", "inbound");
    let _first = sent(&proxy, "/");
    eventually("one is under way", || gated.origin.count() == 1);
    let waiting = sent(&proxy, "/");
    eventually("one waits", || pending() == 1.0);
    drop(waiting);
    eventually("it has left", || pending() == 0.0);
    let mut other = sent(&proxy, "/");
    eventually("another waits", || pending() == 1.0);
    gated.open();
    assert_eq!(other.read().status(), 200);
}

#[test]
fn permits_survive_a_reload_that_does_not_touch_their_limit() {
    let gated = Gated::start();
    let text = yaml(&[&gated.origin], ["in_flight: 1", "", ""]);
    let proxy = Proxy::start(&text);
    let _first = sent(&proxy, "/");
    eventually("one is under way", || gated.origin.count() == 1);
    proxy.reload(&text.replace("name: some", "name: other"));
    assert_eq!(proxy.client().get("/").status(), 503);
    proxy.reload(&text.replace("in_flight: 1", "in_flight: 2"));
    let mut second = sent(&proxy, "/");
    eventually("the limit is another", || gated.origin.count() == 2);
    gated.open();
    assert_eq!(second.read().status(), 200);
}

#[test]
fn no_more_than_the_limit_are_ever_under_way_from_two_workers() {
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let origin = Origin::start(move |_, peer| {
        seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let limits = "in_flight: 3, pending: 100, pending_wait: 1m, endpoint_in_flight: 3";
    let text = yaml(&[&origin], ["", "", limits]);
    let proxy = Proxy::start(&format!("{text}workers: 2\n"));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = proxy.client();
                (0..30).for_each(|_| assert_eq!(client.get("/").status(), 200));
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(origin.count(), 480);
}

#[test]
fn probes_and_control_answer_when_nothing_else_does() {
    let gated = Gated::start();
    let text = yaml(
        &[&gated.origin],
        ["in_flight: 1, pending: 50, pending_wait: 1m", "", ""],
    );
    let proxy = Proxy::start(&text);
    let _first = sent(&proxy, "/");
    let _waiting: Vec<Client> = (0..50).map(|_| sent(&proxy, "/")).collect();
    eventually("all places are taken", || {
        of(&proxy, "pending", "listener", "inbound") == 50.0
    });
    assert_eq!(proxy.client().get("/").status(), 503);
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(proxy.probe(path).status(), 200, "{path}");
        assert_eq!(proxy.control(path).status(), 200, "{path}");
    }
    assert_eq!(proxy.control("/upstreams").status(), 200);
}

#[test]
fn when_nobody_listens_the_answer_comes_at_once_with_the_cause() {
    let (one, other) = (free_address(), free_address());
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: app, forward: app, retry: off }}]\nupstreams:\n  app: {{ endpoints: [{one}, {other}] }}\n"
    ));
    let mut client = proxy.client();
    let fastest = (0..5).map(|_| {
        let begun = Instant::now();
        let answer = client.get("/");
        assert!((502..=503).contains(&answer.status()));
        let error = answer.json()["details"]["last_error"].to_string();
        assert!(
            error.to_lowercase().contains("connection refused"),
            "{error}"
        );
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

#[test]
fn a_body_that_is_still_coming_does_not_keep_a_refusal_waiting() {
    let gated = Gated::start();
    let proxy = Proxy::start(&yaml(&[&gated.origin], ["in_flight: 1", "", ""]));
    let _first = sent(&proxy, "/");
    eventually("one is under way", || gated.origin.count() == 1);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    client.stream().write_all(b"only the beginning").unwrap();
    assert_eq!(client.read().status(), 503);
}
