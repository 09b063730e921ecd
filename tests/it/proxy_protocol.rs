//! Connections that begin with a PROXY header: whose they are, and who is believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Dialer};
use crate::support::{PATIENCE, eventually};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// The same client in version 2, with an extension that nobody knows behind it.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11".to_vec();
    header.extend([192, 0, 2, 7, 192, 0, 2, 1, 220, 4, 1, 187]);
    header.extend([0xe0, 0, 2, b'h', b'i']);
    header
}

/// A file with one listener; `listener` and `lines` are more of its keys and of the file's.
fn file(origin: SocketAddr, listener: &str, lines: &str) -> String {
    format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, forward: app, {listener} }} }}\n\
         upstreams: {{ app: {{ endpoints: [{origin}] }} }}\n{lines}\n"
    )
}

/// An app that answers with the client it was told of.
fn echo() -> Origin {
    Origin::start(|request, peer| {
        let client = request.header("x-forwarded-for").unwrap_or("none");
        peer.answer("200 OK", client);
        Then::KeepAlive
    })
}

fn required(origin: &Origin) -> Proxy {
    Proxy::start(&file(origin.address(), "proxy_protocol: required", ""))
}

fn offences(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_downstream_protocol_errors_total{{direction=\"inbound\",listener=\"inbound\",reason=\"{reason}\"}}"
    ))
}

/// What the app is told of a client that begins with `bytes`, in one piece with its first request.
fn told(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut client = proxy.client();
    client.send([bytes, GET].concat());
    client.read().text()
}

#[test]
fn the_client_of_the_header_is_the_one_in_headers_and_log() {
    let origin = echo();
    let proxy = required(&origin);
    assert_eq!(told(&proxy, V1), "192.0.2.7");
    assert_eq!(told(&proxy, &v2()), "192.0.2.7");
    assert_eq!(
        told(&proxy, b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"),
        "2001:db8::7"
    );
    eventually("all lines", || proxy.access_log().len() == 3);
    let log = proxy.access_log();
    let clients: Vec<_> = log.iter().map(|line| &line["client"]).collect();
    assert_eq!(clients, ["192.0.2.7", "192.0.2.7", "2001:db8::7"]);
}

#[test]
fn a_header_may_come_in_any_pieces_and_holds_for_the_whole_connection() {
    let origin = echo();
    let proxy = required(&origin);
    for header in [V1.to_vec(), v2()] {
        let mut client = proxy.client();
        for byte in &header {
            client.send([*byte]);
        }
        assert_eq!(client.get("/").text(), "192.0.2.7");
        assert_eq!(client.get("/").text(), "192.0.2.7");
    }
}

#[test]
fn a_sender_that_speaks_for_itself_is_the_client() {
    let origin = echo();
    let proxy = required(&origin);
    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\0",
    ] {
        assert_eq!(told(&proxy, header), "127.0.0.1");
    }
}

#[test]
fn limits_count_the_client_of_the_header() {
    let origin = echo();
    let yaml = format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, proxy_protocol: required }} }}\n\
         routes: [{{ name: app, forward: app, rate_limit: {{ requests: 1, per: 1h, key: client_ip }} }}]\n\
         upstreams: {{ app: {{ endpoints: [{}] }} }}\n",
        origin.address()
    );
    let proxy = Proxy::start(&yaml);
    let status = |client: &str| {
        let header = format!("PROXY TCP4 {client} 192.0.2.1 56324 443\r\n");
        let mut connection = proxy.client();
        connection.send([header.as_bytes(), GET].concat());
        connection.read().status()
    };
    let statuses = ["192.0.2.7", "192.0.2.8", "192.0.2.7"].map(status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn a_client_is_not_believed_because_its_balancer_is() {
    let origin = echo();
    let proxy = required(&origin);
    let mut client = proxy.client();
    client.send(V1);
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 10.9.9.9\r\n\r\n");
    assert_eq!(client.read().text(), "192.0.2.7");
}

#[test]
fn without_the_key_a_header_is_no_request() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send([V1, GET].concat());
    assert_eq!(client.read().status(), 400);
    assert_eq!(origin.count(), 0);
}

