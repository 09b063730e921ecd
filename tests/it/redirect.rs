//! Where clients are sent.

use crate::support::client::{Answer, Client};
use crate::support::free_address;
use crate::support::proxy::Proxy;

fn ask(client: &mut Client, host: &str, path: &str) -> Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    client.read()
}

fn location(client: &mut Client, host: &str, path: &str) -> String {
    let answer = ask(client, host, path);
    answer.header("location").unwrap_or_default().to_string()
}

#[test]
fn the_port_of_the_place_is_the_one_that_the_gateway_api_says() {
    let address = free_address();
    let port = address.port();
    let mut routes = String::new();
    let cases = [
        (
            "nothing",
            "host: example.org",
            format!("http://example.org:{port}"),
        ),
        (
            "port-80",
            "host: example.org, port: 80",
            "http://example.org".into(),
        ),
        (
            "port-8083",
            "host: example.org, port: 8083",
            "http://example.org:8083".into(),
        ),
        (
            "https",
            "host: example.org, scheme: https",
            "https://example.org".into(),
        ),
        (
            "https-443",
            "host: example.org, scheme: https, port: 443",
            "https://example.org".into(),
        ),
        (
            "https-8443",
            "host: example.org, scheme: https, port: 8443",
            "https://example.org:8443".into(),
        ),
        (
            "https-80",
            "host: example.org, scheme: https, port: 80",
            "https://example.org:80".into(),
        ),
        (
            "http",
            "host: example.org, scheme: http",
            "http://example.org".into(),
        ),
        (
            "http-80",
            "host: example.org, scheme: http, port: 80",
            "http://example.org".into(),
        ),
        (
            "http-443",
            "host: example.org, scheme: http, port: 443",
            "http://example.org:443".into(),
        ),
    ];
    for (name, redirect, _) in &cases {
        routes.push_str(&format!(
            "  - {{ name: {name}, match: {{ path: /{name} }}, redirect: {{ {redirect} }} }}\n"
        ));
    }
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: {address} }}\nroutes:\n{routes}"
    ));
    let mut client = proxy.client();
    for (name, _, expected) in &cases {
        let path = format!("/{name}/deep?q=1&r=%2F");
        // The port that the client names counts for nothing.
        let location = location(&mut client, "client.example:1234", &path);
        assert_eq!(location, format!("{expected}{path}"), "{name}");
    }
}

#[test]
fn host_path_and_status_are_those_of_the_file() {
    let statuses = [301, 302, 303, 307, 308];
    let mut routes: String = statuses
        .iter()
        .map(|status| {
            format!("  - {{ name: s{status}, match: {{ path: /{status} }}, redirect: {{ scheme: https, status: {status} }} }}\n")
        })
        .collect();
    routes.push_str("  - { name: default, match: { path: /default }, redirect: { host: other.org, port: 80 } }\n");
    routes.push_str("  - { name: full, match: { path: /full }, redirect: { port: 80, path: { full: /new } } }\n");
    routes.push_str("  - { name: prefix, match: { path: /old }, redirect: { port: 80, path: { prefix: /new } } }\n");
    routes.push_str(
        "  - { name: gone, match: { path: /cut }, redirect: { port: 80, path: { prefix: / } } }\n",
    );
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n{routes}"
    ));
    let mut client = proxy.client();
    for status in statuses {
        let answer = ask(&mut client, "h.org", &format!("/{status}"));
        assert_eq!(answer.status(), status);
        assert_eq!(
            answer.header("location"),
            Some(&*format!("https://h.org/{status}"))
        );
        assert!(answer.body.is_empty());
    }
    assert_eq!(ask(&mut client, "h.org", "/default").status(), 302);
    for (path, expected) in [
        ("/default/x?a=b", "http://other.org/default/x?a=b"),
        ("/full/deep?q", "http://h.org/new?q"),
        ("/old/deep?q", "http://h.org/new/deep?q"),
        ("/old", "http://h.org/new"),
        ("/old/", "http://h.org/new/"),
        ("/cut", "http://h.org/"),
        ("/cut//evil.example", "http://h.org/evil.example"),
        ("/full/../old/x", "http://h.org/new/x"),
    ] {
        assert_eq!(location(&mut client, "h.org:99", path), expected, "{path}");
    }
}

#[test]
fn a_redirect_is_counted_under_its_route_and_asks_nobody() {
    let proxy = Proxy::start(
        "listeners:\n  inbound: { address: 127.0.0.1:0 }\nroutes:\n  - { name: moved, match: { path: /a }, redirect: { scheme: https } }\n",
    );
    let mut client = proxy.client();
    client.get("/a");
    let line = proxy.access_line("/a");
    assert_eq!(line["route"], "moved");
    assert_eq!(line["status"], 302);
    assert!(line.get("upstream").is_none() && line.get("reason").is_none());
    assert!(line["request_id"].is_string());
    let labels = r#"direction="inbound",route="moved""#;
    let series =
        r#"http_requests_total{code="302",direction="inbound",method="GET",route="moved"}"#;
    assert_eq!(proxy.metric(series), 1.0);
    assert_eq!(
        proxy.metric(&format!("http_requests_active{{{labels}}}")),
        0.0
    );
    // The route that none took is not counted down for one that was taken.
    client.get("/none");
    proxy.access_line("/none");
    assert_eq!(
        proxy.metric(r#"http_requests_active{direction="inbound",route="(none)"}"#),
        0.0
    );
}

#[test]
fn a_host_that_is_none_is_refused_and_a_trusted_proxy_may_have_taken_off_tls() {
    let address = free_address();
    let text = format!(
        "listeners:\n  inbound: {{ address: {address} }}\nroutes:\n  - {{ name: a, redirect: {{ path: {{ full: /x }} }} }}\n"
    );
    let proxy = Proxy::start(&text);
    let mut client = proxy.client();
    for host in ["a/b", "user@evil.example", "a b", "", "a?b", "a#b"] {
        let answer = ask(&mut proxy.client(), host, "/a");
        assert_eq!(answer.status(), 400, "{host}");
        assert_eq!(answer.header("location"), None);
    }
    client.send("GET /a HTTP/1.1\r\nhost: h.org\r\nx-forwarded-proto: https\r\n\r\n");
    assert_eq!(client.read().header("location"), Some("https://h.org/x"));
    drop((client, proxy));
    let stranger = Proxy::start(&format!("{text}trusted_proxies: []\n"));
    let mut client = stranger.client();
    client.send("GET /a HTTP/1.1\r\nhost: h.org\r\nx-forwarded-proto: https\r\n\r\n");
    let expected = format!("http://h.org:{}/x", address.port());
    assert_eq!(client.read().header("location"), Some(&*expected));
}

#[test]
fn a_redirect_over_http2_names_the_host_of_its_target() {
    let proxy = Proxy::start(
        "listeners:\n  inbound: { address: 127.0.0.1:0 }\nroutes:\n  - { name: a, redirect: { scheme: https } }\n",
    );
    let client = crate::support::http2::Http2::connect(proxy.address());
    let answer = client.get("http://h.org:81/a?b");
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers["location"], "https://h.org/a?b");
}
