//! What changed is written down, can be read and followed; and breakers are forced by hand.

use std::io::Write;
use std::time::Duration;

use outrigger::telemetry::journal::KEPT;
use serde_json::Value;

use crate::support::client::{Answer, Client};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};
use crate::support::{eventually, free_address};

fn failing() -> Origin {
    Origin::start(|_, peer| {
        peer.answer("500 Internal Server Error", "from the app");
        Then::KeepAlive
    })
}

fn yaml(endpoints: &str, breaker: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: inbound, forward: app, retry: off }}]\nupstreams:\n  app:\n    endpoints: [{endpoints}]\n{breaker}"
    )
}

const ONE: &str = "    circuit_breaker: { consecutive_failures: 1, open_for: 1h }\n";

fn parsed(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(proxy: &Proxy, query: &str) -> Vec<Value> {
    parsed(&proxy.control(&format!("/events{query}")))
}

fn post(proxy: &Proxy, path: &str) -> Answer {
    Client::connect(proxy.app().control_address().unwrap()).post(path, b"")
}

fn force(proxy: &Proxy, query: &str) -> Answer {
    post(proxy, &format!("/upstreams/app/breaker?{query}"))
}

fn gauge(proxy: &Proxy, endpoint: &str) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_circuit_breaker_state{{endpoint="{endpoint}",upstream="app"}}"#
    ))
}

#[test]
fn what_a_breaker_does_is_written_down_with_its_cause() {
    let origin = failing();
    let address = origin.address().to_string();
    let proxy = Proxy::start(&yaml(&address, ONE));
    proxy.client().get("/");
    let events = events(&proxy, "");
    assert_eq!(events[0]["kind"], "config_applied");
    let event = &events[1];
    assert_eq!(event["seq"], 2);
    assert_eq!(event["kind"], "circuit_breaker");
    assert_eq!(
        event["subject"],
        format!("upstreams.app.endpoints.{address}")
    );
    assert_eq!(
        (&event["from"], &event["to"]),
        (&"closed".into(), &"open".into())
    );
    assert_eq!(event["cause"], "1 × in a row, the last time: status 500");
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn reloads_are_written_down_whether_taken_or_not() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let first = events(&proxy, "")[0]["to"].clone();
    proxy.reload(&format!(
        "{}drain: {{ timeout: 7s }}\n",
        minimal(origin.address())
    ));
    proxy.reload("listeners: 7\n");
    let events = events(&proxy, "?since=1");
    let mut kinds: Vec<_> = events.iter().map(|event| &event["kind"]).collect();
    // The watcher may have found the same bad file before the order to reload came: then it was refused twice.
    kinds.dedup();
    assert_eq!(kinds, ["config_applied", "config_refused"]);
    assert_eq!(events[0]["from"], first);
    assert_eq!(events[1]["to"], events[0]["to"], "it stays in force");
    assert!(events[1]["cause"].as_str().unwrap().contains("listeners"));
}

#[test]
fn the_journal_is_followed_as_it_is_written() {
    let origin = failing();
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), ONE));
    let mut follower = Client::connect(proxy.app().control_address().unwrap());
    follower.send("GET /events?follow=1&since=1 HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = follower.read_head().unwrap();
    assert_eq!(
        (head.status(), head.header("content-type")),
        (200, Some("application/x-ndjson"))
    );
    proxy.client().get("/");
    let mut next = || {
        let line = follower.chunk().unwrap().unwrap();
        serde_json::from_slice::<Value>(&line).unwrap()
    };
    assert_eq!(next()["to"], "open");
    force(&proxy, "state=open");
    let event = next();
    assert_eq!(
        (&event["subject"], &event["to"]),
        (&"upstreams.app".into(), &"forced_open".into())
    );
    assert_eq!(event["seq"], 3);
}

#[test]
fn followers_are_bounded_and_make_room_when_they_leave() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let follow = || {
        let mut follower = Client::connect(proxy.app().control_address().unwrap());
        follower.send("GET /events?follow=1 HTTP/1.1\r\nhost: a\r\n\r\n");
        let status = follower.read_head().unwrap().status();
        (follower, status)
    };
    let followers: Vec<_> = (0..16).map(|_| follow()).collect();
    assert!(followers.iter().all(|(_, status)| *status == 200));
    assert_eq!(follow().1, 503);
    assert_eq!(
        proxy.control("/events").status(),
        200,
        "reading is not following"
    );
    assert_eq!(proxy.control("/live").status(), 200);
    drop(followers);
    eventually("there is room", || follow().1 == 200);
}

#[test]
fn what_a_reader_missed_is_told() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), ONE));
    for _ in 0..KEPT / 2 + 10 {
        force(&proxy, "state=open");
        force(&proxy, "state=auto");
    }
    let events = events(&proxy, "?since=3");
    let gap = events[0]["gap"].as_u64().unwrap();
    assert_eq!(events[0]["after"], 3);
    assert_eq!(events[1]["seq"].as_u64().unwrap(), 3 + gap + 1);
    assert_eq!(events.len(), KEPT + 1);
    let numbers = events[1..]
        .iter()
        .map(|event| event["seq"].as_u64().unwrap());
    assert!(
        numbers
            .clone()
            .zip(numbers.skip(1))
            .all(|(one, next)| next == one + 1)
    );
}

