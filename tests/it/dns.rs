//! Names as endpoints: their addresses, their TTL, and servers that fail, lie or say nothing.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::support::client::Answer;
use crate::support::dns::{Dns, Reply, addresses};
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

const NAME: &str = "app.example";

/// Apps on 127.0.0.1, 127.0.0.2 … and one port.
fn apps(count: u8) -> (Vec<Origin>, u16) {
    'ports: loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for last in 2..=count {
            match TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port)) {
                Ok(listener) => listeners.push(listener),
                Err(_) => continue 'ports,
            }
        }
        let app = |listener| {
            Origin::on(listener, |_, peer| {
                peer.answer("200 OK", "ok");
                Then::KeepAlive
            })
        };
        return (listeners.into_iter().map(app).collect(), port);
    }
}

fn yaml(dns: &Dns, endpoints: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{endpoints}] }}\n{}",
        dns.yaml()
    )
}

fn endpoints(proxy: &Proxy) -> f64 {
    proxy.metric("outrigger_upstream_endpoints{upstream=\"app\"}")
}

fn lookups(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_dns_lookups_total{{result=\"{result}\",upstream=\"app\"}}"
    ))
}

fn get(proxy: &Proxy) -> Answer {
    proxy.client().get("/")
}

#[test]
fn a_name_is_all_its_addresses_each_with_its_weight() {
    let (apps, port) = apps(3);
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.2", "127.0.0.1"], 60));
    let target = format!("{{ address: {NAME}:{port}, weight: 2 }}, 127.0.0.3:{port}");
    let proxy = Proxy::start(&yaml(&dns, &target));
    eventually("three endpoints", || endpoints(&proxy) == 3.0);
    for _ in 0..20 {
        assert_eq!(get(&proxy).status(), 200);
    }
    let counts: Vec<usize> = apps.iter().map(Origin::count).collect();
    assert_eq!(counts, [8, 8, 4]);
    assert_eq!(lookups(&proxy, "ok"), 1.0);
}

#[test]
fn a_new_answer_is_followed_and_what_left_is_drained() {
    let (apps, port) = apps(2);
    // Names of other than hosts have underscores.
    const NAME: &str = "_app.example";
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.1"], 1));
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:{port}")));
    eventually("an endpoint", || endpoints(&proxy) == 1.0);
    assert_eq!(get(&proxy).status(), 200);
    assert_eq!((apps[0].count(), apps[0].open()), (1, 1));
    dns.set(NAME, addresses(&["127.0.0.2"], 1));
    eventually("requests go to the new address", || {
        assert_eq!(get(&proxy).status(), 200);
        apps[1].count() > 0
    });
    eventually("the old one's connections are closed", || {
        apps[0].open() == 0
    });
    let before = apps[0].count();
    for _ in 0..5 {
        get(&proxy);
    }
    assert_eq!(apps[0].count(), before);
    let text = proxy.probe("/metrics").text();
    assert!(
        !text.contains(&format!("endpoint=\"127.0.0.1:{port}\"")),
        "series of what left are removed"
    );
}

#[test]
fn the_last_good_answer_outlives_every_failure() {
    let (apps, port) = apps(1);
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:{port}")));
    eventually("an endpoint", || endpoints(&proxy) == 1.0);
    for (reply, result) in [
        (Reply::Failure, "server_failure"),
        (Reply::NoName, "not_found"),
        (Reply::Addresses(Vec::new(), 60), "no_address"),
    ] {
        dns.set(NAME, reply);
        eventually(result, || lookups(&proxy, result) > 0.0);
        assert_eq!(get(&proxy).status(), 200, "{result}");
        // Asked again at once, so that the next failure need not wait.
        dns.set(NAME, addresses(&["127.0.0.1"], 0));
        let good = lookups(&proxy, "ok");
        eventually("a good answer", || lookups(&proxy, "ok") > good);
    }
    assert_eq!(apps[0].count(), 3);
    assert!(!proxy.control("/upstreams").text().contains(NAME));
}

#[test]
fn a_missing_name_stops_nothing_and_the_answer_says_why() {
    let (_apps, port) = apps(1);
    let dns = Dns::start();
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:{port}")));
    eventually("ready", || proxy.probe("/ready").status() == 200);
    let answer = get(&proxy);
    assert_eq!(answer.status(), 503);
    let json = answer.json();
    assert_eq!(json["code"], "DISCOVERY_FAILED");
    assert_eq!(
        json["message"],
        "upstream `app` has no endpoint: `app.example`: there is no such name"
    );
    let view = proxy.control("/upstreams").text();
    assert!(
        view.contains("`app.example`: there is no such name"),
        "{view}"
    );
    dns.set(NAME, addresses(&["127.0.0.1"], 60));
    eventually("the name appears", || get(&proxy).status() == 200);
}

