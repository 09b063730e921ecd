//! Whether a request may go on: memory, requests under way, rates.
//!
//! Path: [`layer`] asks about memory and the listener before anything else is done; [`super::forward`] calls [`route`]
//! and [`upstream`] once it knows them: first rates, which cost a client its tokens, then permits.
//! What is held stands in the exchange, and so lasts to the end of the answer's body, or of the pipe that it became. What
//! is not configured is not asked.

pub mod endpoints;
pub mod layer;
mod rate;

use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tokio::time::Instant;

use super::error::{Limit, Overload, ProxyError, Refusal};
use super::exchange::Exchange;
use crate::policy::concurrency::{Entry, Permit};
use crate::route::limits::RouteLimits;
use crate::telemetry::limits::Scope;
use crate::units::Pretty;
use crate::upstream::Upstream;
use crate::upstream::request_limit::{Denied, RequestLimit};

/// When to come again where nobody knows how long it will last.
const SOON: Duration = Duration::from_secs(1);

/// What an exchange holds to its end.
#[derive(Debug, Default)]
pub struct Held {
    listener: OnceLock<Permit>,
    route: OnceLock<Permit>,
    upstream: OnceLock<Permit>,
    /// What the answer says about rate limits, whoever makes it.
    headers: OnceLock<Box<HeaderMap>>,
}

impl Held {
    /// Fields for the head of the answer.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.headers.get().map(|headers| &**headers)
    }

    fn keep(&self, permit: Permit, scope: Scope) {
        let place = match scope {
            Scope::Listener => &self.listener,
            Scope::Route => &self.route,
            Scope::Upstream | Scope::Endpoint => &self.upstream,
        };
        // Each is asked once a request; a second permit would be given back at once.
        drop(place.set(permit));
    }
}

/// Passes the request through the limits of a route, waiting where that is allowed, until `deadline` at most.
///
/// # Errors
///
/// [`ProxyError::RateLimited`], [`ProxyError::Overloaded`].
pub async fn route(
    exchange: &Exchange,
    limits: &RouteLimits,
    head: &Parts,
    deadline: Option<Instant>,
) -> Result<(), ProxyError> {
    if !limits.rules.is_empty()
        && let Some(waits) = rate::check(exchange, &limits.rules, head, deadline)?
    {
        Box::pin(waiting(exchange, waits.pass())).await;
    }
    match &limits.requests {
        Some(limit) => enter(exchange, limit, deadline).await,
        None => Ok(()),
    }
}

/// Takes a permit of `upstream`, if it limits its requests; as [`route`].
///
/// # Errors
///
/// [`ProxyError::Overloaded`].
pub async fn upstream(
    exchange: &Exchange,
    upstream: &Upstream,
    deadline: Option<Instant>,
) -> Result<(), ProxyError> {
    match &upstream.limits.requests {
        Some(limit) => enter(exchange, limit, deadline).await,
        None => Ok(()),
    }
}

/// Waits, and notes how long.
async fn waiting<T>(exchange: &Exchange, wait: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = wait.await;
    exchange.note(|record| record.queued += begun.elapsed());
    outcome
}

async fn enter(
    exchange: &Exchange,
    limit: &RequestLimit,
    deadline: Option<Instant>,
) -> Result<(), ProxyError> {
    let entered = match limit.enter() {
        Ok(Entry::Now(permit)) => Ok(permit),
        Ok(Entry::Later(queued)) => Box::pin(waiting(exchange, limit.wait(queued, deadline))).await,
        Err(denied) => Err(denied),
    };
    let permit = entered.map_err(|denied| denied_by(limit, denied))?;
    exchange.held.keep(permit, limit.scope);
    Ok(())
}

fn denied_by(limit: &RequestLimit, denied: Denied) -> ProxyError {
    let (kind, section) = match limit.scope {
        Scope::Listener => (Overload::Listener, "listeners"),
        Scope::Route => (Overload::Route, "routes"),
        Scope::Upstream | Scope::Endpoint => (Overload::Upstream, "upstreams"),
    };
    let (scope, name) = (limit.scope.as_str(), &limit.name);
    let under_way = match limit.limit() {
        1 => format!("a request of {scope} `{name}` is under way"),
        many => format!("{many} requests of {scope} `{name}` are under way"),
    };
    let message = match denied {
        Denied::Full => format!("{under_way}, which is as many as may be"),
        Denied::TimedOut => format!("{under_way}, and none ended while this one waited"),
    };
    let (kind, key, value) = match denied {
        Denied::Full => (kind, "in_flight", limit.limit().to_string()),
        Denied::TimedOut => (
            Overload::Queue,
            "pending_wait",
            Pretty::Time(limit.patience).to_string(),
        ),
    };
    let key = format!("{section}.{name}.limits.{key}");
    overloaded(kind, message, Some(Limit { key, value }))
}

fn overloaded(kind: Overload, message: String, limit: Option<Limit>) -> ProxyError {
    ProxyError::Overloaded(
        kind,
        Box::new(Refusal {
            message,
            retry_after: Some(SOON),
            limit,
            ..Refusal::default()
        }),
    )
}

/// Every endpoint of `upstream` has as many requests under way as it may.
pub fn endpoints_full(upstream: &Upstream) -> ProxyError {
    let (name, limits) = (&upstream.name, &upstream.limits);
    let most = limits.per_endpoint.map_or(0, |most| most.get());
    let message = format!(
        "each endpoint of upstream `{name}` has {most} requests under way, which is as many as may be"
    );
    let key = format!("upstreams.{name}.limits.{}", limits.per_endpoint_key);
    let limit = Limit {
        key,
        value: most.to_string(),
    };
    overloaded(Overload::Endpoint, message, Some(limit))
}

/// The process has hardly any memory left.
fn out_of_memory(exchange: &Exchange) -> ProxyError {
    let measured = exchange.snapshot.limits.memory.measured();
    let share = exchange.snapshot.config.memory.shed_at;
    // To whole MiB: nobody reads the rest.
    let shown = |bytes: u64| Pretty::Bytes(bytes.next_multiple_of(1 << 20));
    let (used, limit) = (shown(measured.used), shown(measured.limit));
    let message = format!(
        "{used} of {limit} of memory are in use; new requests are refused from {share} % on"
    );
    let limit = Limit {
        key: "memory.shed_at".to_owned(),
        value: format!("{share}%"),
    };
    overloaded(Overload::Memory, message, Some(limit))
}
