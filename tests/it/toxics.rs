//! What clients see while the real toxiproxy stands between the proxy and one of its endpoints.

use std::net::SocketAddr;

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::toxiproxy::{Link, Toxiproxy};

/// Kind and attributes of a toxic.
type Toxic = (&'static str, &'static str);

fn proxy(endpoints: &[SocketAddr]) -> Proxy {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\n\
         routes:\n  - name: app\n    forward: app\n    timeout: 10s\n\
         \x20   retry: {{ per_try_timeout: 250ms, backoff: {{ base: 1ms }} }}\n\
         upstreams: {{ app: {{ endpoints: [{}], timeouts: {{ idle: 2s }} }} }}\n",
        endpoints.join(", ")
    ))
}

/// A head of some 100 bytes and a body of 1000.
fn origin() -> Origin {
    Origin::start(|request, peer| {
        peer.body(request);
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nx-padding: {}\r\ncontent-length: 1000\r\n\r\n{}",
            "p".repeat(50),
            "b".repeat(1000)
        ));
        Then::KeepAlive
    })
}

/// Sends a dozen requests through a poisoned and a sound endpoint; all must be answered in full.
fn assert_saved(link: &Link<'_>, sound: &Origin, toxic: Toxic) -> usize {
    let before = proxy(&[link.address, sound.address()]);
    // Some connections exist when it begins.
    let mut client = before.client();
    (0..4).for_each(|_| assert_eq!(client.get("/").status(), 200));
    link.poison(toxic.0, toxic.1);
    let mut attempts = 0;
    for number in 0..12 {
        let path = format!("/{number}");
        let answer = client.get(&path);
        assert_eq!(
            (answer.status(), answer.body.len()),
            (200, 1000),
            "{toxic:?}: {}",
            answer.text()
        );
        attempts += before.access_line(&path)["attempts"]
            .as_array()
            .unwrap()
            .len();
    }
    attempts
}

#[test]
fn what_a_retry_can_save_is_saved() {
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let (behind, sound) = (origin(), origin());
    for toxic in [
        ("latency", r#""latency":2000"#),
        ("timeout", r#""timeout":0"#),
        ("timeout", r#""timeout":50"#),
        ("reset_peer", r#""timeout":0"#),
        ("limit_data", r#""bytes":30"#),
        ("bandwidth", r#""rate":0"#),
    ] {
        let link = toxiproxy.link(behind.address());
        let attempts = assert_saved(&link, &sound, toxic);
        assert!(
            attempts > 12,
            "{toxic:?}: {attempts} attempts for 12 requests"
        );
    }
}

#[test]
fn what_only_delays_or_slices_needs_no_retry() {
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let (behind, sound) = (origin(), origin());
    for toxic in [
        ("latency", r#""latency":20,"jitter":10"#),
        (
            "slicer",
            r#""average_size":40,"size_variation":20,"delay":100"#,
        ),
        ("slow_close", r#""delay":300"#),
        ("bandwidth", r#""rate":100"#),
    ] {
        let link = toxiproxy.link(behind.address());
        let attempts = assert_saved(&link, &sound, toxic);
        assert_eq!(attempts, 12, "{toxic:?}");
    }
}

#[test]
fn what_cannot_be_saved_has_its_reason() {
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let behind = origin();
    for (toxic, status, code) in [
        (("latency", r#""latency":5000"#), 504, "ATTEMPT_TIMEOUT"),
        (("timeout", r#""timeout":0"#), 504, "ATTEMPT_TIMEOUT"),
        (("reset_peer", r#""timeout":0"#), 502, "UPSTREAM_RESET"),
        (("limit_data", r#""bytes":30"#), 502, "UPSTREAM_RESET"),
    ] {
        let link = toxiproxy.link(behind.address());
        let proxy = proxy(&[link.address]);
        link.poison(toxic.0, toxic.1);
        let answer = proxy.client().get("/");
        assert_eq!(answer.status(), status, "{toxic:?}: {}", answer.text());
        let json = answer.json();
        assert_eq!(json["code"], code, "{toxic:?}");
        assert_eq!(json["details"]["not_retried"], "attempts", "{toxic:?}");
        assert_eq!(json["details"]["endpoint"], link.address.to_string());
    }
}

#[test]
fn an_answer_that_breaks_off_half_way_is_not_passed_off_as_complete() {
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let behind = origin();
    let link = toxiproxy.link(behind.address());
    let proxy = proxy(&[link.address]);
    link.poison("limit_data", r#""bytes":600"#);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.read_head().unwrap();
    assert_eq!(head.header("content-length"), Some("1000"));
    let mut body = 0;
    while !client.is_closed() {
        body += 1;
    }
    assert!((1..1000).contains(&body), "{body} bytes of the body");
    let line = proxy.access_line("/x");
    assert_eq!(line["reason"], "upstream_body_reset");
}
