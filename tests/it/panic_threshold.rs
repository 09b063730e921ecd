//! Too few endpoints in service: all are used, or nobody is and the answer says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{eventually, free_address};

/// Apps whose health checks fail while `sick`, and whose answers are good all the same.
fn apps(count: usize, sick: &Arc<AtomicBool>) -> Vec<Origin> {
    let app = |_| {
        let sick = Arc::clone(sick);
        Origin::start(move |request, peer| {
            let fails = request.target() == "/healthz" && sick.load(SeqCst);
            peer.answer(if fails { "500 Sick" } else { "200 OK" }, "ok");
            Then::KeepAlive
        })
    };
    (0..count).map(app).collect()
}

fn yaml(endpoints: &[String], more: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}], health_check: {{ http: /healthz, interval: 20ms, interval_down: 20ms, timeout: 2s }}{more} }}\n",
        endpoints.join(", ")
    )
}

fn panicking(proxy: &Proxy) -> bool {
    proxy.metric("outrigger_upstream_panic{upstream=\"app\"}") == 1.0
}

#[test]
fn below_a_half_all_endpoints_are_used_until_enough_are_back() {
    let (well, sick) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(true)),
    );
    let apps = [apps(1, &well), apps(2, &sick)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let addresses: Vec<String> = apps.iter().map(|it| it.address().to_string()).collect();
    let proxy = Proxy::start(&yaml(&addresses, ""));
    eventually("a panic", || panicking(&proxy));
    let view = proxy.control("/upstreams").text();
    assert!(view.contains("1 of 3 healthy, all used"), "{view}");
    for _ in 0..9 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    let served = |app: &Origin| {
        app.requests()
            .iter()
            .filter(|it| it.target() == "/")
            .count()
    };
    assert_eq!(apps.iter().map(served).collect::<Vec<_>>(), [3, 3, 3]);
    sick.store(false, SeqCst);
    eventually("it is over", || !panicking(&proxy));
}

#[test]
fn exactly_the_threshold_is_enough() {
    let (well, sick) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(true)),
    );
    let apps = [apps(1, &well), apps(1, &sick)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let addresses: Vec<String> = apps.iter().map(|it| it.address().to_string()).collect();
    let proxy = Proxy::start(&yaml(&addresses, ", panic_threshold: 50%"));
    eventually("one is out", || {
        proxy
            .control("/upstreams")
            .text()
            .contains("1 of 2 healthy ")
    });
    assert!(!panicking(&proxy));
    for _ in 0..4 {
        proxy.client().get("/");
    }
    assert!(
        apps[1]
            .requests()
            .iter()
            .all(|it| it.target() == "/healthz")
    );
}

#[test]
fn without_a_threshold_the_answer_comes_at_once_and_names_each_endpoint() {
    let sick = Arc::new(AtomicBool::new(true));
    let apps = apps(1, &sick);
    let dead = free_address();
    let addresses = [apps[0].address().to_string(), dead.to_string()];
    let proxy = Proxy::start(&yaml(&addresses, ", panic_threshold: off"));
    let mut client = proxy.client();
    eventually("nobody is left", || client.get("/").status() == 503);
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = client.get("/");
        fastest = fastest.min(begun.elapsed());
        let json = answer.json();
        assert_eq!(json["code"], "NO_HEALTHY_ENDPOINT");
        assert_eq!(
            json["message"],
            format!(
                "no endpoint of upstream `app` is in service: {} unhealthy (answered 500); \
                 {dead} unhealthy (connect: connection refused)",
                apps[0].address()
            )
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("destination_unavailable")
        );
    }
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
    sick.store(false, SeqCst);
    eventually("one is back", || client.get("/").status() == 200);
}
