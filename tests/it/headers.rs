//! Heads on their way through: what is removed, what is added, what is refused.

use crate::support::client::{Answer, Client};
use crate::support::origin::{Origin, Request, Then};
use crate::support::proxy::Proxy;

const STRANGERS: &str = "trusted_proxies: [10.0.0.0/8]";

/// What the origin sees of a request whose lines after the first are `fields`.
fn seen(more: &str, fields: &str) -> Request {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::with(origin.address(), more);
    let mut client = proxy.client();
    client.send(format!("GET /seen HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(client.read().status(), 200);
    origin.requests().remove(0)
}

/// The answer to bytes that no origin may see.
fn refused(bytes: &str) -> Answer {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(bytes);
    let answer = client.read();
    assert_eq!(origin.count(), 0, "{bytes}");
    assert_eq!(proxy.client().get("/next").status(), 200);
    answer
}

#[test]
fn a_request_loses_what_concerns_one_connection_only() {
    let origin = Origin::start(|request, peer| {
        assert_eq!(peer.body(request), b"abc");
        peer.answer("200 OK", "");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\nConnection: keep-alive, X-Hop, host\r\n\
         connection: Content-Length\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
         Upgrade: websocket\r\nX-Hop: 1\r\nX-Hop: 2\r\nX-End: 3\r\n\r\nabc",
    );
    assert_eq!(client.read().status(), 200);
    let request = &origin.requests()[0];
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "x-hop",
        "transfer-encoding",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("host"), Some("app"));
    assert_eq!(request.header("content-length"), Some("3"));
    assert_eq!(request.header("x-end"), Some("3"));
}

#[test]
fn an_answer_loses_what_concerns_one_connection_only() {
    let origin = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\nConnection: X-Hop, content-length\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nok",
        );
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let answer = proxy.client().get("/");
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "x-hop",
        "transfer-encoding",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-end"), Some("2"));
    assert_eq!(answer.header("content-length"), Some("2"));
}

#[test]
fn the_app_learns_who_its_client_is() {
    let request = seen("", "host: shop:8080\r\n");
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop:8080"]);
    assert_eq!(request.all("forwarded"), [""; 0]);
}

#[test]
fn what_a_trusted_peer_says_about_its_client_is_kept_and_appended_to() {
    let fields = "host: a\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 8.8.8.8\r\nx-forwarded-proto: https\r\n\
                  x-forwarded-host: shop\r\n";
    let request = seen("", fields);
    assert_eq!(
        request.all("x-forwarded-for"),
        ["9.9.9.9, 8.8.8.8, 127.0.0.1"]
    );
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop"]);
}

#[test]
fn what_a_stranger_says_about_its_client_is_overwritten() {
    let fields = "host: a\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop\r\n\
                  X-Forwarded-Prefix: /admin\r\nForwarded: for=9.9.9.9\r\n";
    for trusted in [STRANGERS, "trusted_proxies: []"] {
        let request = seen(trusted, fields);
        assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.all("x-forwarded-proto"), ["http"]);
        assert_eq!(request.all("x-forwarded-host"), ["a"]);
        assert_eq!(request.header("x-forwarded-prefix"), None);
        assert_eq!(request.header("forwarded"), None);
    }
}

#[test]
fn forwarded_headers_decides_which_fields_tell_about_the_client() {
    let fields = "host: a\r\nforwarded: for=9.9.9.9\r\n";
    let element = "for=9.9.9.9, for=127.0.0.1;host=\"a\";proto=http";

    let request = seen("forwarded_headers: forwarded", fields);
    assert_eq!(request.all("forwarded"), [element]);
    assert_eq!(request.header("x-forwarded-for"), None);

    let request = seen("forwarded_headers: both", fields);
    assert_eq!(request.all("forwarded"), [element]);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);

    let request = seen("forwarded_headers: none", "host: a\r\n");
    assert_eq!(request.header("forwarded"), None);
    assert_eq!(request.header("x-forwarded-for"), None);

    let claims = "host: a\r\nforwarded: for=9.9.9.9\r\nx-forwarded-for: 9.9.9.9\r\n";
    let request = seen(&format!("forwarded_headers: none\n{STRANGERS}"), claims);
    assert_eq!(request.header("forwarded"), None);
    assert_eq!(request.header("x-forwarded-for"), None);
}

#[test]
fn request_id_decides_whether_one_is_made() {
    for (more, fields, expected) in [
        ("", "", None),
        ("request_id: keep", "", Some(None)),
        (
            "request_id: keep",
            "x-request-id: a-1\r\n",
            Some(Some("a-1")),
        ),
        ("request_id: keep", "x-request-id: \"\r\n", Some(None)),
        (
            "request_id: make",
            "x-request-id: a-1\r\n",
            Some(Some("a-1")),
        ),
    ] {
        let request = seen(more, &format!("host: a\r\n{fields}"));
        let id = request.header("x-request-id");
        match expected {
            Some(expected) => assert_eq!(id, expected, "{more} {fields}"),
            None => assert_eq!(id.map(str::len), Some(26)),
        }
    }
}

