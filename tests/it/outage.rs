//! An outage by script: one of three endpoints does everything wrong that an app can do, one fault after the other, while
//! clients go on asking. For each fault stands here what they see.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::Proxy;
use crate::support::{eventually, free_address};

/// What the endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Hung,
    ResetBeforeTheHead,
    HalfAHead,
    Garbage,
    Slow,
    Unavailable,
    ClosesIdleConnections,
    /// The only one that nothing can save: the client has read the beginning.
    ResetMidBody,
}

const FAULTS: [Fault; 9] = [
    Fault::None,
    Fault::Hung,
    Fault::ResetBeforeTheHead,
    Fault::HalfAHead,
    Fault::Garbage,
    Fault::Slow,
    Fault::Unavailable,
    Fault::ClosesIdleConnections,
    Fault::ResetMidBody,
];

const BODY: &str = "a body of some length, so that there is a middle to break it off in";

fn act(fault: Fault, request: &Request, peer: &mut Peer) -> Then {
    peer.body(request);
    match fault {
        Fault::None => return answer(peer),
        Fault::ClosesIdleConnections => {
            answer(peer);
            let _ = peer.reader.get_ref().shutdown(Shutdown::Both);
        }
        Fault::Hung => drop(peer.is_closed()),
        Fault::ResetBeforeTheHead => peer.reset(),
        Fault::HalfAHead => drop(peer.send("HTTP/1.1 200 OK\r\ncontent-")),
        Fault::Garbage => drop(peer.send([0, 159, 146, 150, 13, 10, 13, 10])),
        Fault::Slow => {
            std::thread::sleep(Duration::from_millis(600));
            return answer(peer);
        }
        Fault::Unavailable => {
            peer.send("HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 4\r\n\r\nbusy");
            return Then::KeepAlive;
        }
        Fault::ResetMidBody => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY.len());
            peer.send(format!("{head}{}", &BODY[..20]));
            // What was sent has to arrive before the reset overtakes it.
            std::thread::sleep(Duration::from_millis(30));
            peer.reset();
        }
    }
    Then::Close
}

fn answer(peer: &mut Peer) -> Then {
    peer.answer("200 OK", BODY);
    Then::KeepAlive
}

/// Every policy that may take an endpoint out, with times so short that the faulty one is asked again and again.
const POLICIES: &str = "    circuit_breaker: { open_for: 100ms }\n\
                        \x20   outlier: { eject_for: 100ms, max_eject_for: 200ms }\n\
                        \x20   health_check: { tcp: {}, interval: 50ms, timeout: 50ms }\n\
                        \x20   limits: { in_flight: 100, endpoint_in_flight: 50, pending: 50 }\n";

fn yaml(endpoints: &[SocketAddr], policies: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0 }} }}\n\
         routes:\n  - name: app\n    forward: app\n    timeout: 10s\n\
         \x20   retry: {{ per_try_timeout: 300ms, backoff: {{ base: 1ms }} }}\n\
         upstreams:\n  app:\n    endpoints: [{}]\n\
         \x20   retry_budget: {{ percent: 100% }}\n{policies}",
        endpoints.join(", ")
    )
}

/// Answers that were not what the client asked for, of `each` requests by each of four clients.
fn failures(proxy: &Proxy, each: usize) -> usize {
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for number in 0..each {
                    // Every second request has a body that may have to be sent again.
                    let request = if number % 2 == 0 {
                        "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
                    } else {
                        "PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
                    };
                    let sent = client.try_send(request);
                    let answer = sent.and_then(|()| client.try_read());
                    if !answer.is_ok_and(|it| it.status() == 200 && it.body == BODY.as_bytes()) {
                        failed.fetch_add(1, Ordering::SeqCst);
                        client = proxy.client();
                    }
                }
            });
        }
    });
    failed.into_inner()
}

