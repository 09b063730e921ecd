//! What the proxy gives up when its memory runs short.

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};

const LEVEL: &str = "outrigger_memory_level";

#[test]
fn a_process_beyond_its_budget_refuses_new_requests_and_answers_probes() {
    let origin = Origin::fixed("ok");
    let text = minimal(origin.address());
    let proxy = Proxy::start(&format!("{text}memory: {{ limit: 1MiB }}\n"));
    eventually("the budget is exceeded", || proxy.metric(LEVEL) == 2.0);
    let answer = proxy.client().get("/shed");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let body = answer.json();
    assert_eq!(body["code"], "MEMORY_OVERLOADED");
    assert_eq!(body["details"]["limit"]["key"], "memory.shed_at");
    assert_eq!(body["details"]["limit"]["value"], "90%");
    assert_eq!(proxy.access_line("/shed")["reason"], "memory_overloaded");
    assert_eq!(origin.count(), 0);
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(proxy.probe(path).status(), 200, "{path}");
        assert_eq!(proxy.control(path).status(), 200, "{path}");
    }
    assert_eq!(
        proxy.metric("outrigger_memory_limit_bytes"),
        f64::from(1 << 20)
    );
    assert!(proxy.metric("outrigger_memory_bytes") > f64::from(1 << 20));
    proxy.reload(&format!("{text}memory: {{ limit: 1GiB, shed_at: 100% }}\n"));
    eventually("there is room again", || {
        proxy.client().get("/").status() == 200
    });
    assert_eq!(proxy.metric(LEVEL), 0.0);
}

#[test]
fn requests_under_way_go_on_when_new_ones_are_refused() {
    let origin = Origin::start(|request, peer| {
        if request.target() == "/long" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab");
            // The rest comes when somebody asks for it.
            peer.body(request);
            peer.send("cd");
        } else {
            peer.answer("200 OK", "ok");
        }
        Then::KeepAlive
    });
    let text = minimal(origin.address());
    let proxy = Proxy::start(&text);
    let mut client = proxy.client();
    client.send("POST /long HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    proxy.reload(&format!("{text}memory: {{ limit: 1MiB }}\n"));
    eventually("the budget is exceeded", || {
        proxy.client().get("/").status() == 503
    });
    client.send("x");
    assert_eq!(client.bytes(4), b"abcd");
}

#[test]
fn before_new_requests_are_refused_replays_are_given_up() {
    let origin = Origin::fixed("ok");
    let text = minimal(origin.address());
    let proxy = Proxy::start(&format!(
        "{text}memory: {{ limit: 1GiB, replay_at: 1%, shed_at: 100% }}\n"
    ));
    let used = || proxy.metric("outrigger_memory_bytes");
    eventually("it was measured", || used() > 0.0);
    let expected = if used() >= f64::from(1 << 30) / 100.0 {
        1.0
    } else {
        0.0
    };
    eventually("the level follows", || proxy.metric(LEVEL) == expected);
    assert_eq!(expected, 1.0, "{} bytes are too few for this test", used());
    assert_eq!(proxy.client().get("/").status(), 200);
}
