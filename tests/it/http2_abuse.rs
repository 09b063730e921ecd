//! HTTP/2 clients that make work: their connections end, everybody else's go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use crate::support::eventually;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, Frames, HEADERS, PING, RST_STREAM, SETTINGS, block, frame, get,
};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// ENHANCE_YOUR_CALM
const CALM: u32 = 11;

fn counted(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_downstream_protocol_errors_total{{direction=\"inbound\",listener=\"inbound\",reason=\"{reason}\"}}"
    ))
}

/// Sends `bytes(n)` until the connection ends, which it has to with a GOAWAY and be counted, while others are served.
#[track_caller]
fn assert_ended(reason: &str, mut bytes: impl FnMut(u32) -> Vec<u8>) {
    // A body that the end of its connection cuts is not read here.
    let origin = Origin::start(|request, peer| {
        peer.answer("200 OK", "ok");
        if request.method() == "GET" {
            Then::KeepAlive
        } else {
            Then::Close
        }
    });
    let proxy = Proxy::before(origin.address());
    let served = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&served);
    let mut other = proxy.client();
    let begin = Arc::new(Barrier::new(2));
    let begun = Arc::clone(&begin);
    let others = std::thread::spawn(move || {
        begun.wait();
        let mut count = 0;
        while !done.load(Ordering::SeqCst) || count < 20 {
            assert_eq!(other.get("/other").status(), 200);
            count += 1;
        }
    });
    let mut peer = Frames::connect(proxy.address());
    begin.wait();
    // In small pieces, so that what is unread when it ends does not reset what it was told.
    let sent = (0..200_000).take_while(|n| peer.send(&bytes(*n))).count();
    assert!(sent < 200_000, "{reason}: it never ends");
    peer.ends();
    served.store(true, Ordering::SeqCst);
    others.join().unwrap();
    eventually(&format!("counted as {reason}"), || {
        counted(&proxy, reason) == 1.0
    });
    eventually("nothing is left", || proxy.app().connections() == [0]);
    assert_eq!(proxy.client().get("/after").status(), 200);
}

#[test]
fn streams_reset_as_soon_as_they_are_opened_end_the_connection() {
    assert_ended("rapid_reset", |n| {
        let stream = 2 * n + 1;
        [
            get(stream, "/reset"),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    });
}

#[test]
fn floods_of_frames_without_use_end_the_connection() {
    assert_ended("frame_flood", |_| frame(PING, 0, 0, &[0; 8]));
    assert_ended("frame_flood", |_| {
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
    });
    assert_ended("frame_flood", |_| frame(0x77, 0, 0, b"unknown"));
    assert_ended("frame_flood", |n| match n {
        0 => frame(
            HEADERS,
            END_HEADERS,
            1,
            &block(&[
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"a"),
                (b":path", b"/empty"),
            ]),
        ),
        _ => frame(DATA, 0, 1, b""),
    });
}

#[test]
fn a_header_block_that_never_ends_ends_the_connection() {
    assert_ended("continuation_flood", |n| match n {
        0 => frame(HEADERS, 0, 1, &block(&[(b":method", b"GET")])),
        _ => frame(CONTINUATION, 0, 1, b""),
    });
}

#[test]
fn the_client_that_is_ended_is_told_to_calm_down() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let mut peer = Frames::connect(proxy.address());
    // As many as are taken, and the one that is not: nothing is unread when the connection ends.
    peer.send(&frame(PING, 0, 0, &[0; 8]).repeat(1001));
    assert_eq!(peer.goaway(), Some(CALM));
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    let origin = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut peer = Frames::connect(proxy.address());
    for number in 0..150 {
        assert!(peer.send(&get(2 * number + 1, "/")));
    }
    let mut refused = 0;
    while refused < 50 {
        let frame = peer.next().expect("the connection goes on");
        refused += u32::from(frame.kind == RST_STREAM && frame.payload == [0, 0, 0, 7]);
    }
    eventually("the others are served", || origin.count() == 100);
    peer.send(&frame(PING, 0, 0, b"12345678"));
    while peer.next().expect("the connection goes on").kind != PING {}
}

#[test]
fn a_client_that_never_opens_its_window_is_let_go() {
    let origin = Origin::start(|request, peer| {
        let body = vec![
            b'a';
            if request.target() == "/large" {
                1 << 20
            } else {
                10
            }
        ];
        peer.answer("200 OK", body);
        Then::KeepAlive
    });
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, timeouts: {{ idle: 300ms }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    for (settings, path) in [
        (&[][..], "/large"),
        // SETTINGS_INITIAL_WINDOW_SIZE 0
        (&[0, 4, 0, 0, 0, 0], "/large"),
        (&[0, 4, 0, 0, 0, 0], "/small"),
    ] {
        let mut peer = Frames::with_settings(proxy.address(), settings);
        peer.send(&get(1, path));
        peer.ends();
        eventually("nothing is left", || proxy.app().connections() == [0]);
    }
    let closed = "outrigger_connections_closed_total{direction=\"inbound\",listener=\"inbound\",reason=\"idle_timeout\"}";
    eventually("it is counted", || proxy.metric(closed) == 3.0);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn too_many_header_lines_are_refused_over_http2_too() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ];
    let line: (&[u8], &[u8]) = (b"x", b"1");
    for (lines, status) in [(100, 200), (101, 431), (5_000, 431)] {
        let mut peer = Frames::connect(proxy.address());
        let all = [&fields[..], &vec![line; lines]].concat();
        let block = block(&all);
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            let end_stream = u8::from(kind == HEADERS);
            peer.send(&frame(kind, last | end_stream, 1, piece));
            kind = CONTINUATION;
        }
        assert_eq!(peer.status(1), Some(status), "{lines}");
    }
    assert_eq!(origin.count(), 1);
}
