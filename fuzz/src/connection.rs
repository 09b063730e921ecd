//! Bytes of a client to a whole proxy in this process, in front of an app that trusts it.
//!
//! The app reads as naively as an app may. Whatever comes in, each request that reaches it has one host, one framing and
//! no line that it could read as two; and the proxy serves the next client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use outrigger::app::App;

/// Sends `data` and reads until the connection ends.
pub fn connection(data: &[u8]) {
    static PROXY: OnceLock<(SocketAddr, App, tempfile::TempDir)> = OnceLock::new();
    let (address, ..) = PROXY.get_or_init(start);
    let mut client = match TcpStream::connect(address) {
        Ok(client) => client,
        // As many connections were opened as there are ports; they come back with time.
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            return std::thread::sleep(Duration::from_millis(100));
        }
        Err(error) => panic!("the proxy does not accept: {error}"),
    };
    let patience = Some(Duration::from_secs(10));
    client.set_read_timeout(patience).expect("a timeout");
    client.set_write_timeout(patience).expect("a timeout");
    // The proxy may have ended it.
    let sent = client.write_all(data);
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the connection hangs, {sent:?}")
        }
        Ok(_) | Err(_) => {}
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(!text.contains("INTERNAL_ERROR"), "{text}");
}

fn start() -> (SocketAddr, App, tempfile::TempDir) {
    let app = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = app.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in app.incoming().flatten() {
            std::thread::spawn(move || {
                // A panic there would be lost with its thread.
                if std::panic::catch_unwind(|| serve(stream)).is_err() {
                    std::process::abort();
                }
            });
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fuzz.yaml");
    let text = format!(
        "workers: 1\naccess_log: off\nadmin: {{ probes: 127.0.0.1:0, control: 127.0.0.1:0 }}\n\
         listeners:\n  inbound: {{ address: 127.0.0.1:0, timeouts: {{ request_header: 1s, idle: 1s }}, limits: {{ body_bytes: 64KiB }} }}\n\
         routes:\n  - {{ name: own, match: {{ path: /own }}, respond: {{ status: 200, body: own }} }}\n  \
         - {{ name: app, forward: app, timeout: 2s }}\n\
         upstreams:\n  app: {{ endpoints: [{origin}] }}\n"
    );
    std::fs::write(&file, text).expect("a file");
    let proxy = App::start(&file).expect("the proxy starts");
    let address = proxy.listener_address("inbound").expect("it listens");
    (address, proxy, directory)
}

fn serve(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some(line) = line.strip_suffix(b"\r\n") else {
                panic!("a line without CR LF: {}", line.escape_ascii());
            };
            if line.is_empty() {
                break;
            }
            lines.push(line.to_vec());
        }
        let Some(length) = check(&lines) else {
            // Chunks: the end is all that matters here.
            drop(
                reader.get_mut().write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                ),
            );
            let _ = reader.get_mut().shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
            return;
        };
        if std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok() != Some(length)
        {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// The length of the body; `None`: it comes in chunks.
fn check(lines: &[Vec<u8>]) -> Option<u64> {
    let shown = || {
        lines
            .iter()
            .map(|it| it.escape_ascii().to_string())
            .collect::<Vec<_>>()
    };
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), 0);
    for line in lines.iter().skip(1) {
        assert!(
            !line.contains(&b'\r') && !line.contains(&0),
            "{:?}",
            shown()
        );
        assert!(
            !line.starts_with(b" ") && !line.starts_with(b"\t"),
            "{:?}",
            shown()
        );
        let at = line.iter().position(|it| *it == b':').expect("a colon");
        let (name, value) = line.split_at(at);
        assert!(!name.ends_with(b" "), "{:?}", shown());
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"transfer-encoding" => codings += 1,
            b"content-length" => {
                lengths.push(String::from_utf8_lossy(&value[1..]).trim().to_owned())
            }
            _ => {}
        }
    }
    let start = lines.first().expect("a request line");
    assert_eq!(
        start.iter().filter(|it| **it == b' ').count(),
        2,
        "{:?}",
        shown()
    );
    assert_eq!(hosts, 1, "{:?}", shown());
    assert!(lengths.len() + codings <= 1, "{:?}", shown());
    match lengths.first() {
        Some(length) => Some(length.parse().expect("a number")),
        None if codings > 0 => None,
        None => Some(0),
    }
}