/// Puts one faulty endpoint beside two good ones; each fault in turn, for so many requests of each client.
fn suffer(policies: &str, each: usize) {
    let fault = Arc::new(AtomicUsize::new(0));
    let current = Arc::clone(&fault);
    let faulty = Origin::start(move |request, peer| {
        act(FAULTS[current.load(Ordering::SeqCst)], request, peer)
    });
    let good: Vec<Origin> = (0..2)
        .map(|_| Origin::start(|request, peer| act(Fault::None, request, peer)))
        .collect();
    let endpoints = [faulty.address(), good[0].address(), good[1].address()];
    let proxy = Proxy::start(&yaml(&endpoints, policies));
    let mut cut = 0;
    for (index, kind) in FAULTS.into_iter().enumerate() {
        // Sound again, and in service again, before the next fault.
        fault.store(0, Ordering::SeqCst);
        let before = faulty.count();
        eventually("it is back", || {
            proxy.client().get("/back");
            faulty.count() > before
        });
        fault.store(index, Ordering::SeqCst);
        let before = faulty.count();
        let failed = failures(&proxy, each);
        assert!(
            faulty.count() > before,
            "{kind:?}: nobody asked the faulty endpoint"
        );
        if kind == Fault::ResetMidBody {
            assert_eq!(failed, faulty.count() - before, "{kind:?}");
            cut += failed;
            eventually("each one has its reason in the log", || {
                let is_cut = |line: &&serde_json::Value| line["reason"] == "upstream_body_reset";
                proxy.access_log().iter().filter(is_cut).count() == cut
            });
        } else {
            assert_eq!(failed, 0, "{kind:?}");
        }
    }
}

#[test]
fn a_faulty_endpoint_among_good_ones_costs_clients_nothing_that_could_be_saved() {
    suffer("", 12);
}

#[test]
fn nor_does_it_with_every_policy_on() {
    suffer(POLICIES, 60);
}

#[test]
fn an_endpoint_that_is_killed_and_comes_back_costs_clients_nothing() {
    let address = free_address();
    let start = || {
        let listener = TcpListener::bind(address).expect("the port is free again");
        Origin::on(listener, |request, peer| act(Fault::None, request, peer))
    };
    let good = Origin::start(|request, peer| act(Fault::None, request, peer));
    let mut mortal = Some(start());
    let proxy = Proxy::start(&yaml(&[address, good.address()], POLICIES));
    for _ in 0..3 {
        assert_eq!(failures(&proxy, 10), 0, "while it lives");
        drop(mortal.take());
        assert_eq!(failures(&proxy, 10), 0, "while it is dead");
        mortal = Some(start());
    }
    let back = mortal.as_ref().map(Origin::count);
    eventually("it is asked again", || {
        assert_eq!(failures(&proxy, 1), 0);
        mortal.as_ref().map(Origin::count) > back
    });
}

#[test]
fn what_cannot_be_saved_is_answered_with_its_reason() {
    for (fault, status, code) in [
        (Fault::Hung, 504, "ATTEMPT_TIMEOUT"),
        (Fault::ResetBeforeTheHead, 502, "UPSTREAM_RESET"),
        (Fault::HalfAHead, 502, "UPSTREAM_RESET"),
        (Fault::Garbage, 502, "UPSTREAM_PROTOCOL_ERROR"),
        (Fault::Slow, 504, "ATTEMPT_TIMEOUT"),
    ] {
        let origin = Origin::start(move |request, peer| act(fault, request, peer));
        let proxy = Proxy::start(&yaml(&[origin.address()], ""));
        let answer = proxy.client().get("/x");
        assert_eq!(answer.status(), status, "{fault:?}");
        let json = answer.json();
        assert_eq!(json["code"], code, "{fault:?}");
        assert_eq!(json["details"]["side"], "upstream", "{fault:?}");
        assert_eq!(json["details"]["not_retried"], "attempts", "{fault:?}");
        assert_eq!(json["details"]["endpoint"], origin.address().to_string());
        let message = json["message"].as_str().unwrap();
        assert!(message.contains("upstream `app`"), "{fault:?}: {message}");
    }
}
