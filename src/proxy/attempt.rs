//! One try at one endpoint: connection, request, head of the answer.
//!
//! Path: [`super::forward`] calls [`attempt`] with a prepared request. A connection that turns out to be stale is
//! replaced by a fresh one here, without counting as a failure: see [`crate::policy::replay`].

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::admit::admit;
use super::body::Lease;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::verdict;
use crate::policy::replay::{self, Replay, RequestContent};
use crate::telemetry::metrics::AttemptResult;
use crate::telemetry::record::{AttemptRecord, Outcome};
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::connect::connect;
use crate::upstream::connection::{Connection, SendFailure};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_body::{RequestBody, Upload};

/// An answer's head, and the connection on which its body will come.
pub struct Answer {
    /// Head and body.
    pub response: Response<Incoming>,
    /// The connection.
    pub lease: Lease,
}

/// The name of an attempt that met a stale connection, in the access line.
const STALE: &str = "stale_connection";

/// Sends `request` to the upstream's next endpoint.
///
/// # Errors
///
/// Every way in which no answer's head arrives; see [`ProxyError`].
pub async fn attempt(
    exchange: &Exchange,
    upstream: &Arc<Upstream>,
    request: Box<Request<RequestBody>>,
    deadline: Option<Instant>,
) -> Result<Answer, ProxyError> {
    let mut admission = admit(upstream, &[], exchange.started.into_std())?;
    let sent = send(exchange, &admission, request, deadline).await;
    let now = Instant::now();
    let elapsed = now.saturating_duration_since(exchange.started);
    match sent {
        Ok((response, connection)) => {
            let head = (response.status(), response.headers());
            admission.answered(head, elapsed, now.into_std());
            let lease = Lease {
                connection,
                admission,
                worker: exchange.engine.worker,
            };
            Ok(Answer { response, lease })
        }
        Err(error) => {
            let upload = exchange.upload().map(|upload| upload.state());
            admission.report(verdict::of(&error, upload), elapsed, now.into_std());
            Err(error)
        }
    }
}

