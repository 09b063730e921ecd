//! Who gets the next request, and which worker the next connection.

use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

fn origins(count: usize) -> Vec<Origin> {
    (0..count).map(|_| Origin::fixed("ok")).collect()
}

/// Listener and upstream; `weights` as many as origins, `more` the upstream's other keys.
fn yaml(origins: &[Origin], weights: &[u32], more: &str) -> String {
    let endpoints: Vec<String> = origins
        .iter()
        .zip(weights)
        .map(|(origin, weight)| format!("{{ address: {}, weight: {weight} }}", origin.address()))
        .collect();
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}]{more} }}\n",
        endpoints.join(", ")
    )
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::count).collect()
}

#[test]
fn shares_follow_the_weights_exactly_across_connections_and_workers() {
    let origins = origins(3);
    let proxy = Proxy::start(&format!("{}workers: 2\n", yaml(&origins, &[5, 2, 1], "")));
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                together.wait();
                for _ in 0..100 {
                    assert_eq!(client.get("/").status(), 200);
                }
            });
        }
    });
    assert_eq!(counts(&origins), [250, 100, 50]);
}

#[test]
fn requests_take_turns_by_default() {
    let origins = origins(3);
    let proxy = Proxy::start(&yaml(&origins, &[1, 1, 1], ""));
    for round in 1..=5 {
        for _ in 0..3 {
            proxy.client().get("/");
        }
        assert_eq!(counts(&origins), [round; 3]);
    }
}

#[test]
fn the_endpoint_with_the_fewest_requests_under_way_is_next() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let busy = Origin::start(move |_, peer| {
        let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        peer.answer("200 OK", "ok");
        Then::KeepAlive
    });
    let origins = [busy, Origin::fixed("ok")];
    let proxy = Proxy::start(&yaml(&origins, &[1, 1], ", balance: least_connections"));
    // The first goes to either; with the second one of them is at the busy endpoint and stays there.
    let mut waiting = Vec::new();
    while origins[0].count() == 0 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let before = waiting.len() + 1;
        waiting.push(client);
        eventually("it has arrived", || {
            counts(&origins).iter().sum::<usize>() == before
        });
    }
    let idle_before = origins[1].count();
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origins[0].count(), 1);
    assert_eq!(origins[1].count(), idle_before + 50);
    release.send(()).unwrap();
    for client in &mut waiting {
        assert_eq!(client.read().status(), 200);
    }
    // Nobody is busy anymore: both are used again.
    drop(release);
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origins[0].count(), 6);
}

#[test]
fn a_request_whose_client_left_is_not_under_way_anymore() {
    let origins = [
        Origin::start(|request, peer| {
            if request.target() == "/hang" {
                peer.is_closed();
                return Then::Close;
            }
            peer.answer("200 OK", "ok");
            Then::KeepAlive
        }),
        Origin::fixed("ok"),
    ];
    let proxy = Proxy::start(&yaml(&origins, &[1, 1], ", balance: least_connections"));
    let mut client = proxy.client();
    client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has arrived", || {
        counts(&origins).iter().sum::<usize>() == 1
    });
    drop(client);
    proxy.access_line("/hang");
    let mut client = proxy.client();
    let before = counts(&origins);
    for _ in 0..10 {
        client.get("/");
    }
    assert_eq!(counts(&origins), [before[0] + 5, before[1] + 5]);
}

#[test]
fn few_connections_are_spread_over_all_workers() {
    for extra in ["", ", reuse_port: false"] {
        let origin = Origin::fixed("ok");
        let proxy = Proxy::start(&format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app{extra} }}\n\
             upstreams:\n  app: {{ endpoints: [{}] }}\nworkers: 2\n",
            origin.address()
        ));
        let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").status(), 200);
        }
        assert_eq!(proxy.app().connections(), [2, 2]);
        // Those that end make room on their worker.
        clients.truncate(1);
        eventually("three have ended", || {
            proxy.app().connections().iter().sum::<usize>() == 1
        });
        clients.extend((0..3).map(|_| proxy.client()));
        for client in &mut clients {
            assert_eq!(client.get("/").status(), 200);
        }
        assert_eq!(proxy.app().connections(), [2, 2]);
    }
}

#[test]
fn several_listeners_spread_their_connections_together() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n  other: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\nworkers: 2\n",
        origin.address()
    ));
    let mut clients = Vec::new();
    for _ in 0..2 {
        for name in ["inbound", "other"] {
            let mut client = crate::support::client::Client::connect(proxy.listener(name));
            assert_eq!(client.get("/").status(), 200);
            clients.push(client);
        }
    }
    assert_eq!(proxy.app().connections(), [2, 2]);
}
