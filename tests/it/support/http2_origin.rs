//! An app that speaks HTTP/2 without TLS: each stream is handed to the test as the `h2` crate has it, so that it can be
//! refused, reset or left alone.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// One stream.
pub struct Exchange {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    /// Which connection it came on, from 1.
    pub connection: usize,
    orders: UnboundedSender<Order>,
}

enum Order {
    GoAway,
}

/// What came over the wire.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub connection: usize,
}

/// Settings that a test cares about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: Option<u32>,
    /// How long a connection waits before it says anything.
    pub delay: Duration,
}

struct Shared {
    connections: AtomicUsize,
    open: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    panics: AtomicUsize,
}

/// A running origin.
pub struct Http2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Http2Origin {
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(Options::default(), handler)
    }

    pub fn with<F: Future<Output = ()> + Send + 'static>(
        options: Options,
        handler: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            seen: Mutex::default(),
            panics: AtomicUsize::new(0),
        });
        let (own, handler) = (Arc::clone(&shared), Arc::new(handler));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&own);
                let handler = Arc::clone(&handler);
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(async move {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    serve(stream, number, options, &shared, &*handler).await;
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    /// One that answers everything with 200 and `body`.
    pub fn fixed(body: &'static str) -> Self {
        Self::start(move |exchange| async move {
            exchange.answer(200, body).await;
        })
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
        self.shared.open.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        let panics = self.shared.panics.load(Ordering::SeqCst);
        assert!(
            panics == 0 || std::thread::panicking(),
            "{panics} handlers of the origin panicked"
        );
    }
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    stream: TcpStream,
    number: usize,
    options: Options,
    shared: &Arc<Shared>,
    handler: &(impl Fn(Exchange) -> F + Send + Sync),
) {
    stream.set_nodelay(true).unwrap();
    tokio::time::sleep(options.delay).await;
    let mut builder = Builder::new();
    if let Some(most) = options.max_streams {
        builder.max_concurrent_streams(most);
    }
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = builder.handshake(stream).await
    else {
        return;
    };
    let (orders, mut received) = unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                shared.seen.lock().unwrap().push(Seen {
                    method: request.method().clone(),
                    uri: request.uri().clone(),
                    headers: request.headers().clone(),
                    connection: number,
                });
                let work = handler(Exchange { request, respond, connection: number, orders: orders.clone() });
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    if tokio::spawn(work).await.is_err_and(|error| error.is_panic()) {
                        shared.panics.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            Some(Order::GoAway) = received.recv() => connection.graceful_shutdown(),
        }
    }
}

impl Exchange {
    /// A complete answer.
    pub async fn answer(mut self, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        let response = Response::builder().status(status).body(()).unwrap();
        if let Ok(mut stream) = self.respond.send_response(response, body.is_empty())
            && !body.is_empty()
        {
            send(&mut stream, body, true).await;
        }
    }

    /// Sends a head; the body follows.
    pub fn head(&mut self, status: u16) -> SendStream<Bytes> {
        let response = Response::builder().status(status).body(()).unwrap();
        self.respond
            .send_response(response, false)
            .expect("a stream")
    }

    /// The whole request body and its trailers.
    pub async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut bytes = Vec::new();
        let body = self.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            bytes.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        (bytes, body.trailers().await.ok().flatten())
    }

    /// Asks the other side to open no more streams on this connection.
    pub fn go_away(&self) {
        self.orders.send(Order::GoAway).unwrap();
    }
}

/// Sends `bytes` as the window allows.
pub async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> bool {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(room)) => {
                let part = bytes.split_to(room.min(bytes.len()));
                let last = end && bytes.is_empty();
                if stream.send_data(part, last).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}
