//! The proxy's own addresses: what they show, to whom, and that they answer whatever the workers do.

use std::sync::{Arc, Condvar, Mutex};

use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};

fn ask(proxy: &Proxy, control: bool, request: &str, headers: &str) -> Answer {
    let address = if control {
        proxy.app().control_address()
    } else {
        proxy.app().probes_address()
    };
    let mut client = Client::connect(address.unwrap());
    client.send(format!(
        "{request} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n{headers}\r\n"
    ));
    client.read()
}

#[test]
fn probes_tell_what_they_check() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    for control in [false, true] {
        let live = ask(&proxy, control, "GET /live", "");
        assert_eq!((live.status(), live.text().trim()), (200, "OK"));
        let ready = ask(&proxy, control, "GET /ready", "");
        assert_eq!(ready.status(), 200);
        assert_eq!(ready.header("content-type"), Some("application/json"));
        let json = ready.json();
        assert_eq!(json["ready"], true);
        let checks = json["checks"].as_object().unwrap();
        assert!(checks.contains_key("listeners") && checks.contains_key("workers"));
        assert!(checks.values().all(|check| check == true), "{json}");
    }
}

#[test]
fn metrics_have_names_types_labels_and_the_right_content_type() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    proxy.client().get("/");
    let answer = proxy.probe("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    for line in [
        "# TYPE http_requests_total counter",
        "# TYPE http_request_duration_seconds histogram",
        "# TYPE http_requests_active gauge",
        "# TYPE outrigger_config_reloads_total counter",
        "# TYPE outrigger_build_info gauge",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    let label = regex::Regex::new(r#"(\w+)="[^"]*""#).unwrap();
    let known = [
        "direction",
        "route",
        "method",
        "code",
        "le",
        "listener",
        "upstream",
        "endpoint",
        "class",
        "reason",
        "result",
        "version",
        "hash",
        "to",
        "mode",
        "way",
        "worker",
    ];
    for hit in label.captures_iter(&text) {
        assert!(known.contains(&&hit[1]), "label {}", &hit[1]);
    }
}

#[test]
fn control_is_for_this_machine_only() {
    let origin = Origin::fixed("ok");
    for address in ["0.0.0.0:0", "'[::]:0'", "192.0.2.1:9901"] {
        let yaml = format!(
            "admin: {{ probes: off, control: {address} }}\n{}",
            minimal(origin.address())
        );
        let error = Proxy::try_start(&yaml).err().expect("refused");
        assert!(error.contains("can be reached from outside"), "{error}");
    }
}

#[test]
fn what_is_for_control_is_not_on_the_probes_address() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    for request in [
        "GET /",
        "GET /upstreams",
        "GET /config/status",
        "POST /reload",
        "GET /reload",
    ] {
        assert_eq!(ask(&proxy, false, request, "").status(), 404, "{request}");
    }
}

#[test]
fn changes_are_posted_and_reading_is_not() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    for (request, allowed) in [
        ("GET /reload", "POST"),
        ("PUT /reload", "POST"),
        ("POST /ready", "GET, HEAD"),
        ("POST /upstreams", "GET, HEAD"),
        ("DELETE /config/status", "GET, HEAD"),
        ("POST /", "GET, HEAD"),
    ] {
        let answer = ask(&proxy, true, request, "");
        assert_eq!(
            (answer.status(), answer.header("allow")),
            (405, Some(allowed)),
            "{request}"
        );
    }
    assert_eq!(ask(&proxy, true, "GET /nothing", "").status(), 404);
    assert_eq!(
        proxy.control("/config/status").json()["version"],
        1,
        "nothing was changed"
    );
}

#[test]
fn pages_in_browsers_are_refused() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    for request in ["POST /reload", "GET /upstreams", "GET /config/status"] {
        let answer = ask(&proxy, true, request, "origin: https://evil.example\r\n");
        assert_eq!(answer.status(), 403, "{request}");
    }
    let null = ask(&proxy, true, "POST /reload", "origin: null\r\n");
    assert_eq!(null.status(), 403);
}

#[test]
fn upstreams_are_shown_to_people_and_to_programs() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = Mutex::new(receiver);
    let origin = Origin::start(move |_, peer| {
        let _ = receiver.lock().unwrap().recv();
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("a request is under way", || origin.count() == 1);
    let json = |proxy: &Proxy| {
        ask(
            proxy,
            true,
            "GET /upstreams",
            "accept: application/json\r\n",
        )
        .json()[0]
            .clone()
    };
    let endpoint = origin.address().to_string();
    let upstream = json(&proxy);
    assert_eq!(
        (&upstream["name"], &upstream["balance"]),
        (&"app".into(), &"round_robin".into())
    );
    assert_eq!(upstream["endpoints"][0]["address"], *endpoint);
    assert_eq!(upstream["endpoints"][0]["in_flight"], 1);
    let text = proxy.control("/upstreams").text();
    assert!(
        text.contains("app") && text.contains(&endpoint) && text.contains("1 in flight"),
        "{text}"
    );
    sender.send(()).unwrap();
    client.read();
    eventually("it is over", || {
        let endpoint = &json(&proxy)["endpoints"][0];
        endpoint["in_flight"] == 0 && endpoint["idle"] == 1
    });
}

#[test]
fn the_configuration_in_force_is_told() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let before = proxy.control("/config/status").json();
    assert_eq!(before["version"], 1);
    assert!(before["applied_at"].as_str().unwrap().ends_with('Z'));
    let more = format!(
        "{}  more: {{ endpoints: [127.0.0.1:9] }}\n",
        minimal(origin.address())
    );
    proxy.reload(&more);
    let after = proxy.control("/config/status").json();
    assert_eq!(after["version"], 2);
    assert_ne!(before["hash"], after["hash"]);
    let info = format!(
        "outrigger_config_info{{hash={},version=\"2\"}}",
        after["hash"]
    );
    assert_eq!(proxy.metric(&info), 1.0);
}

#[test]
fn probes_answer_while_two_hundred_requests_hang() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let own = Arc::clone(&gate);
    let origin = Origin::start(move |_, peer| {
        let (open, changed) = &*own;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut clients: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    eventually("all hang", || origin.count() == 200);
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(proxy.probe(path).status(), 200, "{path}");
    }
    let active = r#"http_requests_active{direction="inbound",route="inbound"}"#;
    assert_eq!(proxy.metric(active), 200.0);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for client in &mut clients {
        assert_eq!(client.read().status(), 200);
    }
}