async fn send(
    exchange: &Exchange,
    admission: &Admission,
    mut request: Box<Request<RequestBody>>,
    deadline: Option<Instant>,
) -> Result<(Response<Incoming>, Box<Connection>), ProxyError> {
    let (upstream, endpoint) = (admission.upstream(), admission.endpoint());
    let worker = exchange.engine.worker;
    let mut pooled = take_pooled(endpoint, upstream, worker, exchange.started).await;
    loop {
        let mut trace = AttemptTrace::start(exchange, endpoint);
        let mut connection = match pooled.take() {
            Some(connection) => connection,
            None => trace.connect(upstream, deadline).await?,
        };
        let copy = copy_for_replay(&connection, &request);
        let wait = Wait {
            exchange,
            idle: upstream.idle_timeout,
            deadline,
        };
        match wait.for_answer(&mut connection, request).await {
            Ok(response) => {
                connection.learn_keep_alive(response.headers());
                trace.end(AttemptResult::Response, Outcome::Status(response.status()));
                return Ok((response, connection));
            }
            Err(WaitFailure::Unsent(unsent, _)) if connection.is_reused() => {
                trace.stale();
                request = unsent;
            }
            Err(failure) => {
                let error = failure.into_error(exchange);
                match copy {
                    Some(copy) if matches!(error, ProxyError::UpstreamReset(_)) => {
                        trace.stale();
                        request = Box::new(Request::from_parts(copy, RequestBody::empty()));
                    }
                    _ => {
                        trace.fail(&error);
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// How long a connection must have been idle before it is asked whether its peer is still there. What is closed sooner
/// is found by sending: then not a byte has left.
const UNASKED: Duration = Duration::from_millis(2);

/// A pooled connection whose peer is still there.
async fn take_pooled(
    endpoint: &Endpoint,
    upstream: &Upstream,
    worker: usize,
    now: Instant,
) -> Option<Box<Connection>> {
    while let Some(mut connection) = endpoint.pool.take(worker, now, &upstream.pool) {
        let idle = now.saturating_duration_since(connection.idle_since());
        if idle < UNASKED || connection.is_usable().await {
            endpoint.metrics.reused.inc();
            return Some(connection);
        }
    }
    None
}

/// The head, kept if the request may be sent again after it was sent on `connection`.
fn copy_for_replay(connection: &Connection, request: &Request<RequestBody>) -> Option<Parts> {
    if !connection.is_reused() {
        return None;
    }
    let empty = http_body::Body::is_end_stream(request.body());
    let content = if empty {
        RequestContent::Empty
    } else {
        RequestContent::Streaming
    };
    (replay::classify(request.method(), content) == Replay::Safe).then(|| {
        let mut copy = Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        copy.into_parts().0
    })
}

/// What is told about an attempt; when nothing was said by the time it is dropped, the client had gone.
struct AttemptTrace<'a> {
    exchange: &'a Exchange,
    endpoint: &'a Endpoint,
    started: Instant,
    connect: Option<Duration>,
    told: bool,
}

impl<'a> AttemptTrace<'a> {
    fn start(exchange: &'a Exchange, endpoint: &'a Endpoint) -> Self {
        // The first attempt begins with the request, as near as matters.
        let first = exchange.note(|record| record.attempts.last().is_none());
        let started = if first {
            exchange.started
        } else {
            Instant::now()
        };
        Self {
            exchange,
            endpoint,
            started,
            connect: None,
            told: false,
        }
    }

    async fn connect(
        &mut self,
        upstream: &Upstream,
        deadline: Option<Instant>,
    ) -> Result<Box<Connection>, ProxyError> {
        let begun = Instant::now();
        let left = deadline.map_or(upstream.connect_timeout, |deadline| {
            deadline.saturating_duration_since(begun)
        });
        let limit = left.min(upstream.connect_timeout);
        let connected = connect(self.endpoint, limit, &upstream.pool).await;
        self.connect = Some(begun.elapsed());
        connected.map_err(|error| {
            let error = ProxyError::Connect(error);
            self.fail(&error);
            error
        })
    }

    fn stale(&mut self) {
        self.endpoint.metrics.stale_replays.inc();
        self.end(AttemptResult::Reset, Outcome::Failed(STALE));
    }

    fn fail(&mut self, error: &ProxyError) {
        let result = match error {
            ProxyError::Connect(_) => AttemptResult::ConnectFailed,
            ProxyError::UpstreamIdle | ProxyError::RequestTimeout => AttemptResult::Timeout,
            ProxyError::ClientIdle | ProxyError::ClientBody | ProxyError::ClientGone => {
                AttemptResult::Cancelled
            }
            _ => AttemptResult::Reset,
        };
        self.end(result, Outcome::Failed(error.reason()));
    }

    fn end(&mut self, result: AttemptResult, outcome: Outcome) {
        self.told = true;
        self.endpoint.metrics.attempt(result);
        let elapsed = self.started.elapsed();
        let attempt = AttemptRecord {
            endpoint: Arc::clone(&self.endpoint.label),
            outcome,
            elapsed,
            connect: self.connect,
        };
        self.exchange.note(|record| {
            record.attempts.push(attempt);
            if matches!(outcome, Outcome::Status(_)) {
                record.first_byte = Some(
                    self.started
                        .saturating_duration_since(self.exchange.started)
                        + elapsed,
                );
            }
        });
    }
}

impl Drop for AttemptTrace<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.end(
                AttemptResult::Cancelled,
                Outcome::Failed(ProxyError::ClientGone.reason()),
            );
        }
    }
}

/// The limits of a wait for an answer's head.
struct Wait<'a> {
    exchange: &'a Exchange,
    idle: Duration,
    deadline: Option<Instant>,
}

enum WaitFailure {
    Unsent(Box<Request<RequestBody>>, hyper::Error),
    Broken(hyper::Error),
    Timer(ProxyError),
}

impl Wait<'_> {
    async fn for_answer(
        &self,
        connection: &mut Connection,
        request: Box<Request<RequestBody>>,
    ) -> Result<Response<Incoming>, WaitFailure> {
        let mut silent_since = self.exchange.started;
        let mut taken = 0;
        let sending = connection.send(request);
        tokio::pin!(sending);
        let timer = sleep_until(self.next(silent_since));
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                answer = &mut sending => return answer.map_err(|failure| match failure {
                    SendFailure::Unsent(request, error) => WaitFailure::Unsent(request, error),
                    SendFailure::Broken(error) => WaitFailure::Broken(error),
                }),
                // An endpoint that never lets us wait uses up the task's share of time, which must not stop the clock.
                () = unconstrained(&mut timer) => {
                    let now = Instant::now();
                    let uploaded = self.exchange.upload().map_or(0, |upload| upload.bytes());
                    if uploaded > taken {
                        taken = uploaded;
                        silent_since = now;
                    }
                    if let Some(error) = self.overdue(silent_since, now) {
                        return Err(WaitFailure::Timer(error));
                    }
                    timer.as_mut().reset(self.next(silent_since));
                }
            }
        }
    }

    fn next(&self, silent_since: Instant) -> Instant {
        let silent_until = silent_since + self.idle;
        self.deadline
            .map_or(silent_until, |deadline| deadline.min(silent_until))
    }

    fn overdue(&self, silent_since: Instant, now: Instant) -> Option<ProxyError> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Some(ProxyError::RequestTimeout);
        }
        if silent_since + self.idle > now {
            return None;
        }
        match self.exchange.upload().map(|upload| upload.state()) {
            Some(Upload::AwaitingClient) => Some(ProxyError::ClientIdle),
            _ => Some(ProxyError::UpstreamIdle),
        }
    }
}

impl WaitFailure {
    fn into_error(self, exchange: &Exchange) -> ProxyError {
        let error = match self {
            Self::Timer(error) => return error,
            Self::Unsent(_, error) | Self::Broken(error) => error,
        };
        if exchange
            .upload()
            .is_some_and(|upload| upload.state() == Upload::Failed)
        {
            return ProxyError::ClientBody;
        }
        if error.is_parse() {
            ProxyError::UpstreamProtocol(error)
        } else {
            ProxyError::UpstreamReset(error)
        }
    }
}
