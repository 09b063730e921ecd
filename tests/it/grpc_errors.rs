//! What a gRPC caller is told when the proxy itself refuses a call, cannot make it, or loses its answer.

use std::sync::mpsc::channel;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::client::Client;
use crate::support::http2::{Answer, Http2, Upload, collect, empty, full};
use crate::support::http2_origin::Http2Origin;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, free_address};

fn call(path: &str, more: &[(&str, &str)], body: Upload) -> Request<Upload> {
    let mut request = Request::post(format!("http://shop{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn ask(proxy: &Proxy, path: &str, more: &[(&str, &str)]) -> Answer {
    let client = Http2::connect(proxy.address());
    let answer = client.send(call(path, more, full("\0\0\0\0\0")));
    answer.expect("an answer")
}

fn field<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields.get(name).map_or("", |value| value.to_str().unwrap())
}

/// A head that says all, and nothing else.
#[track_caller]
fn assert_refused(answer: &Answer, status: &str, reason: &str, words: &str) {
    assert_eq!(answer.status, 200);
    assert_eq!(field(&answer.headers, "content-type"), "application/grpc");
    assert_eq!(field(&answer.headers, "grpc-status"), status);
    let message = field(&answer.headers, "grpc-message");
    assert!(message.contains(words), "{message}");
    let proxy_status = field(&answer.headers, "proxy-status");
    assert!(proxy_status.contains(reason), "{proxy_status}");
    assert_eq!(answer.body, "");
    assert_eq!(answer.trailers, None, "one frame of headers ends it");
    assert_eq!(answer.headers.get("content-length"), None);
}

/// In front of an app that speaks HTTP/1, unless `upstream` says something else.
fn yaml(origin: std::net::SocketAddr, more: &str, upstream: &str) -> String {
    let protocol = if upstream.contains("protocol") {
        ""
    } else {
        ", protocol: http1"
    };
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: app\n    match: {{ path: /shop.Cart }}\n    \
         forward: app\n{more}upstreams:\n  app: {{ endpoints: [{origin}]{protocol}{upstream} }}\n"
    )
}

#[test]
fn a_call_that_no_route_takes_is_unimplemented() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let answer = ask(&proxy, "/other.Service/Do%20It", &[]);
    let words = "no route of listener `inbound` takes POST /other.Service/Do%2520It;";
    assert_refused(&answer, "12", "no_route", words);
    let line = proxy.access_line("/other.Service/Do%20It");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&200.into(), &"no_route".into())
    );
}

#[test]
fn an_app_that_is_not_there_is_unavailable() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let answer = ask(&proxy, "/shop.Cart/Add", &[]);
    assert_refused(&answer, "14", "connect_refused", "Connection refused");
    assert_eq!(answer.headers.get("grpc-retry-pushback-ms"), None);
}

#[test]
fn a_call_beyond_the_rate_is_told_when_to_come_again() {
    let origin = Origin::fixed("ok");
    let limit = "    rate_limit: { requests: 1, per: 1h }\n";
    let proxy = Proxy::start(&yaml(origin.address(), limit, ""));
    assert_eq!(ask(&proxy, "/shop.Cart/Add", &[]).body, "ok");
    let answer = ask(&proxy, "/shop.Cart/Add", &[]);
    assert_refused(&answer, "8", "rate_limited", "1 per 1h");
    let millis: u64 = field(&answer.headers, "grpc-retry-pushback-ms")
        .parse()
        .unwrap();
    assert!((3_500_000..=3_600_000).contains(&millis), "{millis}");
    let seconds: u64 = field(&answer.headers, "retry-after").parse().unwrap();
    assert_eq!(seconds, millis.div_ceil(1000));
}

#[test]
fn an_open_breaker_is_unavailable_for_a_known_time() {
    let breaker = ", circuit_breaker: { consecutive_failures: 1, open_for: 90s }";
    let proxy = Proxy::start(&yaml(free_address(), "    retry: off\n", breaker));
    ask(&proxy, "/shop.Cart/Add", &[]);
    let answer = ask(&proxy, "/shop.Cart/Add", &[]);
    assert_refused(&answer, "14", "circuit_open", "its circuit breaker is open");
    let millis: u64 = field(&answer.headers, "grpc-retry-pushback-ms")
        .parse()
        .unwrap();
    assert!((60_000..=90_000).contains(&millis), "{millis}");
}

