//! Copies of requests for other upstreams: sent beside the request, their answers read and thrown away.
//!
//! Path: [`super::forward`] calls [`copy`] when the request is as the app gets it. A copy never delays or fails the
//! request: a body is copied while it passes, and sent only when all of it has. What a copy may hold and how many there
//! may be is bounded in [`crate::route::mirror`]; what is above it is not copied, and counted.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{TE, UPGRADE};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, timeout};

use super::Engine;
use super::body::Lease;
use super::exchange::Exchange;
use super::trace::{self, CopySpan};
use crate::policy::failure::{Failure, Verdict, is_grpc};
use crate::route::mirror::{MAX_BODY, Mirror};
use crate::telemetry::metrics::AttemptResult;
use crate::telemetry::mirror::{MirrorResult, MirrorTelemetry};
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::carrier::{Carrier, Speaks};
use crate::upstream::connection::SendFailure;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_body::{RequestBody, Tap};

/// Bytes of a copy's answer that are read so that its connection can serve again; a longer one costs the connection.
const MAX_ANSWER: usize = 256 * 1024;

/// Lets `mirrors` have copies of the request of `head` and `body`. What is given back has to see the body pass.
pub fn copy(
    exchange: &Exchange,
    mirrors: &[Mirror],
    head: &Parts,
    body: Option<&impl Body>,
) -> Option<Box<dyn Tap>> {
    // Who speaks another protocol from here on cannot be copied.
    if mirrors.is_empty() || head.headers.contains_key(UPGRADE) {
        return None;
    }
    let due = mirrors.iter().filter(|mirror| mirror.is_due());
    if body.is_some_and(|body| body.size_hint().lower() > MAX_BODY as u64) {
        due.for_each(|mirror| mirror.telemetry.count(MirrorResult::TooLarge));
        return None;
    }
    let copies = due.filter_map(|mirror| Copy::of(exchange, mirror, head));
    let mut copying = Copying {
        copies: copies.collect(),
        body: Vec::new(),
    };
    if copying.copies.is_empty() {
        return None;
    }
    if body.is_none() {
        copying.end();
        return None;
    }
    Some(Box::new(copying))
}

/// A copy that waits for its body.
#[derive(Debug)]
struct Copy {
    head: Parts,
    upstream: Arc<Upstream>,
    engine: Arc<Engine>,
    limit: Duration,
    outcome: Outcome,
    permit: OwnedSemaphorePermit,
}

/// Counts what became of a copy, once, whatever that is.
#[derive(Debug)]
struct Outcome {
    telemetry: Arc<MirrorTelemetry>,
    result: MirrorResult,
    span: Option<CopySpan>,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.telemetry.count(self.result);
        let Some(span) = self.span.take() else {
            return;
        };
        match self.result {
            MirrorResult::Answered => span.end(None),
            MirrorResult::Failed | MirrorResult::Timeout => span.end(Some(self.result.as_str())),
            // It was never sent.
            MirrorResult::TooLarge | MirrorResult::Overflow | MirrorResult::Incomplete => {}
        }
    }
}

impl Copy {
    fn of(exchange: &Exchange, mirror: &Mirror, head: &Parts) -> Option<Self> {
        let Some(permit) = mirror.permit() else {
            mirror.telemetry.count(MirrorResult::Overflow);
            return None;
        };
        let mut request = Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let mut head = request.into_parts().0;
        let span = trace::tell_copy(exchange, &mut head, &mirror.upstream.name);
        Some(Self {
            head,
            upstream: Arc::clone(&mirror.upstream),
            engine: Arc::clone(&exchange.engine),
            limit: mirror.timeout,
            outcome: Outcome {
                telemetry: Arc::clone(&mirror.telemetry),
                result: MirrorResult::Incomplete,
                span,
            },
            permit,
        })
    }

    async fn send(self, body: Bytes) {
        let Self {
            head,
            upstream,
            engine,
            limit,
            mut outcome,
            permit,
        } = self;
        outcome.result = MirrorResult::Failed;
        let exchanged = exchange_with(&upstream, engine.worker, (head, body));
        let exchanged = timeout(limit, exchanged);
        // The end of a drain does not wait for copies.
        outcome.result = match engine.cut.run_until_cancelled(exchanged).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => MirrorResult::Timeout,
            None => MirrorResult::Failed,
        };
        drop(permit);
    }
}

