//! Listeners that pass bytes on without reading them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, free_address};

/// An app that hands out the connections it gets.
fn app() -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, accepted) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if send.send(stream).is_err() {
                return;
            }
        }
    });
    (address, accepted)
}

/// A file with the TCP listener `inbound`; `listener` and `upstream` are more of their keys.
fn file(endpoints: &[SocketAddr], listener: &str, upstream: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    format!(
        "listeners: {{ inbound: {{ address: 127.0.0.1:0, protocol: tcp, forward: db{listener} }} }}\n\
         upstreams: {{ db: {{ endpoints: [{}]{upstream} }} }}\n",
        endpoints.join(", ")
    )
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ended(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_tcp_connections_total{{listener=\"inbound\",result=\"{result}\",upstream=\"db\"}}"
    ))
}

fn active(proxy: &Proxy) -> f64 {
    proxy.metric("outrigger_tcp_connections_active{listener=\"inbound\",upstream=\"db\"}")
}

fn bytes(proxy: &Proxy, direction: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_tcp_bytes_total{{direction=\"{direction}\",listener=\"inbound\",upstream=\"db\"}}"
    ))
}

/// Reads so many bytes.
fn take(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Whether the other side is gone, by an end or a reset; waiting in vain is neither.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[address], "", ""));
    let mut client = connect(&proxy);
    client.write_all(b"\x00not http\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    let mut question = Vec::new();
    app.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"\x00not http\r\n\r\n");
    app.write_all(&[7; 300_000]).unwrap();
    drop(app);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [7; 300_000]);
    eventually("it has ended", || ended(&proxy, "closed") == 1.0);
    assert_eq!(bytes(&proxy, "up"), 13.0);
    assert_eq!(bytes(&proxy, "down"), 300_000.0);
    assert_eq!(active(&proxy), 0.0);
}

#[test]
fn an_app_may_speak_first() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[address], "", ""));
    let mut client = connect(&proxy);
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    app.write_all(b"220 ready").unwrap();
    assert_eq!(take(&mut client, 9), b"220 ready");
}

#[test]
fn connections_go_where_the_fewest_are_open() {
    let (first, at_first) = app();
    let (second, at_second) = app();
    let proxy = Proxy::start(&file(&[first, second], "", ", balance: least_connections"));
    let mut clients = Vec::new();
    for opened in 1..=6 {
        clients.push(connect(&proxy));
        eventually("it is joined", || active(&proxy) == f64::from(opened));
    }
    // Three each are all of them; an app may be a moment behind its kernel.
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(at_first.recv_timeout(PATIENCE).unwrap());
        taken.push(at_second.recv_timeout(PATIENCE).unwrap());
    }
}

#[test]
fn a_refused_connect_is_tried_at_another_endpoint() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[free_address(), address], "", ""));
    for _ in 0..4 {
        let mut client = connect(&proxy);
        client.write_all(b"x").unwrap();
        let mut app = accepted.recv_timeout(PATIENCE).unwrap();
        assert_eq!(take(&mut app, 1), b"x");
    }
    eventually("all have ended", || {
        ended(&proxy, "closed") + ended(&proxy, "reset") == 4.0
    });
    assert_eq!(ended(&proxy, "connect_failed"), 0.0);
}

#[test]
fn a_client_is_let_go_when_nobody_takes_its_connection() {
    let proxy = Proxy::start(&file(&[free_address()], "", ""));
    assert!(is_over(&mut connect(&proxy)));
    eventually("it is counted", || ended(&proxy, "connect_failed") == 1.0);
}

#[test]
fn refused_connects_open_the_breaker_which_ends_connections_at_once() {
    let breaker = ", circuit_breaker: { consecutive_failures: 2 }";
    let proxy = Proxy::start(&file(&[free_address()], "", breaker));
    for _ in 0..4 {
        assert!(is_over(&mut connect(&proxy)));
    }
    eventually("all are counted", || {
        ended(&proxy, "connect_failed") + ended(&proxy, "no_endpoint") == 4.0
    });
    assert!(ended(&proxy, "no_endpoint") >= 1.0);
}

