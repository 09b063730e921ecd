//! One HTTP/2 connection to an endpoint, and the streams on it (RFC 9113).
//!
//! Path: [`super::connect`] opens it → [`super::streams`] shares it among a worker's requests → each has a [`Stream`].
//!
//! hyper's client queues what is too much for a peer whose settings it has not read. So a connection is ready only when
//! they are there: nobody waits in a queue that he cannot see, and a peer without HTTP/2 is found before a request was sent.

mod errors;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use errors::is_unprocessed;
pub use errors::{is_protocol_error, reason};
use futures_util::task::AtomicWaker;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::{SendFailure, Transport};
use super::endpoint::OpenConnection;
use super::request_body::RequestBody;

/// How HTTP/2 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Settings {
    /// Streams on one connection at once, if the peer takes as many.
    pub max_streams: usize,
    /// Bytes that the peer may send on a stream before they are passed on.
    pub window: u32,
    /// Silence after which a ping is sent while streams are open.
    pub keepalive_interval: Option<Duration>,
    /// How long its answer may take.
    pub keepalive_timeout: Duration,
    /// Largest block of header fields that an answer may have, in bytes.
    pub header_bytes: u32,
}

/// Windows of streams that fit into the connection's: so many readers can be slow without stopping another.
const WINDOWS: u32 = 16;

/// A connection that many requests share.
#[derive(Debug)]
pub struct Shared {
    sender: SendRequest<RequestBody>,
    link: Arc<Link>,
    opened: Instant,
    /// How long TLS took.
    pub(super) handshake_time: Option<Duration>,
    authority: Authority,
    scheme: Scheme,
    used: AtomicUsize,
    served: AtomicBool,
    idle_since: Mutex<Instant>,
}

/// What the tasks of a connection tell. They do not hold the connection itself: it ends when nobody does.
#[derive(Debug, Default)]
struct Link {
    /// Streams that the peer takes; 0 until it has said so.
    peer: AtomicUsize,
    ended: AtomicBool,
    told: Notify,
    driver: AtomicWaker,
    /// The body that was polled first and last: the next task is the one that goes on with it.
    body: Mutex<Option<Arc<Cut>>>,
}

/// Ends the task that sends a request's body. It may wait for room that never comes, and looks at nothing else then.
#[derive(Debug, Default)]
pub struct Cut {
    link: Mutex<Option<Arc<Link>>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Cut {
    /// Notes that the body is being polled.
    pub(super) fn polled(self: &Arc<Self>) {
        // Only the first time: it is then that hyper makes a task of it.
        if let Some(link) = self.link.lock().take() {
            *link.body.lock() = Some(Arc::clone(self));
        }
    }

    fn end(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// Spawns what hyper wants to have spawned; the first task is the socket's.
#[derive(Clone)]
struct Tasks {
    link: Arc<Link>,
    counted: Arc<Mutex<Option<OpenConnection>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        if let Some(counted) = self.counted.lock().take() {
            tokio::spawn(socket(future, Arc::clone(&self.link), counted));
            return;
        }
        let task = tokio::spawn(future);
        if let Some(cut) = self.link.body.lock().take() {
            *cut.task.lock() = Some(task.abort_handle());
        }
    }
}

/// Drives the socket, which counts as open for so long.
async fn socket(future: impl Future<Output = ()>, link: Arc<Link>, counted: OpenConnection) {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if link.peer.load(Ordering::Relaxed) == 0 {
            link.driver.wake();
        }
        polled
    })
    .await;
    drop(future);
    link.end();
    drop(counted);
}

impl Link {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.told.notify_waiters();
    }
}

/// Speaks HTTP/2 on a fresh transport, and waits for the peer's settings. `authority` stands for that of requests which
/// have none.
///
/// # Errors
///
/// When the peer says something else, or nothing and closes. `None`: it closed before a word.
pub async fn handshake(
    transport: Transport,
    counted: OpenConnection,
    settings: &Http2Settings,
    (scheme, authority): (Scheme, Authority),
) -> Result<Shared, Option<hyper::Error>> {
    let link = Arc::<Link>::default();
    let tasks = Tasks {
        link: Arc::clone(&link),
        counted: Arc::new(Mutex::new(Some(counted))),
    };
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        // None before the settings are there; that is how their arrival is seen.
        .initial_max_send_streams(0)
        .initial_stream_window_size(settings.window)
        .initial_connection_window_size(
            settings.window.saturating_mul(WINDOWS).min(i32::MAX as u32),
        )
        .max_header_list_size(settings.header_bytes)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout);
    let (sender, driver) = builder.handshake(transport).await.map_err(Some)?;
    let driving = {
        let mut told = std::pin::pin!(link.told.notified());
        told.as_mut().enable();
        let driving = tokio::spawn(drive(driver, Arc::clone(&link)));
        told.await;
        driving
    };
    if link.ended.load(Ordering::Acquire) {
        return Err(driving.await.ok().and_then(Result::err));
    }
    let now = Instant::now();
    Ok(Shared {
        sender,
        link,
        opened: now,
        handshake_time: None,
        scheme,
        authority,
        used: AtomicUsize::new(0),
        served: AtomicBool::new(false),
        idle_since: Mutex::new(now),
    })
}