#[test]
fn a_deadline_that_passes_is_exceeded_by_whoevers_clock() {
    let origin = Origin::start(|request, peer| {
        peer.body(request);
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let answer = ask(&proxy, "/shop.Cart/Add", &[("grpc-timeout", "50m")]);
    assert_refused(
        &answer,
        "4",
        "deadline_exceeded",
        "the time that the client allowed is over",
    );
    let limit = "    retry: { attempts: 1, per_try_timeout: 50ms }\n";
    let proxy = Proxy::start(&yaml(origin.address(), limit, ""));
    let answer = ask(&proxy, "/shop.Cart/Add", &[]);
    assert_refused(&answer, "4", "attempt_timeout", "per_try_timeout");
}

#[test]
fn a_stranger_reads_no_names() {
    let more = "trusted_proxies: [192.0.2.1/32]\n";
    let proxy = Proxy::start(&format!("{}{more}", yaml(free_address(), "", "")));
    let answer = ask(&proxy, "/shop.Cart/Add", &[]);
    assert_refused(
        &answer,
        "14",
        "connect_refused",
        "the connection to the endpoint failed",
    );
    assert!(!field(&answer.headers, "grpc-message").contains("127.0.0.1"));
}

#[test]
fn a_caller_over_http1_reads_the_same_and_goes_on() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("POST /none/Do HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0");
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (200, ""));
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.header("grpc-status"), Some("12"));
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

#[test]
fn a_malformed_request_is_an_internal_error() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let mut client = proxy.client();
    client.send("POST /a/b HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
    let answer = client.read();
    assert_eq!(
        (answer.status(), answer.header("grpc-status")),
        (200, Some("13"))
    );
}

#[test]
fn others_are_told_in_http() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    for kind in [
        "application/grpc-web+proto",
        "application/json",
        "application/grpcx",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST /none HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 0\r\n\r\n"
        ));
        let answer = client.read();
        assert_eq!((answer.status(), answer.header("grpc-status")), (404, None));
        assert_eq!(answer.json()["code"], "NO_ROUTE");
    }
}

#[test]
fn what_a_route_answers_is_sent_as_the_file_says() {
    let file = "listeners:\n  inbound: { address: 127.0.0.1:0 }\nroutes:\n  - name: down\n    match: { path: /down.Svc }\n    \
                respond: { status: 503, body: closed }\n  - name: grpc\n    respond: { status: 200, headers: { content-type: application/grpc, grpc-status: \"14\" } }\n";
    let proxy = Proxy::start(file);
    let answer = ask(&proxy, "/down.Svc/Do", &[]);
    assert_eq!((answer.status, &answer.body[..]), (503, &b"closed"[..]));
    assert_eq!(answer.headers.get("grpc-status"), None);
    let answer = ask(&proxy, "/a.Svc/Do", &[]);
    assert_eq!(
        (answer.status, field(&answer.headers, "grpc-status")),
        (200, "14")
    );
}

const BEGINNING: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n";

/// An app whose answer begins and then breaks off, or stays silent.
fn broken(then: Then) -> Origin {
    Origin::start(move |request, peer| {
        peer.body(request);
        peer.send(BEGINNING);
        if then == Then::KeepAlive {
            peer.is_closed();
        }
        Then::Close
    })
}

#[test]
fn an_answer_that_breaks_off_ends_with_a_status() {
    let origin = broken(Then::Close);
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let answer = ask(&proxy, "/shop.Cart/List", &[]);
    assert_eq!((answer.status, answer.body.len()), (200, 5));
    let trailers = answer.trailers.unwrap();
    assert_eq!(field(&trailers, "grpc-status"), "14");
    assert_eq!(
        field(&trailers, "grpc-message"),
        "the endpoint broke off its answer"
    );
    let line = proxy.access_line("/shop.Cart/List");
    assert_eq!(line["reason"], "upstream_body_reset");
}

#[test]
fn a_deadline_that_passes_while_an_answer_comes_ends_it_with_a_status() {
    let origin = broken(Then::KeepAlive);
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let answer = ask(&proxy, "/shop.Cart/List", &[("grpc-timeout", "200m")]);
    assert_eq!(answer.body.len(), 5);
    assert_eq!(field(&answer.trailers.unwrap(), "grpc-status"), "4");
    assert_eq!(
        proxy.access_line("/shop.Cart/List")["reason"],
        "deadline_exceeded"
    );
}

