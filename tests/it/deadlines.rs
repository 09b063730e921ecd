//! By when a request is answered, and what the app is told about it.

use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn proxy(origin: &Origin, route: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\n\
         routes:\n  - name: app\n    forward: app\n{route}\
         upstreams: {{ app: {{ endpoints: [{}], protocol: http1 }} }}\n\
         deadline_header: X-Request-Timeout-Ms\n",
        origin.address()
    ))
}

/// Never answers.
fn silent() -> Origin {
    Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    })
}

fn get(proxy: &Proxy, headers: &str) -> (crate::support::client::Answer, Duration) {
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send(format!("GET /x HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    let answer = client.read();
    (answer, begun.elapsed())
}

#[test]
fn what_a_client_allows_is_kept() {
    let origin = silent();
    let proxy = proxy(&origin, "");
    for header in ["x-request-timeout-ms: 150\r\n", "grpc-timeout: 150m\r\n"] {
        let (answer, took) = get(&proxy, header);
        assert_eq!(answer.status(), 504, "{header}");
        assert_eq!(answer.json()["code"], "DEADLINE_EXCEEDED", "{header}");
        assert!(
            took >= Duration::from_millis(150) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
}

#[test]
fn a_client_cannot_have_more_than_the_route_gives() {
    let origin = silent();
    let proxy = proxy(&origin, "    timeout: 150ms\n");
    let (answer, _) = get(&proxy, "x-request-timeout-ms: 60000\r\n");
    assert_eq!(answer.json()["code"], "REQUEST_TIMEOUT");
    assert_eq!(
        answer.json()["details"]["limit"],
        serde_json::json!({ "key": "routes.app.timeout", "value": "150ms", "at": "outrigger.yaml:5" })
    );
}

#[test]
fn no_attempt_begins_past_the_deadline() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "");
    let (answer, _) = get(&proxy, "x-request-timeout-ms: 0\r\n");
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.json()["code"], "DEADLINE_EXCEEDED");
    assert_eq!(origin.count(), 0);
}

#[test]
fn every_attempt_is_told_what_is_left() {
    let origin = Origin::start(|request, peer| {
        if request.connection == 1 {
            std::thread::sleep(Duration::from_millis(60));
            return Then::Close;
        }
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = proxy(&origin, "    retry: { backoff: { base: 1ms } }\n");
    let headers = "x-request-timeout-ms: 5000\r\ngrpc-timeout: 4S\r\n";
    assert_eq!(get(&proxy, headers).0.status(), 200);
    let seen = origin.requests();
    let told = |index: usize| {
        let own: u64 = seen[index]
            .header("x-request-timeout-ms")
            .unwrap()
            .parse()
            .unwrap();
        let grpc = seen[index].header("grpc-timeout").unwrap().to_owned();
        let (number, unit) = grpc.split_at(grpc.len() - 1);
        assert_eq!(unit, "u", "{grpc}");
        (own, number.parse::<u64>().unwrap() / 1000)
    };
    let (first, second) = (told(0), told(1));
    assert!((3900..=4000).contains(&first.0), "{first:?}");
    assert!((3900..=4000).contains(&first.1), "{first:?}");
    assert!(second.0 + 60 <= first.0 && second.0 > 3000, "{second:?}");
    assert!(second.1 + 60 <= first.1, "{second:?}");
}

#[test]
fn the_app_is_told_the_routes_timeout_if_the_client_says_nothing() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "    timeout: 2s\n");
    get(&proxy, "");
    let seen = origin.requests();
    let told: u64 = seen[0]
        .header("x-request-timeout-ms")
        .unwrap()
        .parse()
        .unwrap();
    assert!((1900..=2000).contains(&told), "{told}");
    assert_eq!(seen[0].header("grpc-timeout"), None);
}

#[test]
fn what_is_no_time_means_nothing() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "    timeout: 2s\n");
    for header in [
        "x-request-timeout-ms: -1",
        "x-request-timeout-ms: 1e3",
        "x-request-timeout-ms: 99999999999999999999",
        "grpc-timeout: soon",
        "grpc-timeout: 99999999H",
        "grpc-timeout: ",
    ] {
        assert_eq!(
            get(&proxy, &format!("{header}\r\n")).0.status(),
            200,
            "{header}"
        );
    }
}

#[test]
fn a_retry_that_would_come_too_late_is_not_made() {
    let origin = Origin::start(|_, _| Then::Close);
    let proxy = proxy(
        &origin,
        "    retry: { backoff: { base: 5s, max: 5s, jitter: none } }\n",
    );
    let (answer, took) = get(&proxy, "x-request-timeout-ms: 1000\r\n");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["details"]["not_retried"], "deadline");
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_grpc_request_is_not_bound_by_the_total_timeout() {
    let origin = Origin::start(|_, peer| {
        std::thread::sleep(Duration::from_millis(400));
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = proxy(&origin, "    timeout: 100ms\n");
    let grpc = "te: trailers\r\ncontent-type: application/grpc\r\n";
    assert_eq!(get(&proxy, grpc).0.status(), 200);
    assert_eq!(get(&proxy, "").0.status(), 504);
    let (answer, _) = get(&proxy, &format!("{grpc}grpc-timeout: 100m\r\n"));
    assert_eq!(answer.json()["code"], "DEADLINE_EXCEEDED");
}

#[test]
fn a_clients_deadline_ends_a_stream_that_has_begun() {
    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        while peer.send("1\r\nx\r\n") {
            std::thread::sleep(Duration::from_millis(10));
        }
        Then::Close
    });
    let proxy = proxy(&origin, "    timeout: 100ms\n");
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\nx-request-timeout-ms: 300\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    let begun = Instant::now();
    while client.chunk().is_ok_and(|chunk| chunk.is_some()) {}
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(proxy.access_line("/x")["reason"], "deadline_exceeded");
}
