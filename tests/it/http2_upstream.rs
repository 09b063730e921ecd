//! HTTP/2 to upstreams: connections that are shared, what the endpoint refuses, and streams that do not disturb others.

use std::net::SocketAddr;

use crate::support::http2_origin::Http2Origin;
use crate::support::proxy::Proxy;

fn yaml(origin: SocketAddr, lines: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app:\n    endpoints: [{origin}]\n    protocol: http2\n{lines}"
    )
}

fn before(origin: SocketAddr) -> Proxy {
    Proxy::start(&yaml(origin, ""))
}

#[test]
fn requests_of_http1_clients_share_one_connection() {
    let origin = Http2Origin::fixed("ok");
    let proxy = before(origin.address());
    for _ in 0..3 {
        let answer = proxy.client().get("/a?b=c");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(origin.connections(), 1);
    let seen = &origin.seen()[0];
    assert_eq!(seen.uri.to_string(), "http://test/a?b=c");
    assert!(!seen.headers.contains_key("host"));
}
