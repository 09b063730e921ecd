//! Which route takes a request, seen from outside.

use std::time::Instant;

use outrigger::admin::status::Outcome;
use outrigger::snapshot::diff::changes;

use crate::support::client::{Answer, Client};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

fn ask(client: &mut Client, method: &str, host: &str, path: &str) -> Answer {
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
    ));
    client.read()
}

/// Upstreams `a` to `f`, each answering with its name.
struct House {
    origins: Vec<Origin>,
}

impl House {
    fn new() -> Self {
        let names = ["a", "b", "c", "d", "e", "f"];
        Self {
            origins: names.map(Origin::fixed).into(),
        }
    }

    fn proxy(&self, listeners: &str, routes: &str) -> Proxy {
        let names = ["a", "b", "c", "d", "e", "f"];
        let upstreams: String = names
            .iter()
            .zip(&self.origins)
            .map(|(name, origin)| format!("  {name}: {{ endpoints: [{}] }}\n", origin.address()))
            .collect();
        Proxy::start(&format!(
            "listeners:\n{listeners}routes:\n{routes}upstreams:\n{upstreams}"
        ))
    }
}

#[test]
fn the_most_specific_host_wins() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: any, forward: a }\n  - { name: wide, match: [{ host: '*.example.com' }], forward: b }\n  - { name: exact, match: [{ host: api.example.com }], forward: c }\n",
    );
    let mut client = proxy.client();
    for (host, expected) in [
        ("api.example.com", "c"),
        ("API.Example.COM", "c"),
        ("api.example.com:8080", "c"),
        ("www.example.com", "b"),
        ("a.b.example.com", "b"),
        ("example.com", "a"),
        ("badexample.com", "a"),
        ("other.org", "a"),
    ] {
        assert_eq!(
            ask(&mut client, "GET", host, "/").text(),
            expected,
            "{host}"
        );
    }
}

#[test]
fn an_exact_path_wins_over_a_prefix_and_a_longer_prefix_over_a_shorter() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: root, forward: a }\n  - { name: api, match: [{ path: /api }], forward: b }\n  - { name: v1, match: [{ path: { prefix: /api/v1 } }], forward: c }\n  - { name: exact, match: [{ path: { exact: /api/v1/health } }], forward: d }\n",
    );
    let mut client = proxy.client();
    for (path, expected) in [
        ("/", "a"),
        ("/apix", "a"),
        ("/api", "b"),
        ("/api/", "b"),
        ("/api/v2?x=/api/v1", "b"),
        ("/api/v1", "c"),
        ("/api/v1/health/deep", "c"),
        ("/api/v1/health", "d"),
        ("/api/v1/health?verbose=1", "d"),
        ("/API", "a"),
    ] {
        assert_eq!(
            ask(&mut client, "GET", "h", path).text(),
            expected,
            "{path}"
        );
    }
}

#[test]
fn a_route_may_be_for_some_methods_only() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: read, match: [{ path: /x, methods: [GET, HEAD] }], forward: a }\n  - { name: write, match: [{ path: /x, methods: [POST, PURGE] }], forward: b }\n",
    );
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "GET", "h", "/x").text(), "a");
    assert_eq!(ask(&mut client, "POST", "h", "/x").text(), "b");
    assert_eq!(ask(&mut client, "PURGE", "h", "/x").text(), "b");
    assert_eq!(ask(&mut client, "DELETE", "h", "/x").status(), 404);
}

#[test]
fn a_route_may_be_for_some_listeners_only_and_forward_is_the_last_resort() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0, forward: e }\n  outbound: { address: 127.0.0.1:0, forward: f }\n  bare: { address: 127.0.0.1:0 }\n",
        "  - { name: in, match: [{ path: /x }], listeners: [inbound], forward: a }\n  - { name: both, match: [{ path: /y }], forward: b }\n",
    );
    let mut clients =
        ["inbound", "outbound", "bare"].map(|name| Client::connect(proxy.listener(name)));
    let mut texts = |path: &str| {
        let [inbound, outbound, bare] = &mut clients;
        [inbound, outbound, bare].map(|client| {
            let answer = ask(client, "GET", "h", path);
            if answer.status() == 404 {
                "none".to_string()
            } else {
                answer.text()
            }
        })
    };
    assert_eq!(texts("/x"), ["a", "f", "none"]);
    assert_eq!(texts("/y"), ["b", "b", "b"]);
    assert_eq!(texts("/z"), ["e", "f", "none"]);
}

