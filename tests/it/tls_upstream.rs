//! TLS towards endpoints: who is believed, what is asked for, what is told when no hands are shaken.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustls::version::{TLS12, TLS13};
use time::{Duration, OffsetDateTime};

use crate::support::client::Answer;
use crate::support::dns::{Dns, addresses};
use crate::support::http2::{Http2, empty, request};
use crate::support::http2_origin::Http2Origin;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Pair};
use crate::support::tls_front::{Manner, TlsFront, deaf};
use crate::support::{PATIENCE, eventually};

/// An authority in `ca.crt`, and what else is written beside it.
struct Files {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        Self {
            authority,
            directory,
        }
    }

    fn write(&self, name: &str, pair: &Pair) {
        pair.write(self.directory.path(), name);
    }

    /// One upstream whose `tls` believes the authority; `tls` and `upstream` are more keys.
    fn yaml(&self, endpoint: SocketAddr, tls: &str, upstream: &str) -> String {
        let dir = self.directory.path().display().to_string();
        let text = format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\n\
             routes:\n  - {{ name: app, forward: app, retry: off }}\n\
             upstreams:\n  app: {{ endpoints: [{endpoint}], tls: {{ ca: {{tls}}/ca.crt{tls} }}{upstream} }}\n"
        );
        text.replace("{tls}", &dir)
    }

    fn start(&self, endpoint: SocketAddr, tls: &str) -> Proxy {
        Proxy::start(&self.yaml(endpoint, tls, ""))
    }
}

/// What is told to a client that is trusted, and to the log.
#[track_caller]
fn refused(proxy: &Proxy, code: &str, words: &str) -> Answer {
    let answer = proxy.client().get("/refused");
    let body = answer.json();
    assert_eq!(body["code"], code.to_ascii_uppercase(), "{body}");
    assert!(body.to_string().contains(words), "{body}");
    let line = proxy.access_line("/refused");
    assert_eq!(line["reason"], code, "{line}");
    answer
}

#[test]
fn an_app_that_proves_who_it_is_gets_requests() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let proxy = files.start(front.address(), "");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "hello");
    }
    let shaken = front.shaken();
    assert_eq!(shaken.len(), 1, "one connection, one handshake");
    assert_eq!(shaken[0].name, None, "an address is no name");
    assert_eq!(shaken[0].protocol.as_deref(), Some("http/1.1"));
}

#[test]
fn the_app_sees_the_name_it_is_asked_for() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["app.internal"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let proxy = files.start(front.address(), ", server_name: APP.internal");
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(front.shaken()[0].name.as_deref(), Some("app.internal"));
}

#[test]
fn an_endpoint_with_a_name_is_asked_for_it() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["app.example"]);
    let dns = Dns::knowing("app.example", addresses(&["127.0.0.1"], 60));
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let yaml = files.yaml(front.address(), "", "").replace(
        &front.address().to_string(),
        &format!("app.example:{}", front.address().port()),
    );
    let proxy = Proxy::start(&format!("{yaml}{}", dns.yaml()));
    eventually("the name is resolved", || {
        proxy.client().get("/").status() == 200
    });
    assert_eq!(front.shaken()[0].name.as_deref(), Some("app.example"));
}

#[test]
fn whoever_cannot_prove_who_it_is_is_sent_nothing() {
    let files = Files::new();
    let ended = OffsetDateTime::now_utc() - Duration::days(1);
    let begins = OffsetDateTime::now_utc() + Duration::days(90);
    for (pair, words) in [
        (
            files.authority.issue(&["other.test"]),
            "its certificate is for other.test, not for 127.0.0.1",
        ),
        (
            Authority::new().issue(&["127.0.0.1"]),
            "its certificate is from an authority that is not believed",
        ),
        (
            files.authority.issue_until(&["127.0.0.1"], ended),
            "its certificate has expired",
        ),
        (
            files.authority.issue_until(&["127.0.0.1"], begins),
            "its certificate is not valid yet",
        ),
    ] {
        let origin = Origin::fixed("never");
        let front = TlsFront::start(origin.address(), &Manner::of(&pair));
        let proxy = files.start(front.address(), "");
        let answer = refused(&proxy, "upstream_certificate", words);
        assert_eq!(answer.status(), 502);
        assert_eq!(origin.count(), 0);
    }
}

