//! Rate limits: who has a count of its own, what becomes of those beyond it, what answers say about it.

use std::time::{Duration, Instant};

use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

/// One route for everything, with this rule.
fn yaml(origin: &Origin, rule: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\n  second: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: all\n    forward: app\n    rate_limit: {rule}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    )
}

fn proxy(origin: &Origin, rule: &str) -> Proxy {
    Proxy::start(&yaml(origin, rule))
}

fn ask(client: &mut Client, target: &str, headers: &str) -> Answer {
    client.send(format!(
        "GET {target} HTTP/1.1\r\nhost: test\r\n{headers}\r\n"
    ));
    client.read()
}

fn counted(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!(
        r#"outrigger_rate_limit_total{{result="{result}",route="all",rule="1"}}"#
    ))
}

/// The statuses of requests that differ in target and headers.
fn statuses(rule: &str, requests: &[(&str, &str)]) -> Vec<u16> {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, rule);
    let mut client = proxy.client();
    let statuses = requests
        .iter()
        .map(|(target, headers)| ask(&mut client, target, headers).status());
    statuses.collect()
}

#[test]
fn requests_beyond_the_rate_get_429_with_the_time_to_come_again() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ requests: 3, per: 1h }");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    let answer = client.get("/limited");
    assert_eq!(answer.status(), 429);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1190..=1200).contains(&seconds), "{seconds}");
    let body = answer.json();
    assert_eq!(body["code"], "RATE_LIMITED");
    let limit = &body["details"]["limit"];
    assert_eq!(
        (&limit["key"], &limit["value"]),
        (&"routes.all.rate_limit".into(), &"3 per 1h".into())
    );
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("the next one is allowed in 19m5"),
        "{body}"
    );
    assert!(answer.header("ratelimit").is_none() && answer.header("x-ratelimit-limit").is_none());
    assert_eq!(origin.count(), 3);
    assert_eq!(proxy.access_line("/limited")["reason"], "rate_limited");
    assert_eq!(
        (counted(&proxy, "allowed"), counted(&proxy, "limited")),
        (3.0, 1.0)
    );
    assert_eq!(client.get("/").status(), 429, "the connection serves on");
}

#[test]
fn the_time_to_come_again_is_never_0() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ requests: 1000, per: 1s, burst: 1 }");
    let mut client = proxy.client();
    let refused = (0..1000)
        .map(|_| client.get("/"))
        .find(|answer| answer.status() == 429);
    assert_eq!(
        refused.expect("one is refused").header("retry-after"),
        Some("1")
    );
}

#[test]
fn tokens_come_back_with_time() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ requests: 20, per: 1s, burst: 2 }");
    let mut client = proxy.client();
    let begun = Instant::now();
    let mut admitted: u32 = 0;
    while begun.elapsed() < Duration::from_secs(1) || admitted < 3 {
        admitted += u32::from(client.get("/").status() == 200);
    }
    let most = 2 + 20 * begun.elapsed().as_millis() / 1000 + 1;
    assert!(u128::from(admitted) <= most, "{admitted} of {most}");
}

#[test]
fn each_value_of_the_key_has_its_own_count() {
    let once = |key: &str| format!("{{ requests: 1, per: 1h, key: {key} }}");
    let (one, two) = (("/", "x-user: one\r\n"), ("/", "x-user: two\r\n"));
    let none = ("/", "");
    assert_eq!(
        statuses(
            &once("{ header: X-User }"),
            &[one, two, one, none, none, two]
        ),
        [200, 200, 429, 200, 429, 429]
    );
    let (one, two) = (
        ("/", "cookie: a=b; session=one\r\n"),
        ("/", "cookie: session=two\r\n"),
    );
    assert_eq!(
        statuses(
            &once("{ cookie: session }"),
            &[one, two, one, none, none, two]
        ),
        [200, 200, 429, 200, 429, 429]
    );
    let (one, two, same) = (("/?k=one", ""), ("/a?k=two", ""), ("/?x=y&%6B=on%65", ""));
    assert_eq!(
        statuses(&once("{ query: k }"), &[one, two, same, none, none]),
        [200, 200, 429, 200, 429]
    );
    assert_eq!(statuses(&once("route"), &[one, two]), [200, 429]);
    assert_eq!(
        statuses(
            &once("[{ header: x-user }, { query: k }]"),
            &[
                ("/?k=1", "x-user: a\r\n"),
                ("/?k=2", "x-user: a\r\n"),
                ("/?k=1", "x-user: b\r\n"),
                ("/?k=1", "x-user: a\r\n")
            ]
        ),
        [200, 200, 200, 429]
    );
}

#[test]
fn methods_may_be_counted_apart() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(&origin, "{ requests: 1, per: 1h, key: method }");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.post("/", b"x").status(), 200);
    assert_eq!(client.get("/").status(), 429);
}

