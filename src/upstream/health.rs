//! Asks endpoints how they are.
//!
//! Path: `app` spawns [`tend`] for each upstream with a `health_check`, on the control runtime; workers never check. What
//! a result means is for [`crate::policy::health`] to say; when an endpoint turns, [`super::members`] looks again.
//! A check is bounded in time and size, whatever the endpoint does: it opens a connection of its own, asks one question
//! and closes. A redirect is an answer like any other and is not followed.

mod grpc;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::endpoint::Endpoint;
use super::members::EndpointSet;
use super::{Protocol, Upstream};
use crate::policy::health::{CheckResult, Health, Thresholds};
use crate::telemetry::health::CheckLabel;
use crate::telemetry::journal::Kind;
use crate::telemetry::metrics::Metrics;
use crate::tls::client::Offer;
use crate::wire::Wire;

/// More of an answer's body is not read; what came by then counts.
const MAX_BODY: usize = 64 * 1024;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Who asks.
const AGENT: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"), " (health check)");

/// How an upstream's endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: Question,
    /// From the end of a check to the next one, while the endpoint is healthy; ± 10 %.
    pub interval: Duration,
    /// The same while it is not.
    pub interval_down: Duration,
    /// Limit of a check, from connecting to the end of the answer.
    pub timeout: Duration,
    /// How many results in a row count.
    pub thresholds: Thresholds,
    /// Whether the proxy is ready only if an endpoint is.
    pub readiness: bool,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether a connection can be opened.
    Tcp,
    /// What a GET is answered with.
    Http(HttpQuestion),
    /// What its gRPC health service says.
    Grpc(GrpcQuestion),
}

/// A call of `grpc.health.v1.Health/Check`; only SERVING is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcQuestion {
    /// The service asked about; empty: the server as a whole.
    pub service: Box<str>,
    /// The `:authority`; `None`: the endpoint's address.
    pub host: Option<Authority>,
}

/// A GET and the answers to it that are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpQuestion {
    /// What to get.
    pub path: PathAndQuery,
    /// The `Host`; `None`: the endpoint's address.
    pub host: Option<HeaderValue>,
    /// The good statuses.
    pub expect: Box<[RangeInclusive<u16>]>,
    /// Whether by HTTP/2.
    pub protocol: Protocol,
}

/// The checks of each endpoint.
type Watched = HashMap<Address, (Arc<Endpoint>, AbortOnDropHandle<()>)>;

/// Checks the endpoints of `upstream`, those that come included, until it is dropped. A check needs one of `slots`.
pub async fn tend(upstream: Arc<Upstream>, metrics: Arc<Metrics>, slots: Arc<Semaphore>) {
    let mut watched = Watched::new();
    loop {
        let set = upstream.endpoints();
        forget_others(&mut watched, &set);
        for endpoint in set.iter() {
            watched.entry(endpoint.address.clone()).or_insert_with(|| {
                let watch = Watch {
                    upstream: Arc::clone(&upstream),
                    endpoint: Arc::clone(endpoint),
                    metrics: Arc::clone(&metrics),
                    slots: Arc::clone(&slots),
                };
                let task = AbortOnDropHandle::new(tokio::spawn(watch.run()));
                (Arc::clone(endpoint), task)
            });
        }
        drop(set);
        upstream.members.changed().await;
    }
}

/// An address that left and came back is another endpoint.
fn forget_others(watched: &mut Watched, set: &EndpointSet) {
    let members: HashSet<_> = set.iter().map(Arc::as_ptr).collect();
    watched.retain(|_, (endpoint, _)| members.contains(&Arc::as_ptr(endpoint)));
}

/// The checks of one endpoint.
struct Watch {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
}

impl Watch {
    async fn run(self) {
        let Some(check) = self.upstream.health_check.clone() else {
            return;
        };
        let mut health = Health::unchecked(self.endpoint.is_healthy());
        loop {
            // The semaphore is never closed.
            let slot = self.slots.acquire().await;
            let seen = ask(&self.upstream, &self.endpoint, &check).await;
            drop(slot);
            self.tell(&mut health, seen, check.thresholds);
            let interval = if health.is_healthy() {
                check.interval
            } else {
                check.interval_down
            };
            // Many sidecars that start together do not go on asking together.
            sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        }
    }

