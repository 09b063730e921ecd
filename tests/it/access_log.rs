//! One JSON line for each request, whatever becomes of it, and never at a request's expense.

use std::collections::BTreeMap;

use crate::support::binary::Binary;
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};

#[test]
fn a_line_has_the_fields_that_an_operator_looks_for() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.answer("201 Created", "0123456789");
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - {{ name: pay, match: [{{ path: /v1 }}], forward: app }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let mut client = proxy.client();
    client.send("POST /v1/charge?card=secret HTTP/1.1\r\nhost: a\r\nx-request-id: 01JDF6W3V9T4N8\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.read().status(), 201);
    let line = proxy.access_line("/v1/charge");
    let endpoint = origin.address().to_string();
    for (key, value) in [
        ("level", "info"),
        ("msg", "request"),
        ("direction", "inbound"),
        ("listener", "inbound"),
        ("route", "pay"),
        ("upstream", "app"),
        ("endpoint", &endpoint),
        ("method", "POST"),
        ("client", "127.0.0.1"),
        ("request_id", "01JDF6W3V9T4N8"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    for (key, value) in [("status", 201), ("bytes_in", 5), ("bytes_out", 10)] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    for phase in ["connect", "first_byte", "transfer"] {
        assert!(line["phases_ms"][phase].is_number(), "{phase} in {line}");
    }
    let attempts = line["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (&attempts[0]["endpoint"], &attempts[0]["outcome"]),
        (&endpoint.as_str().into(), &"201".into())
    );
    assert_eq!(
        line["config"],
        proxy.control("/config/status").json()["hash"]
    );
    assert!(!line.to_string().contains("secret"), "no query: {line}");
}

#[test]
fn hostile_paths_and_ids_cannot_break_a_line() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let long = "/".to_string() + &"x".repeat(20_000);
    let mut answered = 0;
    for path in [
        "/a\"b",
        "/a\\b",
        "/a\",\"status\":500,\"x\":\"",
        "/%0a%22",
        "/gr\u{fc}\u{df}e/\u{1f6f6}",
        "/<script>",
        &long,
    ] {
        for id in [
            "plain",
            "a\"b\\c",
            "\u{1f6f6}",
            "tab\tid",
            &"9".repeat(3000),
        ] {
            let mut client = proxy.client();
            client.send(format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n\r\n"
            ));
            // What is not a path is refused before it is a request, and has no line.
            answered += usize::from(client.read().status() == 200);
        }
    }
    let mut client = proxy.client();
    client.send(b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\nx-request-id: \xff\r\n\r\n");
    answered += usize::from(client.read().status() == 200);
    assert!(answered >= 15, "{answered} were answered");
    // Each line is parsed on reading.
    eventually("a line for each", || proxy.access_log().len() == answered);
    for line in proxy.access_log() {
        assert_eq!(
            (&line["status"], &line["msg"]),
            (&200.into(), &"request".into())
        );
        assert!(line["path"].as_str().unwrap().len() <= 3 * 2048);
    }
}

#[test]
fn each_exchange_has_exactly_one_line_however_it_ends() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        match request.target() {
            "/hang" => drop(peer.is_closed()),
            "/cut" => drop(peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")),
            "/stream" => {
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
                peer.is_closed();
            }
            "/reset" => {}
            _ => {
                peer.answer("200 OK", "ok");
                return Then::KeepAlive;
            }
        }
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    for _ in 0..3 {
        let mut client = proxy.client();
        client.get("/ok");
        client.post("/ok", b"body");
        client.get("/reset");
        client.send("GET /cut HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(client.try_read().is_err(), "the answer was cut");
        let seen = origin.count();
        let mut client = proxy.client();
        client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("it hangs", || origin.count() > seen);
        drop(client);
        let mut client = proxy.client();
        client.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
        client.read_head().unwrap();
        drop(client);
    }
    eventually("all have ended", || proxy.access_log().len() >= 18);
    proxy.client().get("/last");
    proxy.access_line("/last");
    let mut ends: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in proxy.access_log() {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_string();
        *ends.entry((text("path"), text("reason"))).or_default() += 1;
    }
    let expected = [
        ("/cut", "upstream_body_reset", 3),
        ("/hang", "client_gone", 3),
        ("/last", "", 1),
        ("/ok", "", 6),
        ("/reset", "upstream_reset", 3),
        ("/stream", "client_gone", 3),
    ];
    let expected =
        expected.map(|(path, reason, count)| ((path.to_string(), reason.to_string()), count));
    assert_eq!(ends, BTreeMap::from(expected));
}

#[test]
fn an_output_that_nobody_reads_costs_lines_but_no_request() {
    let origin = Origin::fixed("ok");
    let yaml = format!("access_log: stdout\n{}", minimal(origin.address()));
    let mut binary = Binary::start_unread(&yaml);
    let mut client = binary.client();
    let path = format!("/{}", "x".repeat(1900));
    let dropped = |binary: &Binary| {
        let text = binary.probe("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("outrigger_access_log_dropped_total "))
            .map(|value| value.parse::<u64>().unwrap());
        line.unwrap()
    };
    let mut sent = 0;
    while dropped(&binary) == 0 {
        for _ in 0..200 {
            assert_eq!(client.get(&path).status(), 200);
            sent += 1;
        }
        assert!(sent < 40_000, "the queue has a bound");
    }
    assert_eq!(client.get("/after").status(), 200);
    assert!(dropped(&binary) <= sent);
    binary.signal("TERM");
    assert_eq!(
        binary.wait().code(),
        Some(0),
        "nor does it hold up the exit"
    );
}
