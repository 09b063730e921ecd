//! One HTTP/1.1 connection to an endpoint.
//!
//! Path: [`super::connect`] opens it → `proxy::attempt` sends on it → the answer's body returns it to [`super::pool`].
//!
//! hyper splits a connection into a handle and a driver and expects the driver to be spawned. Here the exchange that
//! uses the connection polls the driver itself: no second task, no wake-up between the two, and an answer's head and
//! first bytes are there in the same poll, so that they leave in one write. An idle connection is not polled; whether
//! its peer has closed it is found when it is next taken, or when the pool is swept.
//!
//! What the driver hands over arrives during our own poll of it, so the handle's futures are polled with a waker that
//! does nothing. The other way round, handing something to the driver wakes it, and since its task is ours, that would
//! be a second, empty poll of everything: the `Gate` swallows such wake-ups, for the driver is polled next anyway.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::header::HeaderMap;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::OpenConnection;
use super::request_body::RequestBody;
use crate::wire::Wire;

/// The transport below an upstream connection.
pub type Transport = TokioIo<Wire>;

/// One connection; serves one request at a time.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    opened: Instant,
    idle_since: Instant,
    /// What the peer announced with `Keep-Alive: timeout`, already shortened.
    peer_idle_timeout: Option<Duration>,
    reused: bool,
    counted: Option<OpenConnection>,
    handshake_time: Option<Duration>,
}

/// Moves the bytes.
#[derive(Debug)]
struct Driver {
    connection: Option<http1::Connection<Transport, RequestBody>>,
    ended: bool,
    gate: Arc<Gate>,
    /// The gate as a waker, made once.
    waker: Waker,
    /// Drives the connection once it is detached.
    task: Option<AbortOnDropHandle<()>>,
}

/// Passes wake-ups on to the task that polls the driver, but not those which that task causes itself.
#[derive(Debug, Default)]
struct Gate {
    task: AtomicWaker,
    shut: AtomicBool,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.shut.load(Ordering::Acquire) {
            self.task.wake();
        }
    }
}

/// A request that got no answer.
#[derive(Debug)]
pub enum SendFailure {
    /// Not a byte of it was written, so it can be sent again whatever it is.
    Unsent(hyper::Error),
    /// The peer promises that the app has seen nothing of it.
    Refused(hyper::Error),
    /// It may have reached the app.
    Broken(hyper::Error),
}

impl Connection {
    /// Wraps what hyper made of a fresh transport.
    pub fn new(
        sender: SendRequest<RequestBody>,
        driver: http1::Connection<Transport, RequestBody>,
        counted: OpenConnection,
    ) -> Self {
        let now = Instant::now();
        Self {
            sender,
            driver: Driver::new(driver),
            opened: now,
            idle_since: now,
            peer_idle_timeout: None,
            reused: false,
            counted: Some(counted),
            handshake_time: None,
        }
    }

    /// Notes how long TLS took before HTTP could begin.
    pub fn shaken_in(mut self, time: Option<Duration>) -> Self {
        self.handshake_time = time;
        self
    }

    /// How long TLS took, for the first request.
    pub fn handshake_time(&self) -> Option<Duration> {
        self.handshake_time.filter(|_| !self.reused)
    }

    /// What counts it, for whoever uses its socket on.
    pub fn take_count(&mut self) -> Option<OpenConnection> {
        self.counted.take()
    }

    /// Whether it has served a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Since when it idles; meaningful in a pool only.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// How long the peer keeps it idle, less a margin, if it said so.
    pub fn peer_idle_timeout(&self) -> Option<Duration> {
        self.peer_idle_timeout
    }