#[test]
fn optional_takes_connections_with_and_without_a_header() {
    let origin = echo();
    let proxy = Proxy::start(&file(origin.address(), "proxy_protocol: optional", ""));
    assert_eq!(told(&proxy, V1), "192.0.2.7");
    assert_eq!(told(&proxy, &v2()), "192.0.2.7");
    assert_eq!(told(&proxy, b""), "127.0.0.1");
    // `P` could still be both.
    let mut client = proxy.client();
    for byte in b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.read().text(), "127.0.0.1");
    let mut client = proxy.client();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(client.bytes(9)[3], 4, "a SETTINGS frame");
    let mut client = proxy.client();
    client.send([V1, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"].concat());
    assert_eq!(client.bytes(9)[3], 4, "a SETTINGS frame");
}

#[test]
fn who_is_no_trusted_proxy_is_refused_or_taken_as_it_is() {
    let origin = echo();
    let trust = "trusted_proxies: [192.0.2.0/24]";
    let yaml = |mode| file(origin.address(), &format!("proxy_protocol: {mode}"), trust);
    let proxy = Proxy::start(&yaml("required"));
    let mut client = proxy.client();
    let _ = client.try_send([V1, GET].concat());
    assert!(client.is_closed());
    eventually("it is counted", || {
        offences(&proxy, "proxy_untrusted") == 1.0
    });
    assert_eq!(origin.connections(), 0);
    proxy.reload(&yaml("optional"));
    assert_eq!(told(&proxy, b""), "127.0.0.1");
    // What only trusted proxies may say is no HTTP from others.
    let mut client = proxy.client();
    client.send([V1, GET].concat());
    assert_eq!(client.read().status(), 400);
}

#[test]
fn what_is_no_header_closes_the_connection_and_is_counted() {
    let origin = echo();
    let proxy = required(&origin);
    let mut counted = 0.0;
    for bytes in [
        &b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 443\r\n"[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        &[&b"PROXY TCP4 "[..], &[b' '; 200]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff............",
    ] {
        let mut client = proxy.client();
        let _ = client.try_send(bytes);
        assert!(client.is_closed(), "{}", bytes.escape_ascii());
        counted += 1.0;
        eventually("it is counted", || {
            offences(&proxy, "proxy_header") == counted
        });
    }
    let mut client = proxy.client();
    let _ = client.try_send(GET);
    assert!(client.is_closed());
    eventually("it is counted", || {
        offences(&proxy, "no_proxy_header") == 1.0
    });
    // Half a header and an end.
    drop({
        let client = proxy.client();
        client.stream().write_all(b"PROXY TCP4 ").unwrap();
        client
    });
    eventually("it is counted", || {
        offences(&proxy, "proxy_header") == counted + 1.0
    });
    // Nothing at all is how a port is probed.
    drop(proxy.client());
    assert_eq!(told(&proxy, V1), "192.0.2.7");
    assert_eq!(offences(&proxy, "no_proxy_header"), 1.0);
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_header_that_does_not_end_is_waited_for_as_long_as_for_a_request() {
    let origin = echo();
    for mode in ["required", "optional"] {
        let keys = format!("proxy_protocol: {mode}, timeouts: {{ request_header: 100ms }}");
        let proxy = Proxy::start(&file(origin.address(), &keys, ""));
        for bytes in [&b""[..], b"P", &v2()[..20]] {
            let mut client = proxy.client();
            client.send(bytes);
            assert!(client.is_closed());
        }
        let closed = "outrigger_connections_closed_total{direction=\"inbound\",listener=\"inbound\",\
                      reason=\"request_header_timeout\"}";
        eventually("all are counted", || proxy.metric(closed) == 3.0);
    }
}

#[test]
fn the_header_comes_before_tls() {
    let origin = echo();
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    authority.issue(&["test"]).write(directory.path(), "tls");
    let dir = directory.path().display();
    let tls = format!("tls: {{ certificates: [{{ cert: {dir}/tls.crt, key: {dir}/tls.key }}] }}");
    let keys = format!("proxy_protocol: required, {tls}");
    let proxy = Proxy::start(&file(origin.address(), &keys, ""));
    for header in [V1.to_vec(), v2()] {
        let dialer = Dialer::believing(&authority);
        let mut client = dialer
            .connect_after(proxy.address(), "test", &header)
            .unwrap();
        assert_eq!(client.get("test", "/").unwrap().2, "192.0.2.7");
    }
    let dialer = Dialer::believing(&authority);
    assert!(dialer.connect(proxy.address(), "test").is_err());
}

/// An app that hands out what its next connection begins with.
fn first_bytes(listener: &TcpListener, count: usize) -> Vec<u8> {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_app_behind_a_tcp_listener_sees_what_follows_the_header() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = "protocol: tcp, proxy_protocol: required, timeouts: { request_header: 5s }";
    let proxy = Proxy::start(&file(app.local_addr().unwrap(), keys, ""));
    for header in [V1.to_vec(), v2()] {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.write_all(&[&header[..], b"hello"].concat()).unwrap();
        assert_eq!(first_bytes(&app, 5), b"hello");
    }
    let mut client = Client::connect(proxy.address());
    let _ = client.try_send(b"hello, is there anybody?");
    assert!(client.is_closed());
    eventually("it is counted", || {
        offences(&proxy, "no_proxy_header") == 1.0
    });
}

/// A TCP listener before an app that wants the header `version`.
fn telling(app: SocketAddr, version: &str, listener: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, protocol: tcp, forward: app{listener} }} }}\n\
         upstreams: {{ app: {{ endpoints: [{app}], proxy_protocol: {version} }} }}\n"
    ))
}

#[test]
fn an_app_is_told_whose_connection_it_is() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = app.local_addr().unwrap();
    let proxy = telling(address, "v1", "");
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"hello").unwrap();
    let (from, to) = (client.local_addr().unwrap(), proxy.address());
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello",
        from.port(),
        to.port()
    );
    assert_eq!(first_bytes(&app, line.len()), line.as_bytes());

    let proxy = telling(address, "v2", "");
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"hello").unwrap();
    let (from, to) = (client.local_addr().unwrap(), proxy.address());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend(b"hello");
    assert_eq!(first_bytes(&app, header.len()), header);
}

#[test]
fn what_a_trusted_proxy_told_is_told_on() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = telling(
        app.local_addr().unwrap(),
        "v1",
        ", proxy_protocol: required",
    );
    for header in [V1.to_vec(), v2()] {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.write_all(&[&header[..], b"hello"].concat()).unwrap();
        let told = String::from_utf8(first_bytes(&app, 38)).unwrap();
        assert!(
            told.starts_with("PROXY TCP4 192.0.2.7 127.0.0.1 56324 "),
            "{told}"
        );
    }
}

#[test]
fn a_health_check_speaks_for_itself() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let _proxy = Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, protocol: tcp, forward: app }} }}\n\
         upstreams: {{ app: {{ endpoints: [{}], proxy_protocol: v2, health_check: {{ tcp: {{}} }} }} }}\n",
        app.local_addr().unwrap()
    ));
    assert_eq!(first_bytes(&app, 16), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}