#[test]
fn questions_that_make_no_sense_are_answered_with_how_to_ask() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), ONE));
    for path in [
        "/events?since=x",
        "/events?since=-1",
        "/events?foo=1",
        "/events?follow",
    ] {
        let answer = proxy.control(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(answer.text().contains("/events?since=SEQ"));
    }
    for query in [
        "",
        "state=half",
        "state=open&state=auto",
        "endpoint=a",
        "state=open&x=1",
        "state=%zz",
    ] {
        let answer = force(&proxy, query);
        assert_eq!(answer.status(), 400, "{query}");
        assert!(answer.text().contains("state=open|closed|auto"));
    }
    let unknown = post(&proxy, "/upstreams/ap/breaker?state=open");
    assert_eq!(unknown.status(), 404);
    assert!(
        unknown.text().contains("there are: app"),
        "{}",
        unknown.text()
    );
    let unknown = force(&proxy, "state=open&endpoint=127.0.0.1:1");
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().contains(&origin.address().to_string()));
    let mut client = Client::connect(proxy.app().control_address().unwrap());
    let get = client.get("/upstreams/app/breaker?state=open");
    assert_eq!((get.status(), get.header("allow")), (405, Some("POST")));
    let without = Proxy::before(origin.address());
    let none = force(&without, "state=open");
    assert_eq!(none.status(), 409);
    assert!(
        none.text().contains("add `circuit_breaker: {}`"),
        "{}",
        none.text()
    );
    assert_eq!(proxy.client().get("/").status(), 200, "nothing was forced");
}

#[test]
fn pages_in_browsers_cannot_force_a_breaker_nor_can_the_probes_address() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), ONE));
    let request =
        "POST /upstreams/app/breaker?state=open HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n";
    let mut page = Client::connect(proxy.app().control_address().unwrap());
    page.send(format!("{request}origin: https://evil.example\r\n\r\n"));
    assert_eq!(page.read().status(), 403);
    let mut probes = Client::connect(proxy.app().probes_address().unwrap());
    probes.send(format!("{request}\r\n"));
    assert_eq!(probes.read().status(), 404);
    assert_eq!(proxy.probe("/events").status(), 404);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_breaker_forced_open_refuses_until_it_is_told_otherwise_also_after_reloads() {
    let origin = Origin::fixed("ok");
    let address = origin.address().to_string();
    let proxy = Proxy::start(&yaml(&address, ONE));
    let answer = force(&proxy, "state=open");
    assert_eq!(
        (answer.status(), &answer.json()["breaker"]["state"]),
        (200, &"forced_open".into())
    );
    let refused = |proxy: &Proxy| {
        let answer = proxy.client().get("/");
        assert_eq!(answer.status(), 503);
        let expected = "upstream `app` is not being called: its circuit breaker was opened by hand";
        assert_eq!(answer.json()["message"], expected);
    };
    refused(&proxy);
    proxy.reload(&yaml(
        &address,
        &format!("{ONE}    balance: least_connections\n"),
    ));
    refused(&proxy);
    proxy.reload(&yaml(
        &address,
        "    circuit_breaker: { consecutive_failures: 7 }\n",
    ));
    refused(&proxy);
    assert_eq!(gauge(&proxy, ""), 2.0);
    let view = proxy.control("/upstreams").text();
    assert!(view.contains("breaker open by hand"), "{view}");
    force(&proxy, "state=auto");
    assert_eq!(proxy.client().get("/").text(), "ok");
    assert_eq!(gauge(&proxy, ""), 0.0);
}

#[test]
fn a_breaker_forced_closed_lets_everything_pass_also_to_endpoints_that_come_later() {
    let origin = failing();
    let address = origin.address().to_string();
    let proxy = Proxy::start(&yaml(&address, ONE));
    proxy.client().get("/");
    assert!(proxy.client().get("/").text().contains("CIRCUIT_OPEN"));
    force(&proxy, "state=closed");
    let other = failing();
    proxy.reload(&yaml(&format!("{address}, {}", other.address()), ONE));
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").text(), "from the app");
    }
    assert!(other.count() >= 4);
    force(&proxy, "state=auto");
    (0..4).for_each(|_| drop(proxy.client().get("/")));
    assert!(proxy.client().get("/").text().contains("CIRCUIT_OPEN"));
}

#[test]
fn one_endpoint_is_taken_out_by_hand() {
    let (first, second) = (Origin::fixed("first"), Origin::fixed("second"));
    let endpoints = format!("{}, {}", first.address(), second.address());
    let proxy = Proxy::start(&yaml(&endpoints, ONE));
    let query = format!(
        "state=open&endpoint={}",
        first.address().to_string().replace(':', "%3A")
    );
    assert_eq!(force(&proxy, &query).status(), 200);
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").text(), "second");
    }
    assert_eq!(gauge(&proxy, &first.address().to_string()), 2.0);
}