/// Copies and what has passed of their body.
#[derive(Debug)]
struct Copying {
    copies: Vec<Copy>,
    body: Vec<u8>,
}

impl Tap for Copying {
    fn data(&mut self, data: &[u8]) {
        if self.copies.is_empty() {
            return;
        }
        if self.body.len() + data.len() <= MAX_BODY {
            self.body.extend_from_slice(data);
            return;
        }
        for copy in &mut self.copies {
            copy.outcome.result = MirrorResult::TooLarge;
        }
        // Dropping them counts them.
        self.copies.clear();
        self.body = Vec::new();
    }

    fn end(&mut self) {
        let body = Bytes::from(std::mem::take(&mut self.body));
        for copy in self.copies.drain(..) {
            // Ends by its own timeout, or with the worker, whose runtime owns it.
            tokio::spawn(copy.send(body.clone()));
        }
    }
}

/// Sends a copy and reads its answer.
async fn exchange_with(
    upstream: &Arc<Upstream>,
    worker: usize,
    (mut head, body): (Parts, Bytes),
) -> MirrorResult {
    let started = Instant::now();
    let Ok(admission) = upstream.enter(&[], started.into_std()) else {
        return MirrorResult::Failed;
    };
    let mut waiting = Waiting {
        admission: Some(admission),
        started,
    };
    let Some(endpoint) = waiting.endpoint() else {
        return MirrorResult::Failed;
    };
    let takes_trailers = head.headers.remove(TE);
    let speaks = upstream.speaks(|| takes_trailers.is_some() && is_grpc(&head.headers));
    if let (Speaks::Http2, Some(trailers)) = (speaks, takes_trailers) {
        head.headers.insert(TE, trailers);
    }
    let request = || Request::from_parts(head.clone(), RequestBody::full(body.clone()));
    let carried = (worker, speaks);
    let mut pooled = Carrier::pooled(&endpoint, upstream, carried, started).await;
    loop {
        let opened = match pooled.take() {
            Some(connection) => Ok(connection),
            None => Carrier::open(&endpoint, upstream, carried, None).await,
        };
        let Ok(mut connection) = opened else {
            waiting.failed(Failure::Connect);
            endpoint.metrics.attempt(AttemptResult::ConnectFailed);
            return MirrorResult::Failed;
        };
        match connection.send(request).await {
            Ok(response) => {
                endpoint.metrics.attempt(AttemptResult::Response);
                connection.learn_keep_alive(response.headers());
                waiting.answered(connection, response, worker).await;
                return MirrorResult::Answered;
            }
            Err(SendFailure::Unsent(_)) if connection.is_reused() => {}
            Err(_) => {
                waiting.failed(Failure::Reset);
                endpoint.metrics.attempt(AttemptResult::Reset);
                return MirrorResult::Failed;
            }
        }
    }
}

/// Tells the upstream of a copy as of any attempt, once. One that is dropped while it waits has run out of time.
struct Waiting {
    admission: Option<Admission>,
    started: Instant,
}

impl Waiting {
    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let admission = self.admission.as_ref();
        admission.map(|admission| Arc::clone(admission.endpoint()))
    }

    fn failed(&mut self, failure: Failure) {
        if let Some(mut admission) = self.admission.take() {
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(self.started);
            admission.report(Verdict::Failure(failure), elapsed, now.into_std());
        }
    }

    async fn answered(
        &mut self,
        mut connection: Carrier,
        response: Response<Incoming>,
        worker: usize,
    ) {
        let Some(mut admission) = self.admission.take() else {
            return;
        };
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        let head = (response.status(), response.headers());
        admission.answered(head, elapsed, now.into_std());
        if drain(&mut connection, response).await {
            let lease = Lease {
                connection,
                admission,
                worker,
            };
            lease.give_back();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.failed(Failure::Timeout);
    }
}

/// Reads the answer to its end; whether it had one before it became too long.
async fn drain(connection: &mut Carrier, response: Response<Incoming>) -> bool {
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = poll_fn(|cx| connection.poll_frame(&mut body, cx)).await {
        let Ok(frame) = frame else {
            return false;
        };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_ANSWER {
            return false;
        }
    }
    true
}
