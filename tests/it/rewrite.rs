//! What path and host an app sees.

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// An app that answers with the target and host that it was asked for.
fn echo() -> Origin {
    Origin::start(|request, peer| {
        peer.body(request);
        let host = request.header("host").unwrap_or_default();
        let seen = format!("{} {host}", request.target());
        peer.answer("200 OK", seen);
        Then::KeepAlive
    })
}

fn proxy(origin: &Origin, routes: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nroutes:\n{routes}upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ))
}

fn target(client: &mut Client, path: &str) -> String {
    let text = client.get(path).text();
    text.split(' ').next().unwrap_or_default().to_string()
}

/// The table of the Gateway API's HTTPPathModifier.
#[test]
fn a_prefix_is_replaced_as_the_gateway_api_says() {
    let origin = echo();
    for (prefix, replacement, cases) in [
        (
            "/foo",
            "/xyz",
            &[
                ("/foo/bar", "/xyz/bar"),
                ("/foo", "/xyz"),
                ("/foo/", "/xyz/"),
            ][..],
        ),
        ("/foo", "/xyz/", &[("/foo/bar", "/xyz/bar")]),
        ("/foo/", "/xyz", &[("/foo/bar", "/xyz/bar")]),
        ("/foo/", "/xyz/", &[("/foo/bar", "/xyz/bar")]),
        (
            "/foo",
            "''",
            &[("/foo/bar", "/bar"), ("/foo/", "/"), ("/foo", "/")],
        ),
        (
            "/foo",
            "/",
            &[("/foo/bar", "/bar"), ("/foo/", "/"), ("/foo", "/")],
        ),
    ] {
        let proxy = proxy(
            &origin,
            &format!(
                "  - {{ name: a, match: {{ path: {prefix} }}, rewrite: {{ path: {{ prefix: {replacement} }} }}, forward: app }}\n"
            ),
        );
        let mut client = proxy.client();
        for (path, expected) in cases {
            assert_eq!(
                target(&mut client, path),
                *expected,
                "{path}: {prefix} to {replacement}"
            );
            let with_query = format!("{path}?q=%2F&r");
            assert_eq!(
                target(&mut client, &with_query),
                format!("{expected}?q=%2F&r")
            );
        }
        assert_eq!(target(&mut client, "/foobar"), "/foobar");
    }
}

#[test]
fn each_match_of_a_route_has_its_own_prefix() {
    let origin = echo();
    let proxy = proxy(
        &origin,
        "  - { name: a, match: [{ path: /v1/api }, { path: /api }, { host: all.org }], rewrite: { path: { prefix: /x } }, forward: app }\n",
    );
    let mut client = proxy.client();
    assert_eq!(target(&mut client, "/v1/api/y"), "/x/y");
    assert_eq!(target(&mut client, "/api/y"), "/x/y");
    client.send("GET /api2/y HTTP/1.1\r\nhost: all.org\r\n\r\n");
    assert_eq!(client.read().text(), "/x/api2/y all.org");
}

#[test]
fn a_path_is_replaced_in_full_or_by_an_expression_and_the_query_stays() {
    let origin = echo();
    let proxy = proxy(
        &origin,
        "  - { name: full, match: { path: { exact: /old } }, rewrite: { path: { full: /new } }, forward: app }\n  \
         - name: regex\n    match: { path: { regex: '/a/.*' } }\n    rewrite: { path: { regex: { match: \"^/a/([^/]+)/(.*)$\", replace: \"/b/$2/$1\" } } }\n    forward: app\n",
    );
    let mut client = proxy.client();
    assert_eq!(target(&mut client, "/old"), "/new");
    assert_eq!(target(&mut client, "/old?x=1"), "/new?x=1");
    assert_eq!(
        target(&mut client, "/a/one/two/three?q"),
        "/b/two/three/one?q"
    );
    assert_eq!(target(&mut client, "/a/one"), "/a/one");
}

#[test]
fn the_host_is_set_and_the_one_that_was_named_is_told() {
    let origin = echo();
    let proxy = proxy(
        &origin,
        "  - { name: a, match: { path: /a }, rewrite: { host: 'app.internal:81' }, forward: app }\n",
    );
    let mut client = proxy.client();
    assert_eq!(client.get("/a").text(), "/a app.internal:81");
    assert_eq!(client.get("/b").text(), "/b test");
    let requests = origin.requests();
    assert_eq!(requests[0].header("x-forwarded-host"), Some("test"));
    assert_eq!(requests[0].all("host").len(), 1);
}

#[test]
fn what_is_left_of_a_path_cannot_become_a_host() {
    let origin = echo();
    let text = format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, normalize: {{ double_slash: keep }} }}\nroutes:\n  - {{ name: a, match: {{ path: /a }}, rewrite: {{ path: {{ prefix: / }} }}, forward: app }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    );
    let proxy = Proxy::start(&text);
    assert_eq!(
        target(&mut proxy.client(), "/a//evil.example/x"),
        "/evil.example/x"
    );
}

#[test]
fn a_path_that_grows_beyond_what_a_request_line_holds_is_refused() {
    let origin = echo();
    let long = "x".repeat(1000);
    let proxy = proxy(
        &origin,
        &format!(
            "  - {{ name: a, match: {{ path: /a }}, rewrite: {{ path: {{ prefix: /{long} }} }}, forward: app }}\n"
        ),
    );
    let mut client = proxy.client();
    let answer = client.get(&format!("/a/{}", "y".repeat(64_800)));
    assert_eq!(
        (answer.status(), &answer.json()["code"]),
        (400, &"BAD_REQUEST".into())
    );
    assert_eq!(origin.count(), 0);
    assert_eq!(proxy.client().get("/a/z").status(), 200);
}

#[test]
fn options_for_the_server_as_a_whole_is_not_rewritten() {
    let origin = echo();
    let proxy = proxy(
        &origin,
        "  - { name: a, match: { path: / }, rewrite: { path: { full: /x } }, forward: app }\n",
    );
    let mut client = proxy.client();
    client.send("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.read().text(), "* h");
}