#[test]
fn an_endpoint_that_falls_silent_ends_an_answer_with_a_status() {
    let origin = broken(Then::KeepAlive);
    let proxy = Proxy::start(&yaml(origin.address(), "", ", timeouts: { idle: 100ms }"));
    let answer = ask(&proxy, "/shop.Cart/List", &[]);
    let trailers = answer.trailers.unwrap();
    assert_eq!(field(&trailers, "grpc-status"), "4");
    let message = field(&trailers, "grpc-message");
    assert!(message.contains("upstreams.app.timeouts.idle"), "{message}");
}

/// The code with which the client's stream is reset, when the app resets its own with `sent` in the middle of an answer.
fn reset_with(sent: h2::Reason) -> Option<h2::Reason> {
    let origin = Http2Origin::start(move |mut exchange| async move {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let head = head.body(()).unwrap();
        let mut stream = exchange.respond.send_response(head, false).unwrap();
        stream
            .send_data(Bytes::from_static(&[0; 5]), false)
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(sent);
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ", protocol: http2"));
    let client = Http2::connect(proxy.address());
    let error = client.send(call("/shop.Cart/List", &[], full("\0\0\0\0\0")));
    let error = error.expect_err("a reset");
    assert_eq!(
        proxy.access_line("/shop.Cart/List")["reason"],
        "upstream_body_reset"
    );
    let error = std::error::Error::source(&error)?.downcast_ref::<h2::Error>()?;
    error.reason()
}

#[test]
fn an_app_that_resets_its_answer_is_heard_with_its_own_code() {
    for code in [
        h2::Reason::CANCEL,
        h2::Reason::ENHANCE_YOUR_CALM,
        h2::Reason::INTERNAL_ERROR,
    ] {
        assert_eq!(reset_with(code), Some(code));
    }
}

#[test]
fn other_broken_answers_are_cut() {
    // A client of HTTP/1 would take trailers that it does not read for a good end.
    let origin = broken(Then::Close);
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let mut client = proxy.client();
    client.send("POST /shop.Cart/List HTTP/1.1\r\nhost: a\r\nte: trailers\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 200);
    assert_eq!(client.chunk().unwrap(), Some(vec![0; 5]));
    assert!(client.chunk().is_err(), "no last chunk");

    let origin = Origin::start(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
        Then::Close
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let client = Http2::connect(proxy.address());
    let broken = client.send(call("/shop.Cart/List", &[], empty()));
    let error = broken.expect_err("a reset");
    assert!(error.to_string().contains("body"), "{error}");
}

#[test]
fn a_call_refused_while_it_is_being_sent_is_answered_at_once() {
    let proxy = Proxy::start(&yaml(free_address(), "", ""));
    let client = Http2::connect(proxy.address());
    let (hold, held) = futures_channel();
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x05")))]);
    let body = StreamBody::new(futures_util::StreamExt::chain(first, held)).boxed();
    let mut sender = client.sender.clone();
    let answer = client.run(async move {
        let response = sender
            .send_request(call("/none/Do", &[], body))
            .await
            .unwrap();
        collect(response).await.unwrap()
    });
    assert_refused(&answer, "12", "no_route", "no route");
    drop(hold);
    // The connection serves on.
    let answer = client.send(call("/none/Do", &[], empty())).unwrap();
    assert_refused(&answer, "12", "no_route", "no route");
}

/// A body that goes on until the sender is dropped.
fn futures_channel() -> (
    tokio::sync::mpsc::Sender<()>,
    impl futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + Sync,
) {
    let (hold, mut held) = tokio::sync::mpsc::channel::<()>(1);
    let rest = stream::poll_fn(move |cx| held.poll_recv(cx).map(|_| None));
    (hold, rest)
}

#[test]
fn a_call_that_the_client_gives_up_is_given_up_behind_the_proxy() {
    let (ended, told) = channel();
    let origin = Origin::start(move |request, peer| {
        peer.body(request);
        peer.is_closed();
        ended.send(()).unwrap();
        Then::Close
    });
    let proxy = Proxy::start(&yaml(origin.address(), "", ""));
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let task = client.spawn(async move {
        drop(
            sender
                .send_request(call("/shop.Cart/Add", &[], empty()))
                .await,
        );
    });
    crate::support::eventually("the call is there", || origin.count() == 1);
    task.abort();
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.access_line("/shop.Cart/Add")["reason"], "client_gone");
    let mut other = Client::connect(proxy.address());
    assert_eq!(other.get("/none").status(), 404);
}