#[test]
fn a_connection_in_which_nothing_moves_ends() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[address], ", timeouts: { idle: 100ms }", ""));
    let mut client = connect(&proxy);
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    assert!(is_over(&mut client));
    assert!(is_over(&mut app));
    eventually("it is counted", || ended(&proxy, "idle") == 1.0);
}

#[test]
fn a_peer_that_never_reads_is_cut_after_the_idle_time() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[address], ", timeouts: { idle: 200ms }", ""));
    let client = connect(&proxy);
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    app.set_write_timeout(Some(PATIENCE)).unwrap();
    let error = loop {
        if let Err(error) = app.write_all(&[0; 65_536]) {
            break error.kind();
        }
    };
    assert!(
        matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{error}"
    );
    eventually("it is counted", || ended(&proxy, "idle") == 1.0);
    drop(client);
}

#[test]
fn a_side_that_breaks_off_ends_the_other() {
    let (address, accepted) = app();
    let proxy = Proxy::start(&file(&[address], "", ""));
    let mut client = connect(&proxy);
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    app.write_all(b"unread").unwrap();
    client.peek(&mut [0; 1]).unwrap();
    // Closed with bytes unread: a reset.
    drop(client);
    assert!(is_over(&mut app));
    eventually("it is counted", || {
        ended(&proxy, "reset") + ended(&proxy, "closed") == 1.0
    });
    client = connect(&proxy);
    drop(accepted.recv_timeout(PATIENCE).unwrap());
    assert!(is_over(&mut client));
}

#[test]
fn a_thousand_quick_connections_leave_nothing_behind() {
    let (address, accepted) = app();
    // The system refuses what is too much for the app's backlog, and tries again after a second.
    let patient = ", timeouts: { connect: 10s }";
    let proxy = Proxy::start(&file(&[address], "", patient));
    std::thread::spawn(move || accepted.into_iter().for_each(drop));
    for _ in 0..1000 {
        drop(TcpStream::connect(proxy.address()).unwrap());
    }
    eventually("all have ended", || {
        ["closed", "reset"]
            .iter()
            .map(|it| ended(&proxy, it))
            .sum::<f64>()
            == 1000.0
    });
    assert_eq!(active(&proxy), 0.0);
}

#[test]
fn a_reload_keeps_connections_and_sends_new_ones_elsewhere() {
    let (old, at_old) = app();
    let (new, at_new) = app();
    let proxy = Proxy::start(&file(&[old], "", ""));
    let mut client = connect(&proxy);
    let mut app = at_old.recv_timeout(PATIENCE).unwrap();
    proxy.reload(&file(&[new], "", ""));
    let mut other = connect(&proxy);
    other.write_all(b"new").unwrap();
    assert_eq!(take(&mut at_new.recv_timeout(PATIENCE).unwrap(), 3), b"new");
    client.write_all(b"old").unwrap();
    assert_eq!(take(&mut app, 3), b"old");
    app.write_all(b"still").unwrap();
    assert_eq!(take(&mut client, 5), b"still");
}

#[test]
fn a_drain_waits_for_connections_until_its_time_is_up() {
    let (address, accepted) = app();
    let yaml = file(&[address], "", "");
    let proxy = Proxy::start(&format!("{yaml}drain: {{ timeout: 300ms }}\n"));
    let mut client = connect(&proxy);
    let mut app = accepted.recv_timeout(PATIENCE).unwrap();
    let draining = std::thread::spawn(move || proxy.drain());
    client.write_all(b"x").unwrap();
    assert_eq!(take(&mut app, 1), b"x");
    assert!(is_over(&mut client), "cut at the end of the drain");
    assert!(is_over(&mut app));
    draining.join().unwrap();
}
