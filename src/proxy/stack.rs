//! The short tower stack that every request goes through.
//!
//! Path: [`super::service`] → [`RecordLayer`] (opens the exchange, lets the answer's body hold it) → [`RespondLayer`]
//! (errors become answers, panics too) → [`AdmitLayer`] (refuses what there is no room for) → [`super::forward`]. The same for every request; what differs by route is
//! decided inside. The layers hold no state, so a clone costs nothing and nothing is boxed.

use std::convert::Infallible;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Layer, Service, ServiceBuilder, service_fn};

use super::admit::layer::{Admit, AdmitLayer};
use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::respond::grpc::Caller;
use super::seen::Seen;
use super::unread::{Left, Owed};
use super::{ConnInfo, Engine, forward, respond, trace};
use crate::snapshot::Snapshot;
use crate::telemetry::record::RequestRecord;

/// A request as the connection hands it over.
#[derive(Debug)]
pub struct Arrival<B = Incoming> {
    /// The request.
    pub request: Request<B>,
    /// The worker's means.
    pub engine: Arc<Engine>,
    /// The connection it came on.
    pub connection: Arc<ConnInfo>,
    /// The configuration in force when its head had arrived.
    pub snapshot: Arc<Snapshot>,
}

/// A request that has been taken on. It stays where it is from here on, while layer hands it to layer.
#[derive(Debug)]
pub struct Received<B = Incoming> {
    /// Its head, which becomes what the app is to see.
    pub head: Parts,
    /// Which fields it came with.
    pub seen: Seen,
    /// Its body.
    pub body: B,
}

/// A request and its exchange.
pub type Opened<B = Incoming> = (Arc<Exchange>, Box<Received<B>>);

/// The whole stack.
pub fn stack()
-> impl Service<Arrival, Response = Response<ProxyBody>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    around(service_fn(|(exchange, request): Opened| {
        forward::forward(exchange, request)
    }))
}

/// The stack around another innermost service.
pub fn around<S>(inner: S) -> Record<Respond<Admit<S>>> {
    ServiceBuilder::new()
        .layer(RecordLayer)
        .layer(RespondLayer)
        .layer(AdmitLayer)
        .service(inner)
}

/// Opens the exchange.
#[derive(Debug, Clone, Copy)]
pub struct RecordLayer;

/// See [`RecordLayer`].
#[derive(Debug, Clone, Copy)]
pub struct Record<S> {
    inner: S,
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record { inner }
    }
}

impl<S, B> Service<Arrival<B>> for Record<S>
where
    S: Service<Opened<B>, Response = Response<ProxyBody>, Error = Infallible>,
    B: Body,
{
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Recorded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival<B>) -> Recorded<S::Future> {
        let Arrival {
            request,
            engine,
            connection,
            snapshot,
        } = arrival;
        let (head, body) = request.into_parts();
        let seen = Seen::of(&head.headers);
        let request = Box::new(Received { head, seen, body });
        let Received { head, body, .. } = &*request;
        let owed = Owed::by(head, body);
        let trace = trace::begin(&snapshot, &head.headers, seen);
        let asked = (head.method.clone(), head.uri.clone());
        let exchange = Exchange::open(&engine, &connection, snapshot, asked, trace);
        exchange.look_at(&head.headers);
        Recorded {
            inner: self.inner.call((Arc::clone(&exchange), request)),
            exchange: Some(exchange),
            owed,
        }
    }
}

pin_project! {
    /// The answer under way.
    pub struct Recorded<F> {
        #[pin]
        inner: F,
        exchange: Option<Arc<Exchange>>,
        owed: Owed,
    }
}

impl<F: Future<Output = Result<Response<ProxyBody>, Infallible>>> Future for Recorded<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        if let Some(exchange) = this.exchange.take() {
            exchange.note(|record| record.status = Some(response.status()));
            let observer = &exchange.connection.observer;
            let left = this.owed.left(&exchange);
            if left != Left::Nothing {
                observer.left_unread();
            }
            // Said here and not by hyper, which knows of the end only when it is too late for this head or too early for
            // a request that is already on its way.
            if (observer.says_good_bye() || left == Left::Unasked)
                && response.status() != StatusCode::SWITCHING_PROTOCOLS
            {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            if let Some(headers) = exchange.held.headers() {
                response.headers_mut().extend(headers.clone());
            }
            if exchange.snapshot.server_timing
                && let Some(timing) = exchange.note(|record| server_timing(record))
            {
                response.headers_mut().append(SERVER_TIMING, timing);
            }
            response.body_mut().hold(exchange);
        }
        Poll::Ready(Ok(response))
    }
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where the time went until now, in milliseconds (W3C Server Timing).
fn server_timing(record: &RequestRecord) -> Option<HeaderValue> {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    if !record.queued.is_zero() {
        let _ = write!(text, "queue;dur={:.3}, ", millis(record.queued));
    }
    let last = record.attempts.last();
    if let Some(connect) = last.and_then(|attempt| attempt.connect) {
        let _ = write!(text, "connect;dur={:.3}, ", millis(connect));
    }
    let first_byte = millis(record.first_byte?);
    let _ = write!(text, "first-byte;dur={first_byte:.3}");
    HeaderValue::try_from(text).ok()
}

/// Turns errors and panics into answers.
#[derive(Debug, Clone, Copy)]
pub struct RespondLayer;

/// See [`RespondLayer`].
#[derive(Debug, Clone, Copy)]
pub struct Respond<S> {
    inner: S,
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner }
    }
}

impl<S, B> Service<Opened<B>> for Respond<S>
where
    S: Service<Opened<B>, Response = Response<ProxyBody>, Error = ProxyError>,
{
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Responded<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Nothing inside waits for readiness: load is refused as an error, which is an answer.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (exchange, request): Opened<B>) -> Responded<S::Future> {
        let caller = Caller::of(&request.head);
        Responded {
            inner: self.inner.call((Arc::clone(&exchange), request)),
            exchange,
            caller,
        }
    }
}

pin_project! {
    /// The answer under way.
    pub struct Responded<F> {
        #[pin]
        inner: F,
        exchange: Arc<Exchange>,
        caller: Caller,
    }
}

impl<F: Future<Output = Result<Response<ProxyBody>, ProxyError>>> Future for Responded<F> {
    type Output = Result<Response<ProxyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future is not polled again after a panic, so nothing half-changed is ever seen.
        let outcome = match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(outcome) => ready!(outcome),
            Err(_) => Err(ProxyError::Panic),
        };
        Poll::Ready(Ok(outcome.unwrap_or_else(|error| {
            respond::respond(this.exchange, &error, *this.caller)
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The future is moved once a request into the connection's place for it: its size is a cost.
    #[test]
    fn the_future_of_a_request_stays_small() {
        fn size_of_future<S: Service<Arrival>>(_: &S) -> usize {
            size_of::<S::Future>()
        }
        let size = size_of_future(&stack());
        assert!(size <= 3072, "{size} bytes");
    }
}