#[test]
fn without_a_route_a_trusted_peer_learns_why_and_a_stranger_only_what() {
    let house = House::new();
    let listeners = "  inbound: { address: 127.0.0.1:0 }\n";
    let routes = "  - { name: hidden, match: [{ path: /secret }], forward: a }\n";
    let proxy = house.proxy(listeners, routes);
    let answer = proxy.client().get("/nowhere");
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert_eq!(json["code"], "NO_ROUTE");
    let message = json["message"].as_str().unwrap();
    assert!(
        message.contains("no route of listener `inbound` takes GET /nowhere"),
        "{message}"
    );
    assert_eq!(json["details"]["listener"], "inbound");
    assert_eq!(json["details"]["phase"], "route");

    let stranger = house.proxy(listeners, &format!("{routes}trusted_proxies: []\n"));
    let answer = stranger.client().get("/nowhere");
    assert_eq!(answer.status(), 404);
    let json = answer.json();
    assert_eq!(json["code"], "NO_ROUTE");
    assert!(!answer.text().contains("inbound"), "{}", answer.text());
    let mut details = json["details"].as_object().unwrap().clone();
    details.remove("request_id");
    assert!(details.is_empty(), "{details:?}");
    assert_eq!(stranger.access_line("/nowhere")["reason"], "no_route");
}

#[test]
fn ten_thousand_routes_are_taken_and_reloaded() {
    let house = House::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let routes: String = (0..10_000)
        .map(|n| {
            format!(
                "  - {{ name: r{n}, match: [{{ host: h{}.example.com, path: /p{n} }}], forward: {} }}\n",
                n % 100,
                names[n % 6]
            )
        })
        .collect();
    let proxy = house.proxy("  inbound: { address: 127.0.0.1:0 }\n", &routes);
    let mut client = proxy.client();
    for n in [0, 1, 4_999, 9_999] {
        let host = format!("h{}.example.com", n % 100);
        let answer = ask(&mut client, "GET", &host, &format!("/p{n}/deep"));
        assert_eq!(answer.text(), names[n % 6], "{n}");
    }
    let text = std::fs::read_to_string(proxy.path()).unwrap();
    let begun = Instant::now();
    let outcome = proxy.reload(&text.replace("name: r77,", "name: seventy-seven,"));
    let took = begun.elapsed();
    assert!(
        matches!(outcome, Outcome::Applied { .. } | Outcome::Unchanged),
        "{outcome:?}"
    );
    assert_eq!(
        ask(&mut client, "GET", "h77.example.com", "/p77").text(),
        names[77 % 6]
    );
    if !cfg!(debug_assertions) {
        assert!(took.as_secs_f64() < 1.0, "{took:?}");
    }
}

#[test]
fn headers_and_query_decide_between_rules_of_one_path() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: any, forward: a }\n  \
         - { name: blue, match: { headers: { X-Tenant: blue } }, forward: b }\n  \
         - { name: pro, match: { headers: { x-tenant: blue }, query: { plan: pro } }, forward: c }\n  \
         - { name: beta, match: { headers: { x-version: { regex: 'v[0-9]+' } } }, forward: d }\n  \
         - { name: debug, match: { query: { debug: { present: true } } }, forward: e }\n  \
         - { name: post, match: { methods: [POST], headers: { x-debug: { present: false } } }, forward: f }\n",
    );
    let mut client = proxy.client();
    for (method, query, fields, expected) in [
        ("GET", "", "", "a"),
        ("GET", "", "x-tenant: blue\r\n", "b"),
        ("GET", "", "X-TENANT: blue\r\n", "b"),
        ("GET", "", "x-tenant: Blue\r\n", "a"),
        ("GET", "", "x-tenant: blue\r\nx-tenant: red\r\n", "a"),
        ("GET", "?plan=pro", "x-tenant: blue\r\n", "c"),
        (
            "GET",
            "?x=1&pl%61n=pr%6F&plan=free",
            "x-tenant: blue\r\n",
            "c",
        ),
        ("GET", "?plan=free&plan=pro", "x-tenant: blue\r\n", "b"),
        ("GET", "", "x-version: v12\r\n", "d"),
        ("GET", "", "x-version: v12b\r\n", "a"),
        ("GET", "?debug", "", "e"),
        ("GET", "?debug=", "x-version: v1\r\n", "d"),
        ("POST", "", "", "f"),
        ("POST", "?plan=pro", "x-tenant: blue\r\n", "f"),
        ("POST", "", "x-debug: 1\r\n", "a"),
    ] {
        client.send(format!(
            "{method} /x{query} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n{fields}\r\n"
        ));
        assert_eq!(client.read().text(), expected, "{method} {query} {fields}");
    }
}