#[test]
fn views_show_where_breakers_stand() {
    let nobody = free_address();
    let good = Origin::fixed("ok");
    let endpoints = format!("{nobody}, {}", good.address());
    let proxy = Proxy::start(&yaml(&endpoints, ONE));
    eventually("the first is found bad", || {
        proxy.client().get("/").status() == 502
    });
    let line = |text: &str, of: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines
            .find(|line| line.trim_start().starts_with(of))
            .unwrap()
    };
    let text = proxy.control("/upstreams").text();
    assert!(line(&text, "app").contains("breaker closed"), "{text}");
    let bad = line(&text, &nobody.to_string());
    let seconds = regex::Regex::new(r"breaker open 3[56]\d\d s more").unwrap();
    assert!(seconds.is_match(&bad), "{text}");
    assert!(line(&text, &good.address().to_string()).contains("breaker closed"));
    let mut client = Client::connect(proxy.app().control_address().unwrap());
    client.send("GET /upstreams HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n");
    let json = client.read().json();
    assert_eq!(json[0]["breaker"]["state"], "closed");
    let breaker = &json[0]["endpoints"][0]["breaker"];
    assert_eq!(
        (&breaker["state"], &breaker["mode"]),
        (&"open".into(), &"enforce".into())
    );
    assert!(breaker["remaining_ms"].as_u64().unwrap() > 3_500_000);
    force(&proxy, &format!("state=open&endpoint={}", good.address()));
    let text = proxy.control("/upstreams").text();
    assert!(
        line(&text, "app").contains("breaker open"),
        "all of them are: {text}"
    );
    let plain = Proxy::before(good.address()).control("/upstreams").text();
    assert!(!plain.contains("breaker"), "{plain}");
}

#[test]
fn a_follower_that_does_not_read_holds_nobody_up() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&yaml(&origin.address().to_string(), ONE));
    let mut follower = Client::connect(proxy.app().control_address().unwrap());
    follower.send("GET /events?follow=1 HTTP/1.1\r\nhost: a\r\n\r\n");
    for _ in 0..1000 {
        force(&proxy, "state=open");
        force(&proxy, "state=auto");
    }
    assert_eq!(proxy.client().get("/").status(), 200);
    // What it finds when it reads at last is in order, and says what is missing.
    follower.read_head().unwrap();
    let (mut seen, mut text) = (0, Vec::new());
    while seen < 2001 {
        text.write_all(&follower.chunk().unwrap().unwrap()).unwrap();
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            match event["gap"].as_u64() {
                Some(gap) => seen += gap,
                None => {
                    assert_eq!(event["seq"], seen + 1);
                    seen += 1;
                }
            }
        }
    }
}

#[test]
fn a_drain_is_written_down() {
    let origin = Origin::start(|_, peer| {
        std::thread::sleep(Duration::from_millis(300));
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let control = proxy.app().control_address().unwrap();
    let mut follower = Client::connect(control);
    follower.send("GET /events?follow=1&since=1 HTTP/1.1\r\nhost: a\r\n\r\n");
    follower.read_head().unwrap();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("a request is under way", || origin.count() == 1);
    let draining = std::thread::spawn(move || proxy.drain());
    let line = follower.chunk().unwrap().unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        (&event["kind"], &event["to"]),
        (&"drain".into(), &"draining".into())
    );
    assert_eq!(client.read().status(), 200);
    assert_eq!(draining.join().unwrap().cut, 0);
}

#[test]
fn what_happens_to_endpoints_is_written_down() {
    let (bad, good) = (failing(), Origin::fixed("ok"));
    let nobody = free_address();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n\
         \x20 app: {{ endpoints: [{}, {}], outlier: {{ consecutive_failures: 1, eject_for: 300ms }} }}\n\
         \x20 checked: {{ endpoints: [{nobody}], health_check: tcp }}\n\
         \x20 listed: {{ discovery: {{ file: list.yaml }} }}\n",
        bad.address(),
        good.address()
    ));
    let list = proxy.path().parent().unwrap().join("list.yaml");
    std::fs::write(list, format!("- {}\n", good.address())).unwrap();
    let of = |kind: &str, to: &str| {
        let all = events(&proxy, "");
        all.into_iter()
            .find(|event| event["kind"] == kind && event["to"] == to)
    };
    eventually("an ejection", || {
        proxy.client().get("/");
        of("ejection", "ejected").is_some()
    });
    let event = of("ejection", "ejected").unwrap();
    let subject = format!("upstreams.app.endpoints.{}", bad.address());
    assert_eq!(event["subject"], subject);
    let cause = "1 failure, the last: answered 500";
    assert_eq!(event["cause"], cause);
    eventually("its end", || {
        proxy.control("/upstreams");
        of("ejection", "in_service").is_some()
    });
    eventually("a failed check", || of("health", "unhealthy").is_some());
    let event = of("health", "unhealthy").unwrap();
    assert_eq!(
        event["subject"],
        format!("upstreams.checked.endpoints.{nobody}")
    );
    eventually("a list", || of("discovery", "1 endpoint").is_some());
    let event = of("discovery", "1 endpoint").unwrap();
    assert_eq!(event["cause"], format!("added {}", good.address()));
}