#[test]
fn a_silent_server_delays_readiness_only_until_it_is_given_up() {
    let (_apps, port) = apps(1);
    let dns = Dns::knowing(NAME, Reply::Silence);
    let begun = Instant::now();
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:{port}")));
    let first = proxy.probe("/ready");
    if lookups(&proxy, "timeout") == 0.0 {
        assert_eq!(first.json()["checks"]["discovery"], false);
        assert!(get(&proxy).text().contains("not answered yet"));
    }
    eventually("ready", || proxy.probe("/ready").status() == 200);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let text = get(&proxy).text();
    assert!(text.contains("no DNS server answered in time"), "{text}");
    dns.set(NAME, addresses(&["127.0.0.1"], 60));
    eventually("the server speaks", || get(&proxy).status() == 200);
}

#[test]
fn a_ttl_of_zero_is_asked_for_once_a_second() {
    let (_apps, port) = apps(1);
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:{port}")));
    eventually("three questions", || dns.asked(NAME).len() >= 3);
    let asked = dns.asked(NAME);
    assert!(asked[2] - asked[0] >= Duration::from_millis(1900));
    drop(proxy);
}

#[test]
fn thousands_of_records_become_a_bounded_number_of_endpoints() {
    let all = (0..4000u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        IpAddr::from([127, 9, high, low])
    });
    let dns = Dns::knowing(NAME, Reply::Addresses(all.collect(), 60));
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:1")));
    eventually("endpoints", || endpoints(&proxy) > 0.0);
    assert_eq!(endpoints(&proxy), 1000.0);
}

#[test]
fn loops_garbage_and_addresses_of_nobody_are_survived() {
    let (_apps, port) = apps(1);
    let dns = Dns::knowing("a.example", Reply::Alias("b.example"));
    dns.set("b.example", Reply::Alias("a.example"));
    dns.set("garbage.example", Reply::Garbage);
    dns.set("sinkhole.example", addresses(&["0.0.0.0", "224.0.0.1"], 60));
    let names = ["a.example", "garbage.example", "sinkhole.example"];
    let listed: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
    let proxy = Proxy::start(&yaml(&dns, &listed.join(", ")));
    eventually("ready", || proxy.probe("/ready").status() == 200);
    let text = get(&proxy).text();
    assert!(names.iter().all(|name| text.contains(name)), "{text}");
    assert_eq!(endpoints(&proxy), 0.0);
    assert!(dns.asked("a.example").len() < 50);
}

#[test]
fn both_families_are_used_unless_the_file_wants_one() {
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.1", "::1"], 60));
    let proxy = Proxy::start(&yaml(&dns, &format!("{NAME}:9")));
    eventually("two endpoints", || endpoints(&proxy) == 2.0);
    let both = yaml(&dns, &format!("{NAME}:9"));
    let (before, asked) = (dns.asked_for_v6(NAME), dns.asked(NAME).len());
    proxy.reload(&both.replace("timeout: 200ms", "timeout: 200ms, family: v4"));
    eventually("one endpoint", || endpoints(&proxy) == 1.0);
    assert_eq!(dns.asked_for_v6(NAME), before);
    assert!(dns.asked(NAME).len() > asked);
}

#[test]
fn a_reload_of_the_upstream_keeps_what_is_known_of_its_names() {
    let (apps, port) = apps(1);
    let dns = Dns::knowing(NAME, addresses(&["127.0.0.1"], 60));
    let text = yaml(&dns, &format!("{NAME}:{port}"));
    let proxy = Proxy::start(&text);
    eventually("an endpoint", || endpoints(&proxy) == 1.0);
    assert_eq!(get(&proxy).status(), 200);
    dns.set(NAME, Reply::Silence);
    proxy.reload(&text.replace("] }", "], balance: least_connections }"));
    assert_eq!(get(&proxy).status(), 200);
    assert_eq!(apps[0].connections(), 1, "its pool is kept as well");
}

#[test]
fn nobody_asks_for_a_name_that_a_reload_removed() {
    let (_apps, port) = apps(1);
    let dns = Dns::knowing("a.example", addresses(&["127.0.0.1"], 0));
    dns.set("b.example", addresses(&["127.0.0.1"], 0));
    let text = |name: &str| yaml(&dns, &format!("{name}:{port}"));
    let both = format!("a.example:{port}, b.example");
    let proxy = Proxy::start(&text(&both));
    eventually("both are asked for", || {
        !dns.asked("a.example").is_empty() && !dns.asked("b.example").is_empty()
    });
    proxy.reload(&text("b.example"));
    let (removed, kept) = (dns.asked("a.example").len(), dns.asked("b.example").len());
    eventually("the other is asked for again", || {
        dns.asked("b.example").len() >= kept + 3
    });
    assert!(dns.asked("a.example").len() <= removed + 1);
    assert_eq!(get(&proxy).status(), 200);
}
