//! Headers that routes set, add and remove.

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

fn app() -> Origin {
    Origin::start(|request, peer| {
        peer.body(request);
        peer.send(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: app\r\nx-list: 1\r\nx-old: 1\r\n\r\n",
        );
        Then::KeepAlive
    })
}

fn proxy(origin: &Origin, route: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: pay\n    forward: app\n{route}upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ))
}

fn ask(client: &mut Client, head: &str) -> crate::support::client::Answer {
    client.send(format!(
        "GET /a/b?q=1 HTTP/1.1\r\nhost: shop.org\r\n{head}\r\n"
    ));
    client.read()
}

#[test]
fn the_app_reads_what_the_rules_say() {
    let origin = app();
    let proxy = proxy(
        &origin,
        "    request_headers:\n      set: { X-Set: new, x-who: '%{client_ip} %{route} %{listener} %{upstream} %{method}', x-where: '%{host}%{path} 100%%', x-id: 'id=%{request_id}' }\n      add: { X-List: b, x-fresh: '1' }\n      remove: [X-Gone, x-absent]\n",
    );
    let mut client = proxy.client();
    ask(
        &mut client,
        "x-set: old\r\nx-set: older\r\nx-list: a\r\nx-gone: 1\r\nx-request-id: abc\r\n",
    );
    let request = &origin.requests()[0];
    assert_eq!(request.all("x-set"), ["new"]);
    assert_eq!(request.all("x-list"), ["a", "b"]);
    assert_eq!(request.all("x-fresh"), ["1"]);
    assert!(request.all("x-gone").is_empty());
    assert_eq!(
        request.header("x-who"),
        Some("127.0.0.1 pay inbound app GET")
    );
    assert_eq!(request.header("x-where"), Some("shop.org/a/b 100%"));
    assert_eq!(request.header("x-id"), Some("id=abc"));
}

#[test]
fn the_client_reads_what_the_rules_say_on_every_kind_of_answer() {
    let origin = app();
    let rules = "response_headers: { set: { server: '%{upstream}.' , x-host: '%{host}' }, add: { x-list: '2' }, remove: [x-old] }";
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  \
         - {{ name: a, rewrite: {{ host: other }}, forward: app, {rules} }}\n  \
         - {{ name: b, match: {{ path: /r }}, redirect: {{ scheme: https }}, {rules} }}\n  \
         - {{ name: c, match: {{ path: /d }}, respond: {{ body: x, headers: {{ x-old: '1', x-list: '1' }} }}, {rules} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    let mut client = proxy.client();
    for (path, upstream, list) in [("/", "app.", 2), ("/r", ".", 1), ("/d", ".", 2)] {
        let answer = client.get(path);
        assert_eq!(answer.header("server"), Some(upstream), "{path}");
        assert_eq!(answer.header("x-host"), Some("test"), "{path}");
        assert_eq!(answer.header("x-old"), None, "{path}");
        let lists = answer.headers.iter().filter(|(name, _)| name == "x-list");
        assert_eq!(lists.count(), list, "{path}");
    }
}

#[test]
fn a_hostile_request_cannot_add_a_line() {
    let origin = app();
    let proxy = proxy(
        &origin,
        "    request_headers: { set: { x-where: '%{host}|%{path}|%{request_id}|%{method}' } }\n",
    );
    let mut client = proxy.client();
    client.send("GET /a%0d%0aevil:1 HTTP/1.1\r\nhost: hx\r\nx-request-id: a%0d\"b\r\n\r\n");
    client.read();
    let request = &origin.requests()[0];
    assert_eq!(request.header("evil"), None);
    let value = request.header("x-where").unwrap();
    assert!(value.starts_with("hx|/a%0d%0aevil:1|"), "{value}");
}

#[test]
fn a_value_may_come_from_the_environment_or_a_file() {
    let origin = app();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "50%{x}\n").unwrap();
    let proxy = proxy(
        &origin,
        &format!(
            "    request_headers: {{ set: {{ x-env: '${{NONE_SUCH:-from env}}', authorization: 'file:{}' }} }}\n",
            token.display()
        ),
    );
    ask(&mut proxy.client(), "authorization: mine\r\n");
    let request = &origin.requests()[0];
    assert_eq!(request.header("x-env"), Some("from env"));
    assert_eq!(request.all("authorization"), ["50%{x}"]);
}

#[test]
fn a_switch_of_protocols_is_an_answer_like_others_and_is_not_mirrored() {
    let origin = Origin::start(|request, peer| {
        assert_eq!(request.header("x-a"), Some("1"));
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\nx-old: 1\r\n\r\nhi");
        peer.is_closed();
        Then::Close
    });
    let shadow = Origin::fixed("");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: chat\n    forward: app\n    mirror: shadow\n    request_headers: {{ set: {{ x-a: '1' }} }}\n    response_headers: {{ set: {{ x-b: '2' }}, remove: [x-old] }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n  shadow: {{ endpoints: [{}] }}\n",
        origin.address(),
        shadow.address()
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let head = client.read_head().unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(
        (head.header("x-b"), head.header("x-old")),
        (Some("2"), None)
    );
    assert_eq!(head.header("upgrade"), Some("x"));
    assert_eq!(client.bytes(2), b"hi");
    assert_eq!(shadow.count(), 0);
}