    fn tell(&self, health: &mut Health, seen: Result<(), String>, thresholds: Thresholds) {
        let now = Instant::now().into_std();
        let (upstream, label) = (&*self.upstream.name, &*self.endpoint.label);
        let (result, count) = match &seen {
            Ok(()) => (CheckResult::Passed, CheckLabel::Passed),
            Err(_) => (CheckResult::Failed, CheckLabel::Failed),
        };
        self.metrics.health_check(upstream, label, count);
        if let Err(error) = &seen {
            self.endpoint.note_error(error, now);
        }
        if result == CheckResult::Passed {
            self.endpoint.set_proven();
        }
        let turned = health.observe(result, thresholds);
        let healthy = health.is_healthy();
        self.metrics.endpoint_healthy(upstream, label, healthy);
        if !turned {
            return;
        }
        self.endpoint.set_healthy(healthy);
        self.upstream.members.refresh(now);
        match seen {
            Ok(()) => {
                let detail = format!("{upstream} {label}");
                tracing::info!(detail, upstream, endpoint = label, "endpoint healthy");
                self.turned(["unhealthy", "healthy"], "its checks pass");
            }
            Err(error) => {
                let detail = format!("{upstream} {label}: {error}");
                tracing::warn!(detail, upstream, endpoint = label, "endpoint unhealthy");
                self.turned(["healthy", "unhealthy"], &error);
            }
        }
    }

    fn turned(&self, turn: [&str; 2], cause: &str) {
        let label = Some(&*self.endpoint.label);
        self.upstream.members.note(Kind::Health, label, turn, cause);
    }
}

/// Checks `endpoint` once.
///
/// # Errors
///
/// Why it is not well, in a few words.
pub async fn ask(
    upstream: &Upstream,
    endpoint: &Endpoint,
    check: &HealthCheck,
) -> Result<(), String> {
    let address = &endpoint.address;
    let asked = async {
        let connected = async {
            let mut stream = address.connect().await?;
            if let Some(header) = upstream.proxy_header {
                stream.write_all(&header.own()).await?;
            }
            Ok(stream)
        };
        let stream = connected
            .await
            .map_err(|error: io::Error| format!("connect: {}", words(&error)))?;
        let stream = match &upstream.tls {
            None => stream,
            Some(tls) => upstream
                .shake_hands(tls, endpoint, stream, check.question.offer())
                .await
                .map_err(|fault| format!("TLS: {fault}"))?,
        };
        match &check.question {
            Question::Tcp => Ok(()),
            Question::Http(question) => get(stream, address, question).await,
            Question::Grpc(question) => grpc::ask(stream, address, question).await,
        }
    };
    let limit = check.timeout;
    timeout(limit, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
}

impl Question {
    fn offer(&self) -> Offer {
        match self {
            Self::Tcp => Offer::Bytes,
            Self::Http(question) if question.protocol == Protocol::Http2 => Offer::Http2,
            Self::Http(_) => Offer::Http1,
            Self::Grpc(_) => Offer::Http2,
        }
    }
}

/// As HTTP/2 has it: the host in the target, and no word about the connection.
fn translated(mut request: Request<Empty<Bytes>>, scheme: &Scheme) -> Request<Empty<Bytes>> {
    request.headers_mut().remove(CONNECTION);
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let target = format!("{scheme}://{}{path}", host.unwrap_or("localhost"));
    if let Ok(target) = target.parse() {
        *request.uri_mut() = target;
    }
    request
}

async fn get(stream: Wire, address: &Address, question: &HttpQuestion) -> Result<(), String> {
    let scheme = scheme(&stream);
    let io = TokioIo::new(stream);
    // Ends with this check, and closes the connection.
    let (_driver, answer) = if question.protocol == Protocol::Http2 {
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(|error| words(&error))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let request = translated(question.request(address), &scheme);
        (driver, sender.send_request(request).await)
    } else {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (mut sender, driver) = builder
            .handshake::<_, Empty<Bytes>>(io)
            .await
            .map_err(|error| words(&error))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        (driver, sender.send_request(question.request(address)).await)
    };
    let answer = answer.map_err(|error| {
        if error.is_parse() {
            "the answer is not valid HTTP".into()
        } else {
            words(&error)
        }
    })?;
    let status = answer.status().as_u16();
    if !question.expect.iter().any(|range| range.contains(&status)) {
        return Err(format!("answered {status}"));
    }
    drain(answer.into_body()).await
}

fn scheme(stream: &Wire) -> Scheme {
    match stream.is_encrypted() {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    }
}

/// An endpoint that answers well but cannot finish is not well.
async fn drain(mut body: Incoming) -> Result<(), String> {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| words(&error))?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_BODY {
            break;
        }
    }
    Ok(())
}

impl HttpQuestion {
    fn request(&self, address: &Address) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(self.path.clone());
        let host = self.host.clone();
        let host = host.or_else(|| HeaderValue::from_str(&address.host()).ok());
        let headers = request.headers_mut();
        headers.extend(host.map(|host| (HOST, host)));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        request
    }
}

/// The innermost error, without its number.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_ascii_lowercase()
}
