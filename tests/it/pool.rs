//! What a pool keeps: how many connections, for how long, up to which age.

use std::sync::{Arc, Barrier};

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn proxy(origin: &Origin, pool: &str) -> Proxy {
    let address = origin.address();
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app: {{ endpoints: [{address}], pool: {pool} }}\n"
    ))
}

fn idle(proxy: &Proxy) -> usize {
    let page = proxy.control("/upstreams").text();
    let line = page
        .lines()
        .map(str::trim_end)
        .find(|line| line.ends_with("idle"))
        .expect("an endpoint");
    line.split_whitespace()
        .rev()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Sends `count` requests that are under way at the same time.
fn burst(proxy: &Proxy, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| assert_eq!(proxy.client().get("/").status(), 200));
        }
    });
}

fn meeting(count: usize) -> Origin {
    let barrier = Arc::new(Barrier::new(count));
    Origin::start(move |_, peer| {
        barrier.wait();
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    })
}

#[test]
fn no_more_than_max_idle_are_kept() {
    let origin = meeting(4);
    let proxy = proxy(&origin, "{ max_idle: 2 }");
    burst(&proxy, 4);
    assert_eq!(origin.connections(), 4);
    eventually("two are kept", || idle(&proxy) == 2);
    burst(&proxy, 4);
    assert_eq!(origin.connections(), 6, "two were used again, two opened");
}

#[test]
fn with_max_idle_0_each_request_opens_its_own() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ max_idle: 0 }");
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn an_idle_connection_is_closed_after_idle_timeout() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ idle_timeout: 300ms }");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(idle(&proxy), 1);
    eventually("it is closed without being asked for", || idle(&proxy) == 0);
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_connection_past_max_age_is_not_used_again() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ max_age: 400ms }");
    let mut client = proxy.client();
    // In use all the time, so that no idle limit ends it.
    eventually("a second connection", || {
        assert_eq!(client.get("/").status(), 200);
        origin.connections() == 2
    });
    assert!(origin.count() > 2, "the first served more than one request");
}
