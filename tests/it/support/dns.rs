//! A DNS server that answers what a test tells it, truth or not. UDP, and TCP for what does not fit.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Larger answers are cut off over UDP.
const UDP_SIZE: usize = 1200;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What a name is answered with.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Those of the family that is asked for, with this TTL.
    Addresses(Vec<IpAddr>, u32),
    /// Another name.
    Alias(&'static str),
    /// NXDOMAIN.
    NoName,
    /// SERVFAIL.
    Failure,
    /// Nothing.
    Silence,
    /// Bytes that are no DNS message.
    Garbage,
}

/// The running server.
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, Reply>>,
    questions: Mutex<Vec<(String, u16, Instant)>>,
    stop: AtomicBool,
}

pub fn addresses(ips: &[&str], ttl: u32) -> Reply {
    Reply::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect(), ttl)
}

impl Dns {
    /// One that knows no name.
    pub fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        // The port may be taken for the other protocol, though nobody here uses any.
        let udp = UdpSocket::bind(address).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let shared = Arc::new(Shared::default());
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, &one)),
            std::thread::spawn(move || serve_tcp(&tcp, &two)),
        ];
        Self {
            address,
            shared,
            threads,
        }
    }

    /// One that knows `name`.
    pub fn knowing(name: &str, reply: Reply) -> Self {
        let dns = Self::start();
        dns.set(name, reply);
        dns
    }

    pub fn set(&self, name: &str, reply: Reply) {
        self.shared
            .replies
            .lock()
            .unwrap()
            .insert(name.into(), reply);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line of a configuration that asks this server.
    pub fn yaml(&self) -> String {
        format!("dns: {{ servers: [{}], timeout: 200ms }}\n", self.address)
    }

    /// When `name` was asked for IPv4.
    pub fn asked(&self, name: &str) -> Vec<Instant> {
        self.asked_for(name, A)
    }

    pub fn asked_for_v6(&self, name: &str) -> usize {
        self.asked_for(name, AAAA).len()
    }

    fn asked_for(&self, name: &str, kind: u16) -> Vec<Instant> {
        let questions = self.shared.questions.lock().unwrap();
        let of_name = questions
            .iter()
            .filter(|(asked, asked_kind, _)| asked == name && *asked_kind == kind);
        of_name.map(|(_, _, at)| *at).collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(std::net::TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server fell");
        }
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut query = [0; 2048];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((size, peer)) = socket.recv_from(&mut query) else {
            continue;
        };
        if let Some(mut answer) = shared.answer(&query[..size]) {
            if answer.len() > UDP_SIZE {
                // The head says that there is more, and how to ask for it.
                answer.truncate(question_end(&answer));
                answer[2] |= 2;
                answer[6..8].fill(0);
            }
            drop(socket.send_to(&answer, peer));
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut size = [0; 2];
        while stream.read_exact(&mut size).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(size))];
            if stream.read_exact(&mut query).is_err() {
                break;
            }
            if let Some(answer) = shared.answer(&query) {
                let size = u16::try_from(answer.len()).unwrap().to_be_bytes();
                drop(stream.write_all(&[&size[..], &answer].concat()));
            }
        }
    }
}

impl Shared {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let end = question_end(query);
        let name = read_name(query);
        let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
        self.questions
            .lock()
            .unwrap()
            .push((name.clone(), kind, Instant::now()));
        let reply = self.replies.lock().unwrap().get(&name).cloned();
        let (code, records) = match reply.unwrap_or(Reply::NoName) {
            Reply::Silence => return None,
            Reply::Garbage => return Some(b"\xff\xff garbage that is no message".to_vec()),
            Reply::NoName => (3, Vec::new()),
            Reply::Failure => (2, Vec::new()),
            Reply::Alias(other) => (0, vec![record(CNAME, 60, &write_name(other))]),
            Reply::Addresses(ips, ttl) => {
                let of_kind = ips.iter().filter_map(|ip| match ip {
                    IpAddr::V4(ip) if kind == A => Some(record(A, ttl, &ip.octets())),
                    IpAddr::V6(ip) if kind == AAAA => Some(record(AAAA, ttl, &ip.octets())),
                    _ => None,
                });
                (0, of_kind.collect())
            }
        };
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
        answer.extend(&query[12..end]);
        answer.extend(records.concat());
        Some(answer)
    }
}

/// Behind name, type and class.
fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += usize::from(message[at]) + 1;
    }
    at + 5
}

fn read_name(message: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let size = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + size]).to_lowercase());
        at += size + 1;
    }
    labels.join(".")
}

fn write_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record of the name that was asked for.
fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap();
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend(size.to_be_bytes());
    record.extend(data);
    record
}
