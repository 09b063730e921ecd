//! CONNECT (RFC 9110 §9.3.6), where a route allows it: the client's bytes go to an endpoint of the route's upstream, whatever
//! host the client names. So nobody reaches through this proxy what the file does not lead to.
//!
//! Path: [`super::forward`] comes here instead of making attempts. Rates, limits, breakers and the retry budget hold as for
//! any request; from the answer on it is a pipe as that of [`super::upgrade`].

use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::admit::{self, endpoints::place};
use super::body::ProxyBody;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::seen::{Field, Seen};
use super::{action, deadline, respond, upgrade};
use crate::policy::failure::{Failure, Verdict};
use crate::telemetry::metrics::AttemptResult;
use crate::telemetry::record::{AttemptRecord, Outcome};
use crate::upstream::Upstream;
use crate::upstream::admission::Admission;
use crate::upstream::connect::{ConnectError, Dialled, Opening};
use crate::upstream::endpoint::Endpoint;

/// Endpoints that are tried for one tunnel, at most.
const TRIES: usize = 3;

/// Opens the tunnel that `head` asks for and answers 200.
///
/// # Errors
///
/// [`ProxyError::ConnectMethod`] where no route allows it; what keeps a request from an endpoint.
pub async fn open(
    exchange: &Arc<Exchange>,
    head: &mut Parts,
    seen: Seen,
) -> Result<Response<ProxyBody>, ProxyError> {
    // What such a message says of its own length has no meaning, and could be read in two ways.
    if seen.has(Field::ContentLength) || seen.has(Field::TransferEncoding) {
        return Err(ProxyError::BadRequest("CONNECT has no content"));
    }
    if head.version < Version::HTTP_11 {
        return Err(ProxyError::ConnectMethod);
    }
    let entry = action::find(&exchange.listener, head, None);
    let route = entry.map(|entry| &*entry.route).filter(|it| it.tunnel);
    let route = route.ok_or(ProxyError::ConnectMethod)?;
    let upstream = route
        .target(&head.headers)
        .ok_or(ProxyError::ConnectMethod)?;
    let client = head.extensions.remove::<OnUpgrade>();
    let client = client.ok_or(ProxyError::ConnectMethod)?;
    exchange.take_route(&route.telemetry, Some(&upstream.name));
    let deadline = deadline::read(exchange, route.timeout, &head.headers, seen);
    let end = deadline.end().map(|(end, _)| Instant::from_std(end));
    admit::route(exchange, &route.limits, head, end).await?;
    admit::upstream(exchange, upstream, end).await?;
    let response = respond::tunnel();
    let (admission, dialled) = dial(exchange, upstream, (end, response.status())).await?;
    upgrade::tunnel(exchange, client, admission, dialled);
    Ok(response)
}

/// Connects to an endpoint; to another one where that fails and the budget allows it.
async fn dial(
    exchange: &Exchange,
    upstream: &Arc<Upstream>,
    (end, good): (Option<Instant>, StatusCode),
) -> Result<(Admission, Dialled), ProxyError> {
    let budget = upstream.retry_budget.as_ref();
    if let Some(budget) = budget {
        budget.deposit(exchange.started.into_std());
    }
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    loop {
        let started = Instant::now();
        let mut admission = place(exchange, upstream, &tried, started, end).await?;
        let endpoint = Arc::clone(admission.endpoint());
        let left = end.map(|end| end.saturating_duration_since(started));
        let dialled = Opening::to(upstream, left).bytes(&endpoint, None).await;
        let now = Instant::now().into_std();
        let error = match dialled {
            Ok(dialled) => {
                note(exchange, &endpoint, started, Outcome::Status(good));
                admission.report(Verdict::Success, started.elapsed(), now);
                return Ok((admission, dialled));
            }
            Err(error) => error,
        };
        // That there may be no more connections is our own doing.
        let verdict = match error {
            ConnectError::Full => Verdict::Ignored,
            _ => Verdict::Failure(Failure::Connect),
        };
        let error = ProxyError::not_connected(upstream, error);
        let outcome = Outcome::Failed(error.reason().as_str());
        note(exchange, &endpoint, started, outcome);
        admission.report(verdict, started.elapsed(), now);
        tried.push(endpoint);
        if tried.len() >= TRIES || budget.is_some_and(|budget| !budget.withdraw(now)) {
            return Err(error);
        }
    }
}

fn note(exchange: &Exchange, endpoint: &Endpoint, started: Instant, outcome: Outcome) {
    let result = match outcome {
        Outcome::Status(_) => AttemptResult::Response,
        Outcome::Failed(_) => AttemptResult::ConnectFailed,
    };
    endpoint.metrics.attempt(result);
    let elapsed = started.elapsed();
    let attempt = AttemptRecord {
        endpoint: Arc::clone(&endpoint.label),
        outcome,
        elapsed,
        connect: Some(elapsed),
        tls: None,
        started: started.saturating_duration_since(exchange.started),
        span: None,
    };
    exchange.note(|record| record.attempts.push(attempt));
}
