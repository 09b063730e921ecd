//! Requests that two servers could read as two different ones never leave the proxy.

use std::net::SocketAddr;

use outrigger::telemetry::protocol::Offence;

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn counted(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_downstream_protocol_errors_total{{direction=\"inbound\",listener=\"inbound\",reason=\"{reason}\"}}"
    ))
}

/// Sends `bytes` with another request behind them: 400, the end, nothing at the app, counted, and others are served.
#[track_caller]
fn assert_refused(what: &str, bytes: &str, reason: &str) {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut other = proxy.client();
    assert_eq!(other.get("/before").status(), 200);
    let mut client = proxy.client();
    drop(client.try_send(format!("{bytes}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")));
    let answer = client.try_read();
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.status(), 400, "{what}");
    assert!(client.is_closed(), "{what}");
    assert_eq!(other.get("/after").status(), 200, "{what}");
    let seen: Vec<String> = origin.requests().into_iter().map(|it| it.line).collect();
    assert_eq!(
        seen,
        ["GET /before HTTP/1.1", "GET /after HTTP/1.1"],
        "{what}"
    );
    eventually(&format!("{what} is counted as {reason}"), || {
        counted(&proxy, reason) == 1.0
    });
    let all: f64 = (Offence::ALL.iter())
        .map(|offence| counted(&proxy, offence.as_str()))
        .sum();
    assert_eq!(all, 1.0, "{what} is counted once");
}

#[test]
fn a_body_with_two_framings_is_refused() {
    for (what, fields) in [
        (
            "length first",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        ),
        (
            "coding first",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        ),
        (
            "a length of 0",
            "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        ),
        (
            "in capitals",
            "CONTENT-LENGTH: 4\r\nTRANSFER-ENCODING: CHUNKED\r\n",
        ),
        (
            "with tabs",
            "content-length:\t4\r\ntransfer-encoding:\tchunked\r\n",
        ),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n0\r\n\r\n");
        assert_refused(what, &bytes, "length_and_coding");
    }
}

#[test]
fn a_length_that_is_not_one_number_is_refused() {
    for (value, reason) in [
        ("1\r\ncontent-length: 1", "several_content_lengths"),
        ("1\r\nContent-Length: 2", "several_content_lengths"),
        ("1, 1", "content_length"),
        ("+1", "content_length"),
        ("-1", "content_length"),
        ("0x1", "content_length"),
        ("1 1", "content_length"),
        ("1.0", "content_length"),
        ("", "content_length"),
        ("99999999999999999999", "content_length"),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {value}\r\n\r\na");
        assert_refused(value, &bytes, reason);
    }
}

#[test]
fn a_coding_other_than_chunked_is_refused() {
    for value in [
        "gzip",
        "identity",
        "chunked, gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: identity",
        "xchunked",
        "\"chunked\"",
        "chunked;q=1",
    ] {
        let bytes =
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {value}\r\n\r\n0\r\n\r\n");
        assert_refused(value, &bytes, "transfer_encoding");
    }
    assert_refused(
        "HTTP/1.0",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer_encoding",
    );
}

#[test]
fn lines_that_do_not_end_with_cr_lf_are_refused() {
    for bytes in [
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "GET / HTTP/1.1\r\nx: y\nhost: a\r\n\r\n",
    ] {
        assert_refused(bytes, bytes, "bare_lf");
    }
}

#[test]
fn a_header_line_that_is_none_is_refused() {
    for line in [
        "transfer-encoding : chunked",
        "x: a\rb",
        "x: a\r\n folded",
        "x: a\r\n\tfolded",
        "x: a\0b",
        "x\0: a",
        "x y: a",
        "no colon",
        ": no name",
        "x\u{e9}: a",
        " x: a",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n");
        assert_refused(line, &bytes, "header_line");
    }
}

#[test]
fn a_host_that_is_missing_doubled_or_none_is_refused() {
    for (what, bytes, reason) in [
        ("none", "GET / HTTP/1.1\r\n\r\n", "no_host"),
        (
            "two",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "several_hosts",
        ),
        (
            "twice the same",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "several_hosts",
        ),
        ("a list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "host"),
        ("with a user", "GET / HTTP/1.1\r\nhost: x@a\r\n\r\n", "host"),
        ("with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", "host"),
        (
            "with two ports",
            "GET / HTTP/1.1\r\nhost: a:1:2\r\n\r\n",
            "host",
        ),
        (
            "with a bad port",
            "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n",
            "host",
        ),
        (
            "with a space",
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "host",
        ),
        (
            "beyond ASCII",
            "GET / HTTP/1.1\r\nhost: \u{e9}\r\n\r\n",
            "host",
        ),
    ] {
        assert_refused(what, bytes, reason);
    }
}

#[test]
fn a_target_that_no_server_takes_is_refused() {
    for target in ["a:80", "x", "*", "ftp://a/x", "http://u:p@a/x"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        let reason = if target.contains('@') {
            "host"
        } else {
            "request_line"
        };
        assert_refused(target, &bytes, reason);
    }
}

#[test]
fn another_protocol_is_not_answered_in_http() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("INVALID CONNECTION PREFACE\r\n\r\n");
    assert!(client.is_closed(), "not a byte");
    eventually("it is counted", || counted(&proxy, "not_http") == 1.0);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn the_request_behind_a_chunked_one_begins_where_that_ends() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.answer("200 OK", request.target());
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    // What looks like an offence inside a body is none.
    let body = "content-length: 3\r\ntransfer-encoding: chunked\r\n\n\n";
    let one = format!(
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x};x=y\r\n{body}\r\n0\r\nt: u\r\n\r\n\
         POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}GET /c HTTP/1.1\r\nhost: a\r\n\r\n",
        body.len(),
        body.len()
    );
    client.send(one.repeat(3));
    for _ in 0..3 {
        for target in ["/a", "/b", "/c"] {
            assert_eq!(client.read().text(), target);
        }
    }
}