#[test]
fn clients_are_told_apart_by_what_trusted_peers_say_and_ipv6_by_its_network() {
    let client = |address: &str| format!("x-forwarded-for: {address}\r\n");
    let seen = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8::ffff:2",
        "2001:db8:0:1::1",
    ]
    .map(client);
    let requests: Vec<_> = seen.iter().map(|headers| ("/", headers.as_str())).collect();
    assert_eq!(
        statuses("{ requests: 1, per: 1h }", &requests),
        [200, 200, 429, 200, 429, 200]
    );
}

#[test]
fn what_a_stranger_says_of_its_address_gives_it_no_count_of_its_own() {
    let origin = Origin::fixed("ok");
    let text = yaml(&origin, "{ requests: 1, per: 1h }");
    let proxy = Proxy::start(&format!("{text}trusted_proxies: []\n"));
    let mut client = proxy.client();
    let mut from =
        |address: &str| ask(&mut client, "/", &format!("x-forwarded-for: {address}\r\n"));
    assert_eq!(from("192.0.2.1").status(), 200);
    let refused = from("192.0.2.2");
    assert_eq!(refused.status(), 429);
    assert!(
        !refused.text().contains("routes.all"),
        "strangers read no names: {}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn answers_say_what_remains_if_that_is_asked_for() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(
        &origin,
        "{ requests: 60, per: 1m, burst: 2, headers: both, name: each }",
    );
    let mut client = proxy.client();
    let seen: Vec<_> = (0..3)
        .map(|_| {
            let answer = client.get("/");
            let text = |name| answer.header(name).unwrap_or_default().to_owned();
            assert_eq!(text("ratelimit-policy"), "\"each\";q=60;w=60");
            assert_eq!(text("x-ratelimit-limit"), "2");
            (
                answer.status(),
                text("ratelimit"),
                text("x-ratelimit-remaining"),
                text("x-ratelimit-reset"),
            )
        })
        .collect();
    let expected = |status, remaining: u32, reset: u32| {
        (
            status,
            format!("\"each\";r={remaining};t={reset}"),
            remaining.to_string(),
            reset.to_string(),
        )
    };
    assert_eq!(
        seen,
        [
            expected(200, 1, 1),
            expected(200, 0, 2),
            expected(429, 0, 2)
        ]
    );
}

#[test]
fn of_several_rules_all_must_hold_and_what_one_refuses_costs_no_token_of_another() {
    let origin = Origin::fixed("ok");
    let rules = "[{ requests: 3, per: 1h, key: route, headers: standard, name: total }, { requests: 1, per: 1h, key: { header: x-user }, headers: standard, name: user }]";
    let proxy = proxy(&origin, rules);
    let mut client = proxy.client();
    let mut by = |user: &str| ask(&mut client, "/", &format!("x-user: {user}\r\n"));
    let first = by("a");
    assert_eq!(first.status(), 200);
    assert_eq!(
        first.header("ratelimit"),
        Some("\"total\";r=2;t=1200, \"user\";r=0;t=3600")
    );
    for _ in 0..10 {
        let refused = by("a");
        assert_eq!(
            refused.json()["details"]["limit"]["key"],
            "routes.all.rate_limit[1]"
        );
    }
    assert_eq!([by("b").status(), by("c").status()], [200, 200]);
    let refused = by("d");
    assert_eq!(
        refused.json()["details"]["limit"]["key"],
        "routes.all.rate_limit[0]"
    );
}

#[test]
fn one_rule_may_wait_where_another_refuses() {
    let origin = Origin::fixed("ok");
    let rules = "[{ requests: 20, per: 1s, burst: 1, key: route, when_exceeded: wait, max_wait: 10s }, { requests: 3, per: 1h }]";
    let proxy = proxy(&origin, rules);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || proxy.client().get("/").status();
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        3,
        "{statuses:?}"
    );
    let of = |rule: &str, result: &str| {
        proxy.metric(&format!(
            r#"outrigger_rate_limit_total{{result="{result}",route="all",rule="{rule}"}}"#
        ))
    };
    assert_eq!(of("1", "allowed") + of("1", "waited"), 3.0);
    assert_eq!((of("2", "allowed"), of("2", "limited")), (3.0, 2.0));
}

#[test]
fn a_rule_that_observes_counts_and_lets_pass() {
    let origin = Origin::fixed("ok");
    let proxy = proxy(
        &origin,
        "{ requests: 2, per: 1h, mode: observe, headers: both }",
    );
    let mut client = proxy.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_eq!(answer.status(), 200);
        assert!(answer.header("ratelimit").is_none());
    }
    assert_eq!(
        (counted(&proxy, "allowed"), counted(&proxy, "would_limit")),
        (2.0, 3.0)
    );
    assert_eq!(counted(&proxy, "limited"), 0.0);
    let observed = |line: &serde_json::Value| line["observed"] == "rate_limited";
    eventually("the lines say so", || {
        proxy
            .access_log()
            .iter()
            .filter(|line| observed(line))
            .count()
            == 3
    });
}