#[test]
fn insecure_believes_anybody_and_is_warned_about() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = Authority::new().issue(&["other.test"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let yaml = files.yaml(front.address(), ", insecure: true", "");
    let proxy = Proxy::start(&yaml);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(
        proxy.metric("outrigger_upstream_tls_unverified{upstream=\"app\"}"),
        1.0
    );
    let (_, diagnostics) = crate::config_mistakes::checked(&yaml);
    let messages: Vec<&str> = diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert!(messages[0].contains("not looked at"), "{messages:?}");
}

#[test]
fn an_app_without_tls_is_told_apart() {
    let files = Files::new();
    let proxy = files.start(deaf(), "");
    refused(&proxy, "upstream_tls_failed", "is not TLS");
}

#[test]
fn an_app_that_closes_in_the_handshake_is_told_apart() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Reads the greeting, so that the end is one and no reset.
            drop(stream.read(&mut [0; 4096]));
        }
    });
    let proxy = files.start(address, "");
    refused(&proxy, "upstream_tls_failed", "closed the connection");
}

#[test]
fn a_silent_app_meets_the_timer_of_the_handshake() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::start(&files.yaml(address, "", ", timeouts: { tls: 150ms }"));
    let begun = std::time::Instant::now();
    let answer = refused(&proxy, "upstream_tls_timeout", "upstreams.app.timeouts.tls");
    assert_eq!(answer.status(), 504);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(150));
    assert!(begun.elapsed() < std::time::Duration::from_millis(900));
}

#[test]
fn the_time_of_the_request_ends_a_handshake_too() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let yaml = files.yaml(address, "", "");
    let yaml = yaml.replace("retry: off", "retry: off, timeout: 150ms");
    let proxy = Proxy::start(&yaml);
    refused(&proxy, "request_timeout", "routes.app.timeout");
}

#[test]
fn an_app_that_demands_a_certificate_gets_ours() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let own = files.authority.issue(&["sidecar"]);
    files.write("own", &own);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let manner = Manner::of(&pair)
            .asking(&files.authority)
            .versions(versions);
        let front = TlsFront::start(origin.address(), &manner);
        let with = ", certificate: { cert: {tls}/own.crt, key: {tls}/own.key }";
        let proxy = files.start(front.address(), with);
        assert_eq!(proxy.client().get("/").text(), "hello");
        assert_eq!(front.shaken()[0].certificate, Some(own.der()));
        let labels = "direction=\"upstream\",name=\"app\"";
        let ends = proxy.metric(&format!("outrigger_tls_cert_expiry_seconds{{{labels}}}"));
        assert!(ends > OffsetDateTime::now_utc().unix_timestamp() as f64);
    }
}

