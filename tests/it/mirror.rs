//! Copies of requests, and what they must not do to the requests themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{eventually, free_address};

fn proxy(app: &Origin, shadow: std::net::SocketAddr, route: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: a\n    forward: app\n{route}upstreams:\n  app: {{ endpoints: [{}] }}\n  shadow: {{ endpoints: [{shadow}] }}\n",
        app.address()
    ))
}

fn count(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_mirror_requests_total{{result="{result}",route="a",upstream="shadow"}}"#
    ))
}

fn wait_for(proxy: &Proxy, result: &str, number: f64) {
    eventually(&format!("{number} {result}"), || {
        count(proxy, result) >= number
    });
    assert_eq!(count(proxy, result), number, "{result}");
}

/// Keeps the bodies it gets as `x-body` of nothing: in its requests' order.
fn keeping() -> (Origin, Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    let bodies = Arc::<std::sync::Mutex<Vec<Vec<u8>>>>::default();
    let own = Arc::clone(&bodies);
    let origin = Origin::start(move |request, peer| {
        let body = peer.body(request);
        own.lock().unwrap().push(body);
        peer.answer("500 Oh", "shadow");
        Then::KeepAlive
    });
    (origin, bodies)
}

#[test]
fn a_copy_is_the_request_as_the_app_gets_it() {
    let app = Origin::fixed("app");
    let (shadow, bodies) = keeping();
    let proxy = proxy(
        &app,
        shadow.address(),
        "    mirror: shadow\n    rewrite: { host: other.org, path: { full: /x } }\n    request_headers: { set: { x-a: '1' } }\n",
    );
    let mut client = proxy.client();
    assert_eq!(client.get("/a?q=1").text(), "app");
    assert_eq!(client.post("/a", b"known length").text(), "app");
    client.send("PUT /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n4\r\nchun\r\n3\r\nked\r\n0\r\n\r\n");
    assert_eq!(client.read().text(), "app");
    wait_for(&proxy, "answered", 3.0);
    let mut copies = shadow.requests();
    copies.sort_by_key(|request| request.method().to_string());
    let mut originals = app.requests();
    originals.sort_by_key(|request| request.method().to_string());
    for (copy, original) in copies.iter().zip(&originals) {
        assert_eq!(copy.line, original.line);
        for name in ["host", "x-a", "x-request-id", "x-forwarded-for"] {
            assert_eq!(copy.header(name), original.header(name), "{name}");
        }
    }
    let mut bodies = bodies.lock().unwrap().clone();
    bodies.sort();
    assert_eq!(bodies, [&b""[..], b"chunked", b"known length"]);
    // Connections to it are kept.
    assert!(shadow.connections() < 3, "{}", shadow.connections());
}

#[test]
fn a_mirror_that_is_dead_slow_or_rude_changes_nothing_for_the_client() {
    let app = Origin::fixed("app");
    let dead = proxy(&app, free_address(), "    mirror: shadow\n");
    for _ in 0..5 {
        assert_eq!(dead.client().get("/").text(), "app");
    }
    wait_for(&dead, "failed", 5.0);

    let rude = Origin::start(|_, peer| {
        peer.send("nonsense\r\n\r\n");
        Then::Close
    });
    let rude = (proxy(&app, rude.address(), "    mirror: shadow\n"), rude);
    assert_eq!(rude.0.client().post("/", b"x").text(), "app");
    wait_for(&rude.0, "failed", 1.0);

    let silent = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let slow = proxy(
        &app,
        silent.address(),
        "    mirror: shadow\n    timeout: 300ms\n",
    );
    assert_eq!(slow.client().get("/").text(), "app");
    assert_eq!(count(&slow, "timeout"), 0.0);
    wait_for(&slow, "timeout", 1.0);
    for proxy in [&dead, &rude.0, &slow] {
        for line in proxy.access_log() {
            assert_eq!(
                (&line["status"], &line["upstream"]),
                (&200.into(), &"app".into())
            );
            assert!(line.get("reason").is_none(), "{line}");
        }
    }
}