#[test]
fn an_offence_behind_good_requests_is_answered_in_its_turn() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nPOST /3 HTTP/1.1\r\nhost: a\r\n\
         content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    let statuses: Vec<u16> = (0..3).map(|_| client.read().status()).collect();
    assert_eq!(statuses, [200, 200, 400]);
    assert!(client.is_closed());
    assert_eq!(origin.count(), 2);
}

#[test]
fn fields_that_connection_lists_do_not_reach_the_app() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-secret, host, close\r\nx-secret: 1\r\nx-kept: 1\r\n\r\n",
    );
    assert_eq!(client.read().status(), 200);
    let request = &origin.requests()[0];
    assert_eq!(request.header("x-secret"), None);
    assert_eq!(request.header("x-kept"), Some("1"));
    assert_eq!(
        request.header("host"),
        Some("a"),
        "it cannot be listed away"
    );
}

#[test]
fn the_target_decides_where_it_names_a_host() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET http://target.example/x HTTP/1.1\r\nhost: other.example\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    let request = &origin.requests()[0];
    assert_eq!(request.all("host"), ["target.example"]);
    assert_eq!(request.target(), "/x");
}

/// The answer's status to one HTTP/2 request of these literal fields; `None` when the stream or connection is ended.
fn over_http2(address: SocketAddr, fields: &[(&[u8], &[u8])]) -> Option<u16> {
    use crate::support::frames::{Frames, headers};
    let mut peer = Frames::connect(address);
    peer.send(&headers(1, fields));
    peer.status(1)
}

#[test]
fn http2_fields_that_would_be_others_in_http1_are_refused() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let base: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"a"),
    ];
    assert_eq!(over_http2(proxy.address(), &base), Some(200));
    let mut cases: Vec<Vec<(&[u8], &[u8])>> = Vec::new();
    for field in [
        (&b"x"[..], &b"a\r\nhost: b"[..]),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"x\r\nhost", b"b"),
        (b"x:y", b"b"),
        (b"x y", b"b"),
        (b"X-Upper", b"b"),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"host", b"b"),
        (b"content-length", b"5"),
        (b"content-length", b"+0"),
    ] {
        cases.push([&base[..], &[field]].concat());
    }
    for (place, value) in [
        (0, &b"GET / HTTP/1.1\r\nhost: b\r\n\r\nGET"[..]),
        (2, b"/ HTTP/1.1\r\nhost: b\r\n\r\nGET /smuggled"),
        (2, b"/a b"),
        (2, b""),
        (3, b"a\r\nx: y"),
        (3, b"a b"),
        (3, b"a:b:c"),
    ] {
        let mut fields = base.to_vec();
        fields[place].1 = value;
        cases.push(fields);
    }
    for fields in cases {
        let status = over_http2(proxy.address(), &fields);
        let shown: Vec<_> = fields
            .iter()
            .map(|(name, value)| {
                (
                    name.escape_ascii().to_string(),
                    value.escape_ascii().to_string(),
                )
            })
            .collect();
        assert!(
            matches!(status, None | Some(400)),
            "{status:?} to {shown:?}"
        );
    }
    assert_eq!(origin.count(), 1);
}