#[test]
fn an_app_that_demands_a_certificate_and_gets_none_says_so() {
    let files = Files::new();
    let origin = Origin::fixed("never");
    let pair = files.authority.issue(&["127.0.0.1"]);
    for (versions, words) in [
        (&[&TLS12][..], "it"),
        (&[&TLS13], "it wants a client certificate"),
    ] {
        let manner = Manner::of(&pair)
            .asking(&files.authority)
            .versions(versions);
        let front = TlsFront::start(origin.address(), &manner);
        let proxy = files.start(front.address(), "");
        refused(&proxy, "upstream_tls_refused", words);
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn an_app_that_does_not_believe_our_certificate_says_so() {
    let files = Files::new();
    let origin = Origin::fixed("never");
    let pair = files.authority.issue(&["127.0.0.1"]);
    files.write("own", &Authority::new().issue(&["sidecar"]));
    let manner = Manner::of(&pair).asking(&files.authority);
    let front = TlsFront::start(origin.address(), &manner);
    let with = ", certificate: { cert: {tls}/own.crt, key: {tls}/own.key }";
    let proxy = files.start(front.address(), with);
    refused(
        &proxy,
        "upstream_tls_refused",
        "it refused our client certificate",
    );
}

#[test]
fn http2_is_agreed_on_and_spoken() {
    let files = Files::new();
    let origin = Http2Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let manner = Manner::of(&pair).alpn(&["h2", "http/1.1"]);
    let front = TlsFront::start(origin.address(), &manner);
    let proxy = Proxy::start(&files.yaml(front.address(), "", ", protocol: http2"));
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/a").text(), "hello");
    }
    assert_eq!(front.shaken().len(), 1);
    assert_eq!(front.shaken()[0].protocol.as_deref(), Some("h2"));
    assert_eq!(origin.seen()[0].uri.to_string(), "https://test/a");
}

#[test]
fn an_app_that_speaks_another_version_of_http_says_so() {
    let files = Files::new();
    let origin = Origin::fixed("never");
    let pair = files.authority.issue(&["127.0.0.1"]);
    for (spoken, protocol) in [("http/1.1", "http2"), ("h2", "http1")] {
        let alpn = [spoken];
        let front = TlsFront::start(origin.address(), &Manner::of(&pair).alpn(&alpn));
        let upstream = format!(", protocol: {protocol}");
        let proxy = Proxy::start(&files.yaml(front.address(), "", &upstream));
        refused(&proxy, "upstream_tls_refused", "is `protocol` right?");
    }
}

#[test]
fn health_checks_shake_hands_too() {
    let files = Files::new();
    let origin = Origin::fixed("well");
    let (good, bad) = (
        files.authority.issue(&["127.0.0.1"]),
        Authority::new().issue(&["127.0.0.1"]),
    );
    for check in ["http: { path: / }", "tcp: {}"] {
        let front = TlsFront::start(origin.address(), &Manner::of(&bad));
        let upstream =
            format!(", health_check: {{ {check}, interval: 50ms, timeout: 2s, fall: 1, rise: 1 }}");
        let proxy = Proxy::start(&files.yaml(front.address(), "", &upstream));
        let view = || proxy.control("/upstreams").text();
        eventually("the endpoint is unhealthy", || {
            view().contains("TLS: its certificate is from an authority")
        });
        front.change(&Manner::of(&good));
        eventually("the endpoint is healthy", || {
            view().contains("1 of 1 healthy")
        });
    }
}

#[test]
fn bytes_of_a_tcp_listener_are_encrypted_too() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair).alpn(&[]));
    let text = files.yaml(front.address(), "", "").replace(
        "address: 127.0.0.1:0 }\nroutes:\n  - { name: app, forward: app, retry: off }",
        "address: 127.0.0.1:0, protocol: tcp, forward: app }",
    );
    let proxy = Proxy::start(&text);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut said = vec![0; 17];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said, b"HTTP/1.1 200 OK\r\n");
    assert_eq!(front.shaken()[0].protocol, None);
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let files = Files::new();
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        crate::support::origin::Then::KeepAlive
    });
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let proxy = files.start(front.address(), "");
    let body: String = ('a'..='z').cycle().take(1_000_000).collect();
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(client.read().text() == body);
}

#[test]
fn another_tls_section_is_another_connection() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1", "app.internal"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let proxy = files.start(front.address(), "");
    assert_eq!(proxy.client().get("/").text(), "hello");
    let next = files.yaml(front.address(), ", server_name: app.internal", "");
    proxy.reload(&next);
    assert_eq!(proxy.client().get("/").text(), "hello");
    let names: Vec<_> = front.shaken().into_iter().map(|it| it.name).collect();
    assert_eq!(names, [None, Some("app.internal".to_owned())]);
    // What has nothing to do with it leaves the connection alone.
    proxy.reload(&next.replace("retry: off", "retry: off, timeout: 9s"));
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(front.shaken().len(), 2);
}