#[test]
fn all_listeners_and_workers_share_one_count() {
    let origin = Origin::fixed("ok");
    let text = format!("{}workers: 2\n", yaml(&origin, "{ requests: 5, per: 1h }"));
    let proxy = Proxy::start(&text);
    let addresses = [proxy.listener("inbound"), proxy.listener("second")];
    let served = (0..12)
        .filter(|index| Client::connect(addresses[index % 2]).get("/").status() == 200)
        .count();
    assert_eq!(served, 5);
}

#[test]
fn counts_survive_a_reload_that_does_not_touch_their_rule() {
    let origin = Origin::fixed("ok");
    let rules = "[{ requests: 2, per: 1h }, { requests: 100, per: 1h }]";
    let proxy = proxy(&origin, rules);
    let mut client = proxy.client();
    let mut next = || client.get("/").status();
    assert_eq!([next(), next(), next()], [200, 200, 429]);
    let other = yaml(
        &origin,
        "[{ requests: 2, per: 1h }, { requests: 101, per: 1h }]",
    );
    proxy.reload(&other.replace("forward: app\n", "forward: app\n    timeout: 7s\n"));
    assert_eq!(next(), 429);
    proxy.reload(&yaml(&origin, "{ requests: 1, per: 1h }"));
    assert_eq!([next(), next()], [200, 429]);
}

#[test]
fn requests_may_wait_for_their_turn() {
    let origin = Origin::fixed("ok");
    let rule = "{ requests: 20, per: 1s, burst: 1, when_exceeded: wait, max_wait: 10s }";
    let proxy = proxy(&origin, rule);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(proxy.client().get("/").status(), 200));
        }
    });
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (counted(&proxy, "waited"), counted(&proxy, "limited")),
        (4.0, 0.0)
    );
}

#[test]
fn whoever_would_wait_too_long_is_refused_at_once() {
    let origin = Origin::fixed("ok");
    let rule = "{ requests: 1, per: 40s, when_exceeded: wait, max_wait: 20s }";
    let proxy = proxy(&origin, rule);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let begun = Instant::now();
    let answer = client.get("/");
    assert_eq!(answer.status(), 429);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((5..=20).contains(&seconds), "{seconds}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn no_wait_goes_past_the_routes_timeout() {
    let origin = Origin::fixed("ok");
    let rule = "{ requests: 1, per: 20s, when_exceeded: wait, max_wait: 30s }\n    timeout: 5s";
    let proxy = proxy(&origin, rule);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let begun = Instant::now();
    let answer = client.get("/");
    assert_eq!(answer.status(), 429);
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            >= 19
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn no_more_than_max_waiting_wait_and_a_client_that_leaves_frees_its_place() {
    let origin = Origin::fixed("ok");
    let rule = "{ requests: 1, per: 1h, when_exceeded: wait, max_wait: 10h, max_waiting: 2 }\n    timeout: off";
    let proxy = proxy(&origin, rule);
    assert_eq!(proxy.client().get("/").status(), 200);
    let wait = || {
        let mut client = proxy.client();
        client.send("GET /waits HTTP/1.1\r\nhost: test\r\n\r\n");
        client
    };
    let active = r#"http_requests_active{direction="inbound",route="all"}"#;
    let (first, _second) = (wait(), wait());
    eventually("two wait", || proxy.metric(active) == 2.0);
    assert_eq!(proxy.client().get("/").status(), 429);
    drop(first);
    eventually("one has left", || proxy.metric(active) == 1.0);
    let _third = wait();
    eventually("another waits", || proxy.metric(active) == 2.0);
    assert_eq!(proxy.client().get("/").status(), 429);
    assert_eq!(counted(&proxy, "limited"), 2.0);
    assert_eq!(origin.count(), 1);
}

#[test]
fn random_keys_do_not_grow_the_table() {
    let origin = Origin::fixed("ok");
    let rule = "{ requests: 5, per: 1h, key: { header: x-user }, max_keys: 50 }";
    let proxy = proxy(&origin, rule);
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/", "x-user: steady\r\n").status(), 200);
    }
    for batch in 0..20 {
        let requests = (0..100).map(|number| {
            let long = "x".repeat(number * 10);
            format!("GET / HTTP/1.1\r\nhost: test\r\nx-user: {batch}-{long}-{number}\r\n\r\n")
        });
        client.send(requests.collect::<String>());
        (0..100).for_each(|_| assert_eq!(client.read().status(), 200));
    }
    assert_eq!(
        ask(&mut client, "/", "x-user: steady\r\n").status(),
        429,
        "not forgotten"
    );
    let of = |name: &str| {
        proxy.metric(&format!(
            r#"outrigger_rate_limit_{name}{{route="all",rule="1"}}"#
        ))
    };
    assert_eq!(of("keys"), 50.0);
    assert_eq!(of("evictions_total"), 1951.0);
}
