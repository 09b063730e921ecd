//! Connections that stop speaking HTTP.

use std::io::Read;
use std::net::Shutdown;

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

/// Switches, then echoes in upper case until its peer's end, and says goodbye.
fn echo() -> Origin {
    Origin::start(|request, peer| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("connection"), Some("upgrade"));
        assert_eq!(request.header("sec-websocket-key"), Some("x"));
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\r\nready");
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = peer.reader.read(&mut bytes) {
            peer.send(bytes[..count].to_ascii_uppercase());
        }
        peer.send("bye");
        Then::Close
    })
}

#[test]
fn both_sides_talk_freely_after_a_switch() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.read_head().unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("connection"), Some("upgrade"));
    assert_eq!(head.header("x-hop"), Some("1"));
    assert_eq!(client.bytes(5), b"ready", "bytes that came with the head");
    for word in ["hello", "world"] {
        client.send(word);
        assert_eq!(client.bytes(5), word.to_ascii_uppercase().as_bytes());
    }
    drop(client);
    let line = proxy.access_line("/chat");
    assert_eq!(line["status"], 101);
    assert_eq!(line.get("reason"), None);
    assert!(line["bytes_out"].as_u64().unwrap() >= 15, "{line}");
}

#[test]
fn bytes_sent_before_the_switch_was_confirmed_are_not_lost() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(format!("{ASK}early"));
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert_eq!(client.bytes(10), b"readyEARLY");
}

#[test]
fn one_side_may_end_while_the_other_still_talks() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.send("last");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.bytes(12), b"readyLASTbye");
    assert!(client.is_closed());
}

#[test]
fn an_app_talks_on_after_its_client_has_said_its_last() {
    let (heard, next) = std::sync::mpsc::channel::<()>();
    let next = std::sync::Mutex::new(next);
    let origin = Origin::start(move |_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        assert!(peer.is_closed());
        for word in ["one", "two", "six"] {
            peer.send(word);
            let _ = next.lock().unwrap().recv_timeout(crate::support::PATIENCE);
        }
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.stream().shutdown(Shutdown::Write).unwrap();
    for word in [b"one", b"two", b"six"] {
        assert_eq!(client.bytes(3), word);
        heard.send(()).unwrap();
    }
    assert!(client.is_closed());
}

#[test]
fn much_data_goes_both_ways() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.bytes(5);
    let mut sender = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &vec![b'a'; 8 << 20]).unwrap();
    });
    let back = client.bytes(8 << 20);
    assert!(back.iter().all(|&byte| byte == b'A'));
    writer.join().unwrap();
}

#[test]
fn a_client_that_goes_away_ends_the_apps_side() {
    let (ended, told) = std::sync::mpsc::channel();
    let origin = Origin::start(move |_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        peer.is_closed();
        ended.send(()).unwrap();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    drop(client);
    told.recv_timeout(crate::support::PATIENCE).unwrap();
    eventually("no connection is left", || proxy.app().connections() == [0]);
}

#[test]
fn an_app_that_does_not_switch_answers_as_usual() {
    let origin = Origin::fixed("no");
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(ASK);
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "no"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_fault_of_the_app() {
    let origin = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        peer.is_closed();
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["code"], "UPSTREAM_PROTOCOL_ERROR");
    let line = proxy.access_line("/");
    assert_eq!(line["reason"], "upstream_protocol_error");
}

#[test]
fn a_drain_ends_a_switched_connection_at_its_time_limit() {
    let origin = echo();
    let proxy = Proxy::with(origin.address(), "drain: { timeout: 200ms }");
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.bytes(5);
    proxy.drain();
    assert!(client.is_closed());
}

#[test]
fn a_switched_connection_still_counts() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert_eq!(client.bytes(5), b"ready");
    assert_eq!(proxy.app().connections(), [1]);
    drop(client);
    eventually("it has ended", || proxy.app().connections() == [0]);
}

/// Switches to what `switch` says, then echoes.
fn switching(switch: &'static str) -> Origin {
    Origin::start(move |request, peer| {
        let body = peer.body(request);
        peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{switch}\r\n{}",
            String::from_utf8(body).unwrap()
        ));
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = peer.reader.read(&mut bytes) {
            peer.send(&bytes[..count]);
        }
        Then::Close
    })
}

fn asking(fields: &str) -> String {
    format!("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n{fields}\r\n")
}

#[test]
fn a_pipe_in_which_nothing_moves_is_closed_and_the_key_is_named() {
    let origin = switching("upgrade: websocket\r\n");
    let address = origin.address();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, timeouts: {{ idle: 100ms }} }}\nupstreams:\n  \
         app: {{ endpoints: [{address}], timeouts: {{ idle: 100ms, upgraded_idle: 800ms }} }}\n"
    ));
    let mut client = proxy.client();
    client.send(asking("upgrade: websocket\r\n"));
    assert_eq!(client.read_head().unwrap().status(), 101);
    let begun = std::time::Instant::now();
    for _ in 0..6 {
        // Much longer than the idle times of HTTP, which do not count anymore, and all together longer than its own.
        std::thread::sleep(std::time::Duration::from_millis(200));
        client.send("x");
        assert_eq!(client.bytes(1), b"x");
    }
    assert!(begun.elapsed().as_millis() >= 1200);
    let quiet = std::time::Instant::now();
    assert!(client.is_closed());
    let elapsed = quiet.elapsed().as_millis();
    assert!((590..5000).contains(&elapsed), "{elapsed} ms");
    let line = proxy.access_line("/chat");
    assert_eq!(line["reason"], "upgraded_idle_timeout");
    assert_eq!(line["limit"]["key"], "upstreams.app.timeouts.upgraded_idle");
    assert_eq!(line["limit"]["value"], "800ms");
    eventually("the app's side is closed", || origin.open() == 0);
}

