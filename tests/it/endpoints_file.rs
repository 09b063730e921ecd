//! A list of endpoints in a file of its own.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::dns::{Dns, addresses};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

const YAML: &str = "listeners:\n  inbound: { address: 127.0.0.1:0, forward: app }\n\
                    upstreams:\n  app: { discovery: { file: endpoints.yaml } }\n";

fn write(proxy: &Proxy, text: &str) {
    // As editors and Kubernetes do: another file takes the name.
    let directory = proxy.path().parent().unwrap().to_owned();
    std::fs::write(directory.join("next.yaml"), text).unwrap();
    std::fs::rename(
        directory.join("next.yaml"),
        directory.join("endpoints.yaml"),
    )
    .unwrap();
}

fn reads(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_endpoints_file_reads_total{{result=\"{result}\",upstream=\"app\"}}"
    ))
}

fn endpoints(proxy: &Proxy) -> f64 {
    proxy.metric("outrigger_upstream_endpoints{upstream=\"app\"}")
}

#[test]
fn the_list_is_followed_apart_from_the_configuration() {
    let (one, two) = (Origin::fixed("one"), Origin::fixed("two"));
    let proxy = Proxy::start(YAML);
    write(&proxy, &format!("- {}\n", one.address()));
    eventually("the first", || proxy.client().get("/").text() == "one");
    write(
        &proxy,
        &format!(
            "[{{ address: {}, weight: 3 }}, {}]\n",
            two.address(),
            one.address()
        ),
    );
    eventually("two endpoints", || endpoints(&proxy) == 2.0);
    let before = (one.count(), two.count());
    for _ in 0..8 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    assert_eq!((one.count() - before.0, two.count() - before.1), (2, 6));
    assert_eq!(
        proxy.metric("outrigger_config_reloads_total{result=\"applied\"}"),
        0.0
    );
}

#[test]
fn a_missing_file_is_told_and_waited_for() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(YAML);
    eventually("ready", || proxy.probe("/ready").status() == 200);
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 503);
    let text = answer.text();
    assert!(
        text.contains("endpoints.yaml: this file does not exist"),
        "{text}"
    );
    assert_eq!(reads(&proxy, "refused"), 1.0);
    write(&proxy, &format!("- {}\n", origin.address()));
    eventually("it appears", || proxy.client().get("/").status() == 200);
}

#[test]
fn a_bad_list_keeps_the_last_good_one() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(YAML);
    write(&proxy, &format!("- {}\n", origin.address()));
    eventually("the first", || proxy.client().get("/").status() == 200);
    let many: String = (0..1001)
        .map(|n| format!("- 127.0.0.1:{}\n", n + 1))
        .collect();
    for (text, told) in [
        ("- nowhere\n", "has no port"),
        ("a: [b", "endpoints.yaml:"),
        ("", "the file is empty"),
        ("- { adress: 127.0.0.1:1 }\n", "unknown key `adress`"),
        ("- 127.0.0.1:1\n- 127.0.0.1:1\n", "is listed twice"),
        (&many, "at most 1000"),
        ("endpoints: [127.0.0.1:1]\n", "must be a list of addresses"),
    ] {
        let before = reads(&proxy, "refused");
        write(&proxy, text);
        eventually(told, || reads(&proxy, "refused") > before);
        assert_eq!(proxy.client().get("/").status(), 200, "{told}");
        let view = proxy.control("/upstreams").text();
        assert!(view.contains(told), "{told}: {view}");
    }
    std::fs::remove_file(proxy.path().with_file_name("endpoints.yaml")).unwrap();
    eventually("its loss is told", || {
        (proxy.control("/upstreams").text()).contains("does not exist")
    });
    assert_eq!(proxy.client().get("/").status(), 200);
    write(&proxy, "[]\n");
    eventually("no endpoints on purpose", || {
        proxy.client().get("/").text().contains("has no endpoint")
    });
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let proxy = Proxy::start(YAML);
    write(&proxy, "[127.0.0.1:1]\n");
    eventually("the first", || endpoints(&proxy) == 1.0);
    let series = || proxy.probe("/metrics").text().lines().count();
    let before = series();
    for round in 0..30 {
        let port = 100 + round;
        write(&proxy, &format!("[127.0.0.1:{port}]\n"));
        eventually("the next", || {
            proxy
                .control("/upstreams")
                .text()
                .contains(&format!("127.0.0.1:{port} "))
        });
    }
    eventually("as many series as before", || series() <= before + 1);
}

#[test]
fn a_request_at_an_endpoint_that_goes_is_answered() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let slow = Origin::start(move |request, peer| {
        if request.target() == "/held" {
            let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        }
        peer.answer("200 OK", "slow");
        Then::KeepAlive
    });
    let other = Origin::fixed("other");
    let proxy = Proxy::start(YAML);
    write(&proxy, &format!("- {}\n", slow.address()));
    eventually("an endpoint", || endpoints(&proxy) == 1.0);
    let mut client = proxy.client();
    client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it is under way", || slow.count() == 1);
    assert_eq!(proxy.client().get("/").text(), "slow");
    assert_eq!(slow.open(), 2, "one is idle");
    write(&proxy, &format!("- {}\n", other.address()));
    let listed = format!("{} ", other.address());
    eventually("the other", || {
        proxy.control("/upstreams").text().contains(&listed)
    });
    assert_eq!(proxy.client().get("/").text(), "other");
    eventually("the idle one is closed", || slow.open() == 1);
    release.send(()).unwrap();
    assert_eq!(client.read().text(), "slow");
    eventually("its connection is closed", || slow.open() == 0);
}

#[test]
fn a_list_may_hold_names() {
    let origin = Origin::fixed("ok");
    let dns = Dns::knowing("app.example", addresses(&["127.0.0.1"], 60));
    let proxy = Proxy::start(&format!("{YAML}{}", dns.yaml()));
    write(
        &proxy,
        &format!("- app.example:{}\n", origin.address().port()),
    );
    eventually("it is resolved", || proxy.client().get("/").status() == 200);
}