#[test]
fn the_access_line_names_the_client_that_trusted_peers_name() {
    let origin = Origin::fixed("ok");
    for (more, client) in [
        ("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]", "9.9.9.9"),
        ("trusted_proxies: [127.0.0.0/8]", "10.0.0.7"),
        (STRANGERS, "127.0.0.1"),
    ] {
        let proxy = Proxy::with(origin.address(), more);
        let mut connection = proxy.client();
        connection.send(
            "GET /who HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.1.1.1, 9.9.9.9, 10.0.0.7\r\n\r\n",
        );
        connection.read();
        assert_eq!(proxy.access_line("/who")["client"], client, "{more}");
    }
}

#[test]
fn a_well_formed_request_id_is_kept_and_another_is_replaced() {
    let request = seen("", "host: a\r\nx-request-id: abc-1.2\r\n");
    assert_eq!(request.all("x-request-id"), ["abc-1.2"]);
    for fields in [
        "",
        "x-request-id: a b\r\n",
        "x-request-id: a\r\nx-request-id: b c\r\n",
    ] {
        let request = seen("", &format!("host: a\r\n{fields}"));
        let ids = request.all("x-request-id");
        assert_eq!(ids.len(), 1, "{fields}: {ids:?}");
        assert!(ids[0].len() == 26 || ids[0] == "a", "{fields}: {ids:?}");
    }
}

#[test]
fn the_access_line_carries_the_request_id_that_the_app_saw() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    proxy.client().get("/id");
    let line = proxy.access_line("/id");
    assert_eq!(
        line["request_id"].as_str(),
        origin.requests()[0].header("x-request-id")
    );
}

#[test]
fn names_are_lower_case_unless_they_are_to_be_preserved() {
    for (more, up, down) in [
        ("", "x-MiXed-up", "x-mixed-down"),
        ("header_case: lower", "x-mixed-up", "x-mixed-down"),
        ("header_case: preserve", "X-MiXed-Up", "X-MiXed-dOwn"),
    ] {
        let origin = Origin::start(|_, peer| {
            peer.send("HTTP/1.1 200 OK\r\nX-MiXed-dOwn: 1\r\nCONTENT-LENGTH: 0\r\n\r\n");
            Then::KeepAlive
        });
        let proxy = Proxy::with(origin.address(), more);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHOST: a\r\nX-MiXed-Up: 1\r\n\r\n");
        let answer = client.read();
        let names: Vec<&str> = answer.headers.iter().map(|(name, _)| &**name).collect();
        assert!(names.contains(&down), "{more}: {names:?}");
        let request = origin.requests().remove(0);
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| &**name).collect();
        let up = if down.starts_with('X') {
            up
        } else {
            "x-mixed-up"
        };
        assert!(names.contains(&up), "{more}: {names:?}");
        assert_eq!(
            names.contains(&"HOST"),
            more.ends_with("preserve"),
            "{names:?}"
        );
    }
}

#[test]
fn an_absolute_target_decides_over_the_host_and_is_shortened() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET http://shop:81/a?b=c HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    client.send("GET http://shop HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    client.send("OPTIONS * HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    let requests = origin.requests();
    assert_eq!(requests[0].line, "GET /a?b=c HTTP/1.1");
    assert_eq!(requests[0].all("host"), ["shop:81"]);
    assert_eq!(requests[1].line, "GET / HTTP/1.1");
    assert_eq!(requests[2].line, "OPTIONS * HTTP/1.1");
}

#[test]
fn a_request_has_exactly_one_host() {
    let answer = refused("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["code"], "BAD_REQUEST");
    let answer = refused("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n");
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["code"], "BAD_REQUEST");
}

#[test]
fn a_tunnel_is_refused() {
    let answer = refused("CONNECT shop:443 HTTP/1.1\r\nhost: shop:443\r\n\r\n");
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.json()["code"], "METHOD_NOT_ALLOWED");
}

#[test]
fn a_request_with_two_framings_never_reaches_the_app_with_both() {
    for fields in [
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
    ] {
        let origin = Origin::start(|request, peer| {
            peer.body(request);
            peer.answer("200 OK", "");
            Then::KeepAlive
        });
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        let status = client.read().status();
        assert!(status == 400 || status == 200, "{fields}: {status}");
        for request in origin.requests() {
            assert_eq!(request.header("content-length"), None, "{fields}");
            assert_eq!(request.header("transfer-encoding"), Some("chunked"));
        }
    }
}

#[test]
fn two_different_lengths_are_refused() {
    let answer =
        refused("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd");
    assert_eq!(answer.status(), 400);
}

#[test]
fn an_expectation_is_met_by_the_proxy_when_the_app_is_there() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        );
        assert_eq!(client.read_head().unwrap().status(), 100);
        client.send("abc");
        assert_eq!(client.read().text(), "abc");
    }
    assert_eq!(origin.requests()[0].header("expect"), None);
}

#[test]
fn an_app_that_is_not_there_costs_an_expecting_client_no_body() {
    let address = crate::support::free_address();
    let proxy = Proxy::before(address);
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    let answer = client.read();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["code"], "CONNECT_REFUSED");
}