    /// Sends what `request` makes and waits for the head of its answer.
    ///
    /// Cancel-safe in the sense that dropping the future leaves the connection unusable: drop it, too.
    ///
    /// # Errors
    ///
    /// See [`SendFailure`].
    pub async fn send(
        &mut self,
        request: impl FnOnce() -> Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFailure> {
        let Self { sender, driver, .. } = self;
        let answer = (driver.gate).quietly(|| sender.try_send_request(request()));
        // Outside the cooperative budget: a ready future out of budget would ask a waker that does nothing to poll it again.
        let mut answer = pin!(unconstrained(answer));
        let outcome = poll_fn(|cx| {
            driver.poll(cx);
            let outcome = answer.as_mut().poll(&mut quiet());
            if outcome.is_ready() || !driver.ended {
                return outcome;
            }
            // The peer was found gone before the request was taken up: it comes back when the driver is dropped.
            driver.connection = None;
            answer.as_mut().poll(&mut quiet())
        })
        .await;
        outcome.map_err(|mut error| match error.take_message() {
            Some(_) => SendFailure::Unsent(error.into_error()),
            None => SendFailure::Broken(error.into_error()),
        })
    }

    /// Lets the connection be driven by a task of its own, on which the rest of an upload does not depend on whether the
    /// client takes the answer that has begun. It serves no other request then.
    pub fn detach(&mut self) {
        if let Some(mut connection) = self.driver.connection.take() {
            let driving = poll_fn(move |cx| connection.poll_without_shutdown(cx).map(drop));
            self.driver.task = Some(AbortOnDropHandle::new(tokio::spawn(driving)));
        }
    }

    /// The next frame of the answer's body, moving bytes as needed.
    pub fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.driver.task.is_some() {
            return Pin::new(incoming).poll_frame(cx);
        }
        let mut frame = || Pin::new(&mut *incoming).poll_frame(&mut quiet());
        // Asking for a frame wakes the driver, which is polled if there is none yet.
        if let Poll::Ready(frame) = self.driver.gate.quietly(&mut frame) {
            return Poll::Ready(frame);
        }
        self.driver.poll(cx);
        // Taking a frame makes room for the next one; whoever wants it polls again.
        self.driver.gate.quietly(frame)
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.driver.ended || self.driver.connection.is_none()
    }

    /// Whether the connection can take a request now. `false` is final.
    pub async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.check(cx))).await
    }

    /// [`Self::is_usable`] for a connection at rest, outside any task.
    pub fn is_usable_at_rest(&mut self) -> bool {
        self.check(&mut quiet())
    }

    /// Notes the end of an exchange at `now`; whether the connection can serve another.
    pub fn rest(&mut self, now: Instant) -> bool {
        self.reused = true;
        self.idle_since = now;
        // The driver is usually at rest already: it read the end of the body in the poll that handed it over.
        (self.sender.is_ready() && !self.has_ended()) || self.is_usable_at_rest()
    }

    /// Learns from the answer's `Keep-Alive` header (RFC 2068 §19.7.1.1) how long the peer will wait.
    pub fn learn_keep_alive(&mut self, headers: &HeaderMap) {
        let announced = headers
            .get("keep-alive")
            .and_then(|value| announced_timeout(value.to_str().ok()?));
        if let Some(timeout) = announced {
            // Its clock starts before ours, and our request needs time to arrive: stay a second below, or half of it.
            self.peer_idle_timeout = Some(
                timeout
                    .saturating_sub(Duration::from_secs(1))
                    .max(timeout / 2),
            );
        }
    }

    /// Waits for the end of HTTP after an answer of 101 and gives the socket, and what was read of what follows, away.
    pub async fn into_upgraded(mut self) -> Option<(Wire, Bytes)> {
        poll_fn(|cx| {
            self.driver.poll(cx);
            if self.driver.ended {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let parts = self.driver.connection?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    fn check(&mut self, cx: &mut Context<'_>) -> bool {
        self.driver.poll(cx);
        !self.has_ended() && self.sender.is_ready()
    }
}

impl Driver {
    fn new(connection: http1::Connection<Transport, RequestBody>) -> Self {
        let gate = Arc::<Gate>::default();
        let waker = Waker::from(Arc::clone(&gate));
        Self {
            connection: Some(connection),
            ended: false,
            gate,
            waker,
            task: None,
        }
    }

    /// An error reaches the exchange through the answer or its body. The driver's own future would shut the socket down
    /// at its end, or give up the socket when the endpoint switches protocols; this way of polling leaves it open.
    fn poll(&mut self, cx: &Context<'_>) {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.ended) else {
            return;
        };
        self.gate.task.register(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        self.ended = connection.poll_without_shutdown(&mut cx).is_ready();
    }
}

impl Gate {
    /// Does something that would wake the driver, which is polled right after.
    fn quietly<T>(&self, action: impl FnOnce() -> T) -> T {
        self.shut.store(true, Ordering::Release);
        let outcome = action();
        self.shut.store(false, Ordering::Release);
        outcome
    }
}

fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// `timeout=5, max=100` → 5 s.
fn announced_timeout(value: &str) -> Option<Duration> {
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = name
            .trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| seconds.trim().parse::<u32>())?;
        seconds
            .ok()
            .map(|seconds| Duration::from_secs(seconds.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_timeout_is_found_among_other_parameters() {
        let seconds = |value| announced_timeout(value).map(|timeout| timeout.as_secs());
        assert_eq!(seconds("timeout=5"), Some(5));
        assert_eq!(seconds("max=100, Timeout = 75"), Some(75));
        assert_eq!(seconds("max=100"), None);
        assert_eq!(seconds("timeout=soon"), None);
        assert_eq!(seconds(""), None);
    }
}