#[test]
fn the_access_line_tells_the_handshake_apart_from_the_connect() {
    let files = Files::new();
    let origin = Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair));
    let proxy = files.start(front.address(), "");
    let mut client = proxy.client();
    client.get("/first");
    client.get("/second");
    let phases = proxy.access_line("/first")["phases_ms"].clone();
    let millis = |name: &str| phases[name].as_f64().unwrap_or_else(|| panic!("{phases}"));
    assert!(millis("tls") > 0.0 && millis("connect") > 0.0, "{phases}");
    assert!(
        millis("connect") + millis("tls") <= millis("first_byte"),
        "{phases}"
    );
    let phases = proxy.access_line("/second")["phases_ms"].clone();
    assert!(phases.get("tls").is_none(), "a kept connection: {phases}");
}

#[test]
fn http2_to_an_app_that_demands_a_certificate_says_so_too() {
    let files = Files::new();
    let origin = Http2Origin::fixed("never");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let manner = Manner::of(&pair).alpn(&["h2"]).asking(&files.authority);
    let front = TlsFront::start(origin.address(), &manner);
    let proxy = Proxy::start(&files.yaml(front.address(), "", ", protocol: http2"));
    // hyper keeps the alert to itself when it meets the broken pipe first.
    refused(&proxy, "upstream_tls_refused", "client certificate");
}

#[test]
fn a_call_of_grpc_is_offered_http2_and_a_request_beside_it_http1() {
    let files = Files::new();
    let origin = Http2Origin::fixed("hello");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let manner = Manner::of(&pair).alpn(&["h2", "http/1.1"]);
    let front = TlsFront::start(origin.address(), &manner);
    let proxy = files.start(front.address(), "");
    let client = Http2::connect(proxy.address());
    let mut call = request("POST", "http://a/s.S/M", empty());
    let headers = call.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    let mut sender = client.sender.clone();
    let answer = client.run(sender.send_request(call)).unwrap();
    assert_eq!(answer.status(), 200);
    // The origin knows no HTTP/1, so this one has no answer; what was offered is seen.
    proxy.client().get("/");
    let protocols: Vec<_> = front.shaken().into_iter().map(|it| it.protocol).collect();
    assert_eq!(
        protocols,
        [Some("h2".to_owned()), Some("http/1.1".to_owned())]
    );
    assert_eq!(origin.seen()[0].uri.to_string(), "https://a/s.S/M");
}

#[test]
fn health_checks_by_http2_shake_hands_for_it() {
    let files = Files::new();
    let origin = Http2Origin::fixed("well");
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(origin.address(), &Manner::of(&pair).alpn(&["h2"]));
    let check = "health_check: { http: { path: /well }, interval: 50ms, timeout: 40ms }";
    let upstream = format!(", protocol: http2, {check}");
    let proxy = Proxy::start(&files.yaml(front.address(), "", &upstream));
    eventually("the app is asked", || !origin.seen().is_empty());
    assert_eq!(origin.seen()[0].uri.scheme_str(), Some("https"));
    assert_eq!(front.shaken()[0].protocol.as_deref(), Some("h2"));
    drop(proxy);
}

#[test]
fn copies_of_requests_are_encrypted_too() {
    let files = Files::new();
    let (origin, shadow) = (Origin::fixed("hello"), Origin::fixed("unseen"));
    let pair = files.authority.issue(&["127.0.0.1"]);
    let front = TlsFront::start(shadow.address(), &Manner::of(&pair));
    let yaml = files
        .yaml(front.address(), "", "")
        .replace("forward: app,", "forward: plain, mirror: app,");
    let plain = format!("  plain: {{ endpoints: [{}] }}\n", origin.address());
    let proxy = Proxy::start(&format!("{yaml}{plain}"));
    assert_eq!(proxy.client().get("/copied").text(), "hello");
    eventually("the copy arrives", || shadow.count() == 1);
    assert_eq!(front.shaken().len(), 1);
}
