//! HTTP/2 to upstreams: connections that are shared, what the endpoint refuses, and streams that do not disturb others.

use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use h2::Reason;
use tokio::sync::{Barrier, Notify};

use crate::support::http2::{Http2, collect, empty, full, request};
use crate::support::http2_origin::{Http2Origin, Options, send};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, free_address};

fn yaml(origin: SocketAddr, lines: &str) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app:\n    endpoints: [{origin}]\n    protocol: http2\n{lines}"
    )
}

fn without_retries(origin: SocketAddr) -> Proxy {
    let routes = "routes: [{ name: app, forward: app, retry: off }]\n";
    Proxy::start(&yaml(origin, routes).replace(", forward: app }\nup", " }\nup"))
}

fn before(origin: SocketAddr) -> Proxy {
    Proxy::start(&yaml(origin, ""))
}

#[test]
fn requests_of_http1_clients_share_one_connection() {
    let origin = Http2Origin::fixed("ok");
    let proxy = before(origin.address());
    for _ in 0..3 {
        let answer = proxy.client().get("/a?b=c");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(origin.connections(), 1);
    let seen = &origin.seen()[0];
    assert_eq!(seen.uri.to_string(), "http://test/a?b=c");
    assert!(!seen.headers.contains_key("host"));
}

/// Sends `count` requests at once over one HTTP/2 connection of a client; their statuses.
fn burst(client: &Http2, count: usize, method: &str) -> Vec<u16> {
    client.run(async {
        let requests = (0..count).map(|number| {
            let mut sender = client.sender.clone();
            let request = request(method, &format!("http://a/{number}"), empty());
            async move {
                let answer = sender.send_request(request).await.unwrap();
                collect(answer).await.unwrap().status
            }
        });
        join_all(requests).await
    })
}

#[test]
fn a_burst_of_first_requests_opens_one_connection() {
    let origin = Http2Origin::fixed("ok");
    let proxy = before(origin.address());
    let client = Http2::connect(proxy.address());
    assert_eq!(burst(&client, 60, "GET"), [200; 60]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn another_connection_is_opened_when_the_endpoint_takes_no_more_streams() {
    const STREAMS: usize = 7;
    let all = Arc::new(Barrier::new(STREAMS));
    let options = Options {
        max_streams: Some(3),
        ..Options::default()
    };
    // No stream is answered before all have arrived.
    let origin = Http2Origin::with(options, move |exchange| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = before(origin.address());
    let client = Http2::connect(proxy.address());
    for _ in 0..3 {
        assert_eq!(burst(&client, STREAMS, "GET"), [200; STREAMS]);
    }
    let connections = origin.connections();
    assert!((3..=STREAMS).contains(&connections), "{connections}");
}

#[test]
fn our_own_limit_of_streams_holds() {
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let all = Arc::new(Barrier::new(6));
    let origin = Http2Origin::start(move |exchange| {
        let (under_way, most, all) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&all));
        async move {
            if exchange.connection == 1 {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
            }
            all.wait().await;
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = Proxy::start(&yaml(origin.address(), "    http2: { max_streams: 2 }\n"));
    let client = Http2::connect(proxy.address());
    assert_eq!(burst(&client, 6, "GET"), [200; 6]);
    assert_eq!((seen.load(Ordering::SeqCst), origin.connections()), (2, 3));
}

#[test]
fn nobody_waits_long_for_a_connection_that_cannot_be_opened() {
    let proxy = before(free_address());
    let client = Http2::connect(proxy.address());
    let begun = Instant::now();
    assert_eq!(burst(&client, 40, "GET"), [502; 40]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_endpoint_that_speaks_http1_only_is_told_from_one_that_is_down() {
    let origin = Origin::fixed("ok");
    let proxy = before(origin.address());
    let answer = proxy.client().post("/", b"body");
    assert_eq!(answer.status(), 502);
    assert!(
        answer.text().contains("does not speak HTTP/2"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["code"], "UPSTREAM_NOT_HTTP2");
}

#[test]
fn an_endpoint_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lines =
        "    timeouts: { connect: 200ms }\n    retry_budget: { min_per_second: 0, percent: 0% }\n";
    let proxy = Proxy::start(&yaml(silent.local_addr().unwrap(), lines));
    let begun = Instant::now();
    assert_eq!(proxy.client().get("/").status(), 504);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_refused_stream_is_sent_again_even_with_a_body() {
    let refused = AtomicUsize::new(0);
    let origin = Http2Origin::start(move |mut exchange| {
        let refuse = refused.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if refuse {
                exchange.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let (body, _) = exchange.body().await;
            exchange.answer(201, body).await;
        }
    });
    let proxy = before(origin.address());
    let answer = proxy.client().post("/", b"once");
    assert_eq!((answer.status(), answer.text().as_str()), (201, "once"));
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn an_endpoint_that_refuses_every_stream_ends_the_attempt() {
    let origin = Http2Origin::start(|mut exchange| async move {
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let proxy = without_retries(origin.address());
    assert_eq!(proxy.client().get("/").status(), 502);
    assert_eq!(origin.seen().len(), 2, "once more, and no more");
}

#[test]
fn other_resets_are_not_taken_for_a_promise() {
    for reason in [
        Reason::CANCEL,
        Reason::INTERNAL_ERROR,
        Reason::ENHANCE_YOUR_CALM,
    ] {
        let origin = Http2Origin::start(move |mut exchange| async move {
            exchange.respond.send_reset(reason);
        });
        let proxy = before(origin.address());
        assert_eq!(proxy.client().post("/", b"body").status(), 502, "{reason}");
        assert_eq!(
            origin.seen().len(),
            1,
            "{reason}: a POST may have been processed"
        );
    }
}

#[test]
fn the_head_of_an_answer_has_the_size_that_the_file_allows() {
    let origin = Http2Origin::start(|mut exchange| async move {
        let long = if exchange.request.uri().path() == "/long" {
            20_000
        } else {
            12_000
        };
        let mut answer = http::Response::new(());
        let value = http::HeaderValue::from_bytes(&vec![b'a'; long]).unwrap();
        answer.headers_mut().insert("x-long", value);
        // The end of the connection is the other side's.
        let _ = exchange.respond.send_response(answer, true);
    });
    let proxy = Proxy::start(&yaml(
        origin.address(),
        "    limits: { header_bytes: 16KiB }\n",
    ));
    assert_eq!(proxy.client().get("/short").status(), 200);
    assert_eq!(proxy.client().get("/long").status(), 502);
    assert_eq!(proxy.client().get("/short").status(), 200);
}

#[test]
fn a_reset_stream_is_no_stale_connection() {
    let origin = Http2Origin::start(|mut exchange| async move {
        if exchange.request.uri().path() == "/broken" {
            exchange.respond.send_reset(Reason::INTERNAL_ERROR);
        } else {
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = without_retries(origin.address());
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(proxy.client().get("/broken").status(), 502);
    assert_eq!(
        origin.seen().len(),
        2,
        "a GET on a connection that has served before"
    );
}

#[test]
fn after_goaway_streams_under_way_end_well_and_new_ones_go_elsewhere() {
    let held = Arc::new(Notify::new());
    let release = Arc::clone(&held);
    let origin = Http2Origin::start(move |exchange| {
        let held = Arc::clone(&held);
        async move {
            if exchange.request.uri().path() == "/slow" {
                exchange.go_away();
                held.notified().await;
            }
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = before(origin.address());
    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has arrived", || origin.seen().len() == 1);
    for _ in 0..5 {
        assert_eq!(proxy.client().post("/", b"body").status(), 200);
    }
    release.notify_one();
    assert_eq!(slow.read().status(), 200);
    eventually("the first connection is closed", || origin.open() == 1);
}

#[test]
fn a_client_that_leaves_resets_its_stream_and_nothing_else() {
    let (told, resets) = channel();
    let told = Mutex::new(told);
    let origin = Http2Origin::start(move |mut exchange| {
        let told = told.lock().unwrap().clone();
        async move {
            if exchange.request.uri().path() == "/wait" {
                let reason = poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
                told.send(reason.unwrap()).unwrap();
            } else if exchange.request.uri().path() == "/body" {
                let mut stream = exchange.head(200);
                let reason = poll_fn(|cx| stream.poll_reset(cx)).await;
                told.send(reason.unwrap()).unwrap();
            } else {
                exchange.answer(200, "ok").await;
            }
        }
    });
    let proxy = before(origin.address());
    for path in ["/wait", "/body"] {
        let before = origin.seen().len();
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        eventually("it has arrived", || origin.seen().len() > before);
        drop(client);
        assert_eq!(resets.recv_timeout(PATIENCE), Ok(Reason::CANCEL), "{path}");
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_upload_that_the_endpoint_never_reads_ends_with_its_client() {
    let (told, resets) = channel();
    let told = Mutex::new(told);
    let origin = Http2Origin::start(move |mut exchange| {
        let told = told.lock().unwrap().clone();
        async move {
            if exchange.request.method() != "POST" {
                return exchange.answer(200, "ok").await;
            }
            // The head is answered, the body never read: the window stays closed.
            let mut stream = exchange.head(200);
            let reason = poll_fn(|cx| stream.poll_reset(cx)).await;
            told.send(reason.unwrap()).unwrap();
        }
    });
    let proxy = before(origin.address());
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let upload = request("POST", "http://a/", full(vec![0; 10_000_000]));
    let answer = client.run(sender.send_request(upload)).unwrap();
    assert_eq!(answer.status(), 200);
    drop((sender, client));
    assert_eq!(resets.recv_timeout(PATIENCE), Ok(Reason::CANCEL));
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn slow_readers_do_not_stop_other_streams() {
    let origin = Http2Origin::start(|mut exchange| async move {
        if exchange.request.uri().path() == "/large" {
            let mut stream = exchange.head(200);
            send(&mut stream, vec![b'x'; 50_000_000].into(), true).await;
        } else {
            exchange.answer(200, vec![b'y'; 1_000_000]).await;
        }
    });
    let proxy = before(origin.address());
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
            client.read_head().unwrap();
            client
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(proxy.client().get("/").body.len(), 1_000_000);
    }
    assert_eq!(origin.connections(), 1);
    drop(slow);
}

#[test]
fn a_truncated_answer_is_not_passed_on_as_complete() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let arrived = Arc::new(Notify::new());
        let go_on = Arc::clone(&arrived);
        let origin = Http2Origin::start(move |mut exchange| {
            let arrived = Arc::clone(&arrived);
            async move {
                let mut stream = exchange.head(200);
                send(&mut stream, "half".into(), false).await;
                arrived.notified().await;
                stream.send_reset(reason);
            }
        });
        let proxy = before(origin.address());
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.read_head().unwrap().status(), 200);
        assert_eq!(client.chunk().unwrap().unwrap(), b"half");
        go_on.notify_one();
        assert!(client.chunk().is_err(), "{reason}");
    }
}

#[test]
fn grpc_calls_go_by_http2_without_a_word_in_the_file() {
    let origin = Http2Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let client = Http2::connect(proxy.address());
    let mut call = request("POST", "http://a/s/m", empty());
    let headers = call.headers_mut();
    headers.insert("content-type", "application/grpc+proto".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    assert_eq!(client.send(call).unwrap().status, 200);
    assert_eq!(origin.seen()[0].headers["te"], "trailers");
    // What is not gRPC goes by HTTP/1.1, which this endpoint does not speak.
    assert_eq!(client.get("http://a/").status, 502);
}

#[test]
fn an_upgrade_is_not_passed_on() {
    let origin = Http2Origin::fixed("ok");
    let proxy = before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    let headers = &origin.seen()[0].headers;
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"));
}

#[test]
fn idle_connections_are_closed_and_old_ones_not_used_again() {
    let origin = Http2Origin::fixed("ok");
    let lines = "    pool: { idle_timeout: 50ms }\n";
    let proxy = Proxy::start(&yaml(origin.address(), lines));
    assert_eq!(proxy.client().get("/").status(), 200);
    eventually("it is closed", || origin.open() == 0);
    let lines = "    pool: { max_age: 1ms }\n";
    let proxy = Proxy::start(&yaml(origin.address(), lines));
    let before = origin.connections();
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/").status(), 200);
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(origin.connections() - before, 2);
}

#[test]
fn metrics_count_connections_and_streams() {
    let held = Arc::new(Notify::new());
    let release = Arc::clone(&held);
    let origin = Http2Origin::start(move |exchange| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = before(origin.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has arrived", || origin.seen().len() == 1);
    let labels = format!("{{endpoint=\"{}\",upstream=\"app\"}}", origin.address());
    let value = |name: &str| proxy.metric(&format!("{name}{labels}"));
    assert_eq!(value("outrigger_pool_http2_connections"), 1.0);
    assert_eq!(value("outrigger_pool_http2_streams"), 1.0);
    release.notify_one();
    assert_eq!(client.read().status(), 200);
    eventually("the stream has ended", || {
        value("outrigger_pool_http2_streams") == 0.0
    });
}

#[test]
fn a_limit_of_connections_is_not_one_of_requests() {
    let all = Arc::new(Barrier::new(20));
    let origin = Http2Origin::start(move |exchange| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            exchange.answer(200, "ok").await;
        }
    });
    let proxy = Proxy::start(&yaml(origin.address(), "    limits: { connections: 1 }\n"));
    let client = Http2::connect(proxy.address());
    assert_eq!(burst(&client, 20, "GET"), [200; 20]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_limit_of_connections_makes_requests_wait_for_a_stream() {
    let options = Options {
        max_streams: Some(2),
        ..Options::default()
    };
    let origin = Http2Origin::with(options, |exchange| async move {
        exchange.answer(200, "ok").await;
    });
    let proxy = Proxy::start(&yaml(origin.address(), "    limits: { connections: 1 }\n"));
    let client = Http2::connect(proxy.address());
    assert_eq!(burst(&client, 30, "POST"), [200; 30]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_health_check_speaks_what_the_endpoint_does() {
    let origin = Http2Origin::fixed("ok");
    let lines = "    health_check: { http: /healthz, interval: 1s, readiness: true }\n";
    let proxy = Proxy::start(&yaml(origin.address(), lines));
    eventually("it is healthy", || proxy.probe("/ready").status() == 200);
    assert_eq!(origin.seen()[0].uri.path(), "/healthz");
}

#[test]
fn a_connection_that_does_not_answer_pings_is_given_up() {
    // A socket that says its settings and nothing after.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
        std::io::copy(&mut socket, &mut std::io::sink())
    });
    let lines = "    http2: { keepalive_interval: 1s, keepalive_timeout: 100ms }\n    retry_budget: { min_per_second: 0, percent: 0% }\n";
    let proxy = Proxy::start(&yaml(address, lines));
    let answer = proxy.client().post("/", b"body");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["code"], "UPSTREAM_RESET");
    peer.join().unwrap().unwrap();
}