#[test]
fn pipes_are_counted_with_their_bytes() {
    let origin = echo();
    let proxy = Proxy::before(origin.address());
    let open = "outrigger_upgraded_connections{upstream=\"app\"}";
    let total = "outrigger_upgrades_total{upstream=\"app\"}";
    let bytes = |way| {
        proxy.metric(&format!(
            "outrigger_upgraded_bytes_total{{upstream=\"app\",way=\"{way}\"}}"
        ))
    };
    assert_eq!((proxy.metric(open), proxy.metric(total)), (0.0, 0.0));
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert_eq!(client.bytes(5), b"ready");
    client.send("hello");
    assert_eq!(client.bytes(5), b"HELLO");
    assert_eq!((proxy.metric(open), proxy.metric(total)), (1.0, 1.0));
    assert_eq!((bytes("up"), bytes("down")), (5.0, 10.0));
    drop(client);
    eventually("it has ended", || proxy.metric(open) == 0.0);
    assert_eq!(proxy.metric(total), 1.0);
    let line = proxy.access_line("/chat");
    assert_eq!(line["bytes_in"], 5);
}

#[test]
fn the_app_chooses_among_several_protocols() {
    let origin = switching("upgrade: chat/2\r\n");
    let proxy = Proxy::before(origin.address());
    for fields in [
        "upgrade: websocket, chat/2\r\n",
        "upgrade: websocket\r\nupgrade: Chat/2\r\n",
        "upgrade: h2c, websocket, HTTP/2.0, TLS/1.0,chat/2\r\n",
    ] {
        let mut client = proxy.client();
        client.send(asking(fields));
        let head = client.read_head().unwrap();
        assert_eq!(
            (head.status(), head.header("upgrade")),
            (101, Some("chat/2"))
        );
        client.send("x");
        assert_eq!(client.bytes(1), b"x");
    }
    for request in origin.requests() {
        let asked = request.header("upgrade").unwrap().to_ascii_lowercase();
        assert_eq!(asked, "websocket, chat/2");
    }
}

#[test]
fn nobody_gets_past_the_routes_by_switching_to_another_http() {
    // An app that would switch to h2c, whatever it is asked.
    let origin = Origin::start(|request, peer| {
        assert_eq!(request.header("upgrade"), None);
        assert_eq!(request.header("http2-settings"), None);
        peer.answer("200 OK", "plain");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    for protocol in [
        "h2c",
        "H2C",
        "h2",
        "HTTP/2.0",
        "TLS/1.0",
        "h2c, http/1.1",
        " , ",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        ));
        let answer = client.read();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "plain"),
            "{protocol}"
        );
    }
}

#[test]
fn a_switch_to_something_else_than_was_asked_for_is_a_fault_of_the_app() {
    for switch in ["upgrade: h2c\r\n", "upgrade: websocket, h2c\r\n"] {
        let origin = switching(switch);
        let proxy = Proxy::before(origin.address());
        let mut client = proxy.client();
        client.send(asking("upgrade: websocket, h2c\r\n"));
        let answer = client.read();
        assert_eq!(answer.status(), 502, "{switch}");
        assert_eq!(answer.json()["code"], "UPSTREAM_PROTOCOL_ERROR");
        eventually("the app's side is closed", || origin.open() == 0);
    }
}

#[test]
fn an_upgrade_may_have_a_body() {
    let origin = switching("upgrade: x\r\n");
    let proxy = Proxy::before(origin.address());
    for framing in [
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n{framing}early"
        ));
        assert_eq!(client.read_head().unwrap().status(), 101);
        assert_eq!(client.bytes(8), b"abcearly");
    }
}

#[test]
fn a_refused_upgrade_leaves_an_ordinary_connection() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.send(format!(
            "HTTP/1.1 426 Upgrade Required\r\nupgrade: chat/3\r\nconnection: upgrade\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        peer.send(body);
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 2\r\n\r\nno");
        let answer = client.read();
        assert_eq!((answer.status(), answer.text().as_str()), (426, "no"));
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(
        proxy.metric("outrigger_upgrades_total{upstream=\"app\"}"),
        0.0
    );
}

#[test]
fn an_orderly_end_lets_a_drain_finish_early() {
    let origin = echo();
    let proxy = Proxy::with(origin.address(), "drain: { timeout: 60s }");
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.read_head().unwrap().status(), 101);
    client.bytes(5);
    let begun = std::time::Instant::now();
    let draining = std::thread::spawn(move || proxy.drain());
    client.send("still here");
    assert_eq!(client.bytes(10), b"STILL HERE");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.bytes(3), b"bye");
    draining.join().unwrap();
    assert!(begun.elapsed() < crate::support::PATIENCE);
}
