//! An app that does what a test tells it: one thread per connection, raw HTTP/1 out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET / HTTP/1.1`
    pub line: String,
    /// As they came, names and order kept.
    pub headers: Vec<(String, String)>,
    /// Which connection of the origin it came on, from 1.
    pub connection: usize,
    /// Which request on that connection it is, from 1.
    pub number: usize,
}

impl Request {
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// The origin's side of a connection.
pub struct Peer {
    pub reader: BufReader<TcpStream>,
}

impl Peer {
    /// Sends bytes; a proxy that has gone away is not this side's problem.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a complete answer.
    pub fn answer(&mut self, status: &str, body: impl AsRef<[u8]>) -> bool {
        let body = body.as_ref();
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes)
    }

    /// Reads the request's body, whatever its framing.
    pub fn body(&mut self, request: &Request) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(length) = request.header("content-length") {
            body.resize(length.parse().expect("a length"), 0);
            self.reader.read_exact(&mut body).expect("the whole body");
        } else if request.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().expect("chunks") {
                body.extend_from_slice(&chunk);
            }
        }
        body
    }

    /// One chunk; `None` at the end.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// Whether the proxy has closed its side; waits for it.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = [0; 1024];
        loop {
            match self.reader.read(&mut rest) {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(self.reader.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

/// What the handler wants done with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Wait for the next request.
    KeepAlive,
    /// Close.
    Close,
}

type Handler = dyn Fn(&Request, &mut Peer) -> Then + Send + Sync;

/// A running origin.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    open: Mutex<Vec<TcpStream>>,
    panics: AtomicUsize,
}

impl Origin {
    /// Starts one on a free port.
    pub fn start(handler: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), handler)
    }

    /// One that answers everything with 200 and `body`.
    pub fn fixed(body: &'static str) -> Self {
        Self::start(move |request, peer| {
            peer.body(request);
            peer.answer("200 OK", body);
            Then::KeepAlive
        })
    }

    /// Starts one on `listener`.
    pub fn on(
        listener: TcpListener,
        handler: impl Fn(&Request, &mut Peer) -> Then + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            open: Mutex::default(),
            panics: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &own));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Requests whose heads have arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for stream in self.shared.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        let panics = self.shared.panics.load(Ordering::SeqCst);
        assert!(
            panics == 0 || std::thread::panicking(),
            "{panics} handlers of the origin panicked"
        );
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        shared
            .open
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                serve(stream, connection, &shared)
            }));
            if served.is_err() && !shared.stop.load(Ordering::SeqCst) {
                shared.panics.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

fn serve(stream: TcpStream, connection: usize, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut peer = Peer {
        reader: BufReader::new(stream),
    };
    for number in 1.. {
        let Ok(mut request) = read_head(&mut peer.reader) else {
            break;
        };
        (request.connection, request.number) = (connection, number);
        shared.requests.lock().unwrap().push(request.clone());
        if (shared.handler)(&request, &mut peer) == Then::Close {
            break;
        }
    }
    let own = peer.reader.get_ref().peer_addr().ok();
    shared
        .open
        .lock()
        .unwrap()
        .retain(|open| open.peer_addr().ok() != own);
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']).to_string();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.trim().to_string()))
        .collect();
    Ok(Request {
        line: lines.first().cloned().unwrap_or_default(),
        headers,
        connection: 0,
        number: 0,
    })
}
