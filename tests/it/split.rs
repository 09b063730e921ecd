//! Shares of requests by weight.

use std::collections::HashMap;

use crate::support::client::Client;
use crate::support::http2::{Http2, empty, request};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

struct House {
    origins: [Origin; 3],
}

impl House {
    fn new() -> Self {
        Self {
            origins: ["a", "b", "c"].map(Origin::fixed),
        }
    }

    fn proxy(&self, forward: &str) -> Proxy {
        let [a, b, c] = self.origins.each_ref().map(Origin::address);
        Proxy::start(&format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - {{ name: shop, forward: {forward} }}\n  \
             - {{ name: rest, match: {{ path: /rest }}, forward: {{ split: {{ a: 1, b: 1, c: 1 }} }} }}\n\
             upstreams:\n  a: {{ endpoints: [{a}] }}\n  b: {{ endpoints: [{b}] }}\n  c: {{ endpoints: [{c}] }}\n"
        ))
    }
}

fn shares(client: &mut Client, requests: usize) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for _ in 0..requests {
        *seen.entry(client.get("/").text()).or_default() += 1;
    }
    seen
}

#[test]
fn each_upstream_gets_exactly_its_share_of_each_cycle_and_zero_gets_none() {
    let house = House::new();
    let proxy = house.proxy("{ split: { a: 90, b: 10, c: 0 } }");
    let mut client = proxy.client();
    for _ in 0..3 {
        let seen = shares(&mut client, 100);
        assert_eq!((seen["a"], seen["b"], seen.get("c")), (90, 10, None));
    }
    assert_eq!(house.origins[2].count(), 0);
    assert_eq!(proxy.access_line("/")["route"], "shop");
    let logged = |name: &str| {
        let lines = proxy.access_log();
        lines.iter().filter(|line| line["upstream"] == name).count()
    };
    crate::support::eventually("all lines are written", || logged("a") + logged("b") == 300);
    assert_eq!((logged("a"), logged("b")), (270, 30));
}

#[test]
fn one_upstream_alone_gets_all_whatever_its_weight() {
    let house = House::new();
    let proxy = house.proxy("{ split: { b: 7 } }");
    assert_eq!(shares(&mut proxy.client(), 20)["b"], 20);
}

#[test]
fn a_user_stays_with_an_upstream_by_header_or_cookie() {
    let house = House::new();
    for (sticky, line) in [
        ("header: X-User", "x-user: u"),
        ("cookie: user", "cookie: a=b; user=u"),
    ] {
        let proxy = house.proxy(&format!(
            "{{ split: {{ a: 50, b: 50 }}, sticky: {{ {sticky} }} }}"
        ));
        let mut of = HashMap::new();
        for round in 0..3 {
            // A reload does not move anybody.
            if round == 2 {
                let text = std::fs::read_to_string(proxy.path()).unwrap();
                proxy.reload(&format!("{text}drain: {{ timeout: 9s }}\n"));
            }
            let mut client = proxy.client();
            for user in 0..60 {
                client.send(format!("GET / HTTP/1.1\r\nhost: h\r\n{line}{user}\r\n\r\n"));
                let text = client.read().text();
                assert_eq!(*of.entry(user).or_insert(text.clone()), text, "{user}");
            }
        }
        let a = of.values().filter(|name| *name == "a").count();
        assert!((15..=45).contains(&a), "{a} of 60");
        // Who brings nothing takes turns.
        let seen = shares(&mut proxy.client(), 10);
        assert_eq!((seen["a"], seen["b"]), (5, 5));
    }
}

#[test]
fn crumbs_of_a_cookie_keep_their_user() {
    let house = House::new();
    let proxy = house.proxy("{ split: { a: 50, b: 50 }, sticky: { cookie: user } }");
    let client = Http2::connect(proxy.address());
    let ask = |crumbs: &[&str]| {
        let mut request = request("GET", "http://h/", empty());
        for crumb in crumbs {
            request
                .headers_mut()
                .append("cookie", crumb.parse().unwrap());
        }
        client.send(request).unwrap().body
    };
    for user in 0..20 {
        let cookie = format!("user={user}");
        let whole = ask(&[&format!("x=1; {cookie}")]);
        assert_eq!(ask(&["x=1", &cookie]), whole);
        assert_eq!(ask(&[&cookie, "x=2"]), whole);
    }
}