#[test]
fn a_body_that_is_too_large_is_not_copied_and_still_streams() {
    let seen = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&seen);
    let app = Origin::start(move |request, peer| {
        if request.header("content-length").is_none() {
            // The first chunk arrives while the client has not sent the others.
            peer.chunk().unwrap();
            own.store(true, Ordering::SeqCst);
        }
        let body = peer.body(request);
        peer.answer("200 OK", body.len().to_string());
        Then::KeepAlive
    });
    let (shadow, bodies) = keeping();
    let proxy = proxy(&app, shadow.address(), "    mirror: shadow\n");
    let mut client = proxy.client();
    assert_eq!(client.post("/", &vec![b'x'; 64 * 1024]).text(), "65536");
    wait_for(&proxy, "answered", 1.0);
    assert_eq!(client.post("/", &vec![b'x'; 64 * 1024 + 1]).text(), "65537");
    wait_for(&proxy, "too_large", 1.0);
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    eventually("the app has the first chunk", || {
        seen.load(Ordering::SeqCst)
    });
    let chunk = format!("8000\r\n{}\r\n", "y".repeat(0x8000));
    client.send(format!("{chunk}{chunk}{chunk}0\r\n\r\n"));
    assert_eq!(client.read().text(), (3 * 0x8000).to_string());
    wait_for(&proxy, "too_large", 2.0);
    assert_eq!(bodies.lock().unwrap().len(), 1);
}

#[test]
fn a_request_that_is_broken_off_is_not_copied() {
    let app = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let (shadow, bodies) = keeping();
    let proxy = proxy(&app, shadow.address(), "    mirror: shadow\n");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf");
    eventually("the app has its head", || app.count() == 1);
    drop(client);
    wait_for(&proxy, "incomplete", 1.0);
    assert!(bodies.lock().unwrap().is_empty());
}

#[test]
fn as_many_are_copied_as_the_percentage_says_and_several_mirrors_may_be() {
    let app = Origin::fixed("app");
    let (shadow, _) = keeping();
    let (other, _) = keeping();
    let text = format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: a\n    forward: app\n    mirror: [{{ upstream: shadow, percent: 10% }}, other, {{ upstream: none, percent: 0% }}]\nupstreams:\n  app: {{ endpoints: [{}] }}\n  shadow: {{ endpoints: [{}] }}\n  other: {{ endpoints: [{}] }}\n  none: {{ endpoints: [{}] }}\n",
        app.address(),
        shadow.address(),
        other.address(),
        free_address()
    );
    let proxy = Proxy::start(&text);
    let mut client = proxy.client();
    for _ in 0..100 {
        assert_eq!(client.get("/").text(), "app");
    }
    wait_for(&proxy, "answered", 10.0);
    eventually("the other one has all", || other.count() == 100);
    assert_eq!(shadow.count(), 10);
}

#[test]
fn copies_under_way_are_bounded() {
    let app = Origin::fixed("app");
    let go = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&go);
    let shadow = Origin::start(move |_, peer| {
        while !own.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        peer.answer("200 OK", "");
        Then::KeepAlive
    });
    let proxy = proxy(&app, shadow.address(), "    mirror: shadow\n");
    let mut client = proxy.client();
    for _ in 0..103 {
        assert_eq!(client.get("/").text(), "app");
    }
    wait_for(&proxy, "overflow", 3.0);
    go.store(true, Ordering::SeqCst);
    wait_for(&proxy, "answered", 100.0);
    assert_eq!(client.get("/").text(), "app");
    wait_for(&proxy, "answered", 101.0);
}

#[test]
fn the_end_of_the_proxy_does_not_wait_for_copies() {
    let app = Origin::fixed("app");
    let silent = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let proxy = proxy(&app, silent.address(), "    mirror: shadow\n");
    assert_eq!(proxy.client().get("/").text(), "app");
    eventually("the copy is under way", || silent.count() == 1);
    let begun = std::time::Instant::now();
    assert_eq!(proxy.drain().cut, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}