#[test]
fn an_expression_is_for_the_whole_path_and_wins_over_prefixes() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: root, forward: a }\n  \
         - { name: users, match: { path: /users }, forward: b }\n  \
         - { name: user, match: { path: { regex: '/users/[0-9]+(/posts)?' } }, forward: c }\n  \
         - { name: me, match: { path: { exact: /users/7 } }, forward: d }\n",
    );
    let mut client = proxy.client();
    for (path, expected) in [
        ("/users/8", "c"),
        ("/users/8/posts?x", "c"),
        ("/users/8/posts/1", "b"),
        ("/users/x", "b"),
        ("/users/7", "d"),
        ("/x/users/8", "a"),
        ("/users/%38", "c"),
    ] {
        assert_eq!(
            ask(&mut client, "GET", "h", path).text(),
            expected,
            "{path}"
        );
    }
}

#[test]
fn an_expression_that_would_explode_elsewhere_takes_linear_time() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: bad, match: { path: { regex: '/(a+)+b' }, headers: { x-a: { regex: '(a|a)*b' } } }, forward: a }\n  - { name: rest, forward: b }\n",
    );
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send(format!(
        "GET /{} HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n",
        "a".repeat(20_000),
        "a".repeat(20_000)
    ));
    assert_eq!(client.read().text(), "b");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_rule_is_told_to_be_covered_only_where_the_other_one_serves() {
    let messages = |first: &str, second: &str| {
        let text = format!(
            "listeners: {{ a: {{ address: 127.0.0.1:1, forward: app }}, b: {{ address: 127.0.0.1:2, forward: app }} }}\n\
             routes: [{{ name: x, {first} match: {{ path: /p, methods: [GET, PUT] }}, forward: app }},\n\
             \x20        {{ name: y, {second} match: {{ path: /p, methods: [PUT] }}, forward: app }}]\n\
             upstreams: {{ app: {{ endpoints: [127.0.0.1:3] }} }}\n"
        );
        crate::config_mistakes::checked(&text).1.warnings()
    };
    assert_eq!(messages("", ""), 1);
    assert_eq!(messages("", "listeners: [a],"), 1);
    assert_eq!(messages("listeners: [a, b],", "listeners: [b],"), 1);
    assert_eq!(messages("listeners: [a],", ""), 0);
    assert_eq!(messages("listeners: [a],", "listeners: [b],"), 0);
}

#[test]
fn a_grpc_service_or_one_of_its_methods_may_stand_for_a_path() {
    let house = House::new();
    let proxy = house.proxy(
        "  inbound: { address: 127.0.0.1:0 }\n",
        "  - { name: root, forward: a }\n  \
         - { name: service, match: { grpc: { service: pay.v1.Payments } }, forward: b }\n  \
         - { name: method, match: [{ grpc: { service: pay.v1.Payments, method: Charge } }], forward: c }\n  \
         - { name: blue, match: { grpc: { service: pay.v1.Payments, method: Charge }, headers: { x-tenant: blue } }, forward: d }\n",
    );
    let mut client = proxy.client();
    for (method, path, expected) in [
        ("POST", "/pay.v1.Payments/Charge", "c"),
        ("GET", "/pay.v1.Payments/Charge", "c"),
        ("POST", "/pay.v1.Payments/Refund", "b"),
        ("POST", "/pay.v1.Payments/ChargeAll", "b"),
        ("POST", "/pay.v1.Payments/Charge/x", "b"),
        ("POST", "/pay.v1.Payments/charge", "b"),
        ("POST", "/pay.v1.PaymentsAdmin/Charge", "a"),
        ("POST", "/pay.v1.payments/Charge", "a"),
        ("POST", "/x/pay.v1.Payments/Charge", "a"),
    ] {
        assert_eq!(
            ask(&mut client, method, "h", path).text(),
            expected,
            "{method} {path}"
        );
    }
    client.send(
        "POST /pay.v1.Payments/Charge HTTP/1.1\r\nhost: h\r\nx-tenant: blue\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(client.read().text(), "d");
}

#[test]
fn a_grpc_rule_is_shown_as_its_path() {
    let config = |rule: &str| {
        crate::config_mistakes::checked(&format!(
            "listeners: {{ a: {{ address: 127.0.0.1:1 }} }}\n\
             routes: [{{ name: x, match: {{ {rule} }}, forward: app }}]\n\
             upstreams: {{ app: {{ endpoints: [127.0.0.1:3] }} }}\n"
        ))
        .0
    };
    let method = config("grpc: { service: pay.v1.Payments, method: Charge }");
    let service = config("grpc: { service: pay.v1.Payments }");
    assert_eq!(
        changes(&method, &service),
        ["routes.x.match[0] path exactly /pay.v1.Payments/Charge → path /pay.v1.Payments"]
    );
    let written = config("path: { exact: /pay.v1.Payments/Charge }");
    assert!(changes(&method, &written).is_empty());
}