/// Takes requests up and hands them to the socket's task.
async fn drive(
    mut driver: http2::Connection<Transport, RequestBody, Tasks>,
    link: Arc<Link>,
) -> Result<(), hyper::Error> {
    let ended = poll_fn(|cx| {
        link.driver.register(cx.waker());
        let polled = Pin::new(&mut driver).poll(cx);
        let streams = driver.current_max_send_streams();
        if link.peer.swap(streams, Ordering::Relaxed) != streams {
            link.told.notify_waiters();
        }
        polled
    })
    .await;
    link.end();
    ended
}

impl Shared {
    /// A stream of it, if it has one to give.
    pub fn stream(self: &Arc<Self>, settings: &Http2Settings) -> Option<Stream> {
        if self.has_ended() {
            return None;
        }
        let most = self.most(settings);
        let more = |used: usize| (used < most).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Stream {
            connection: Arc::clone(self),
            cut: None,
            freed: None,
            reused: self.served.load(Ordering::Relaxed),
        })
    }

    /// Streams that it can have at once.
    pub fn most(&self, settings: &Http2Settings) -> usize {
        let peer = self.link.peer.load(Ordering::Relaxed);
        peer.min(settings.max_streams)
    }

    /// Streams under way.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether it takes no stream anymore.
    pub fn has_ended(&self) -> bool {
        self.link.ended.load(Ordering::Acquire) || self.sender.is_closed()
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Since when no stream is open; `None` while one is.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.used() == 0).then(|| *self.idle_since.lock())
    }

    /// Turns the head of an HTTP/1 request into one with an authority (RFC 9113 §8.3.1).
    fn translate(&self, request: &mut Request<RequestBody>) {
        let host = request.headers_mut().remove(HOST);
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority.unwrap_or_else(|| self.authority.clone()));
        parts
            .path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = http::Version::HTTP_2;
    }
}

/// One request's share of a connection. Dropped, it ends what is not complete, and gives its place to another.
#[derive(Debug)]
pub struct Stream {
    connection: Arc<Shared>,
    cut: Option<Arc<Cut>>,
    freed: Option<Arc<Notify>>,
    reused: bool,
}

impl Stream {
    /// Lets whoever waits for a place learn of the end.
    pub fn tell(mut self, freed: Arc<Notify>) -> Self {
        self.freed = Some(freed);
        self
    }

    /// Whether its connection had served a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// How long the TLS handshake took, if it was for this one.
    pub fn handshake_time(&self) -> Option<Duration> {
        self.connection.handshake_time.filter(|_| !self.reused)
    }

    /// Whether what failed on it may have met a connection that had ended meanwhile.
    pub fn may_be_stale(&self) -> bool {
        self.reused && self.connection.has_ended()
    }

    /// Sends what `request` makes and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// See [`SendFailure`].
    pub async fn send(
        &mut self,
        request: impl FnOnce() -> Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFailure> {
        let mut request = request();
        self.connection.translate(&mut request);
        if !http_body::Body::is_end_stream(request.body()) {
            let cut = Arc::new(Cut::default());
            *cut.link.lock() = Some(Arc::clone(&self.connection.link));
            request.body_mut().watch(Arc::clone(&cut));
            self.cut = Some(cut);
        }
        let mut sender = self.connection.sender.clone();
        let outcome = sender.try_send_request(request).await;
        outcome
            .inspect(|_| self.connection.served.store(true, Ordering::Relaxed))
            .map_err(|mut error| match error.take_message() {
                Some(_) => SendFailure::Unsent(error.into_error()),
                None if is_unprocessed(error.error()) => SendFailure::Refused(error.into_error()),
                None => SendFailure::Broken(error.into_error()),
            })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            cut.end();
        }
        *self.connection.idle_since.lock() = Instant::now();
        self.connection.used.fetch_sub(1, Ordering::Relaxed);
        if let Some(freed) = &self.freed {
            freed.notify_waiters();
        }
    }
}

/// Polls the body of an answer on a stream, which other tasks drive.
pub(super) fn poll_frame(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>> {
    http_body::Body::poll_frame(Pin::new(incoming), cx)
}
