//! One request under way: what it was, what has been decided, and what is to be told when it is over.
//!
//! Path: [`super::stack`] opens it; the answer's body holds it to the end. When the last holder drops it, whatever
//! ended it (answer complete, client gone, endpoint broken, panic), the record is written, exactly once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Uri};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::admit::Held;
use super::error::ProxyError;
use super::limits;
use super::{ConnInfo, Engine};
use crate::policy::body_rate::{GRACE, Pace};
use crate::policy::retry::Replayable;
use crate::route::Route;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::record::{Attempts, RequestRecord};
use crate::telemetry::route::RouteTelemetry;
use crate::telemetry::time::time_of_day;
use crate::telemetry::trace::Trace;
use crate::upstream::request_body::{Tap, Upload, UploadRules};

/// One request under way.
#[derive(Debug)]
pub struct Exchange {
    /// The worker's means.
    pub engine: Arc<Engine>,
    /// The connection it came on.
    pub connection: Arc<ConnInfo>,
    /// The configuration that serves it, to its end.
    pub snapshot: Arc<Snapshot>,
    /// The listener it came through.
    pub listener: Arc<Listener>,
    /// When its head had arrived.
    pub started: Instant,
    upload: OnceLock<Arc<Upload>>,
    /// The trace it belongs to, if anybody asks.
    pub trace: Option<Trace>,
    /// Permits, and what the answer says about limits.
    pub held: Held,
    bytes_out: AtomicU64,
    /// Bytes from the client after a switch of protocols.
    piped_in: AtomicU64,
    record: Mutex<RequestRecord>,
}

impl Exchange {
    /// Opens the exchange for a request whose head has just arrived and which belongs to `trace`.
    pub fn open(
        engine: &Arc<Engine>,
        connection: &Arc<ConnInfo>,
        snapshot: Arc<Snapshot>,
        head: (Method, Uri),
        trace: Option<Trace>,
    ) -> Arc<Self> {
        let listener = snapshot
            .listener(connection.listener.id)
            .unwrap_or(&connection.listener);
        let listener = Arc::clone(listener);
        let route = Arc::clone(&listener.no_route);
        connection.observer.exchange_started();
        let (method, uri) = head;
        Arc::new(Self {
            engine: Arc::clone(engine),
            connection: Arc::clone(connection),
            listener,
            started: Instant::now(),
            trace,
            held: Held::default(),
            upload: OnceLock::new(),
            bytes_out: AtomicU64::new(0),
            piped_in: AtomicU64::new(0),
            record: Mutex::new(RequestRecord {
                client: connection.peer.ip().to_canonical(),
                method,
                uri,
                request_id: None,
                trace,
                route,
                upstream: None,
                attempts: Attempts::default(),
                status: None,
                reason: None,
                cause: None,
                limit: None,
                limit_at: None,
                not_retried: None,
                queued: Duration::ZERO,
                observed: None,
                bytes_in: 0,
                bytes_out: 0,
                first_byte: None,
                duration: Duration::ZERO,
                probe: false,
                headers: None,
                config: Arc::clone(&snapshot.hash),
            }),
            snapshot,
        })
    }

    /// Notes a decision.
    pub fn note<T>(&self, note: impl FnOnce(&mut RequestRecord) -> T) -> T {
        note(&mut self.record.lock())
    }

    /// Notes what the access line will need of the request's head.
    pub fn look_at(&self, head: &HeaderMap) {
        let Some(log) = &self.snapshot.access_log else {
            return;
        };
        let probe = !log.probes && is_probe(head);
        if probe || !log.headers.is_empty() {
            let mut record = self.record.lock();
            record.probe = probe;
            record.headers = log.copy_headers(head);
        }
    }

    /// Notes the route that took the request, and the upstream if it leads to one.
    pub fn take_route(&self, route: &Arc<RouteTelemetry>, upstream: Option<&Arc<str>>) {
        let mut record = self.record.lock();
        route.active.inc();
        record.route = Arc::clone(route);
        record.upstream = upstream.map(Arc::clone);
    }

    /// Notes why the exchange failed. The first cause counts; what follows from it does not.
    pub fn fail(&self, error: &ProxyError) {
        let mut record = self.record.lock();
        if record.reason.is_none() {
            record.reason = Some(error.reason());
            record.cause = error.cause().map(Into::into);
            record.limit = limits::reached(&self.snapshot, &record, error).map(Box::new);
            let places = &self.snapshot.config.places;
            record.limit_at = (record.limit.as_ref()).and_then(|it| places.find(&it.key));
        }
    }

    /// The client's address as far as trusted peers tell.
    pub fn client(&self) -> IpAddr {
        self.record.lock().client
    }

    /// Notes the request's body, for which the rules of `route` hold; `tap` sees it pass.
    pub fn open_upload(&self, body: Incoming, route: &Route, tap: Option<Box<dyn Tap>>) {
        let upload = self.upload.get_or_init(|| {
            let rate = self.listener.limits.min_body_rate;
            let rules = UploadRules {
                keep: route.replay_bytes,
                most: route.body_bytes,
                pace: rate.map(|rate| Pace::new(rate, GRACE)),
            };
            Upload::new(body, &self.engine.replay_room, tap, rules)
        });
        if !self.snapshot.limits.memory.may_buffer() {
            upload.forget(Replayable::NoMemory);
        }
    }

    /// Where the request's body stands, if it has one.
    pub fn upload(&self) -> Option<&Arc<Upload>> {
        self.upload.get()
    }

    /// Counts bytes that came after a switch of protocols.
    pub fn piped(&self, bytes: usize) {
        self.piped_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of the answer's body.
    pub fn sent(&self, bytes: usize) {
        // Only the task that writes the answer adds, so a plain store is enough.
        let total = self
            .bytes_out
            .load(Ordering::Relaxed)
            .saturating_add(bytes as u64);
        self.bytes_out.store(total, Ordering::Relaxed);
    }
}

/// By their own word: Kubernetes, Google's and Amazon's load balancers, Consul.
fn is_probe(head: &HeaderMap) -> bool {
    const PROBES: [&[u8]; 4] = [
        b"kube-probe/",
        b"GoogleHC/",
        b"ELB-HealthChecker/",
        b"Consul Health Check",
    ];
    let agent = head.get(USER_AGENT).map(HeaderValue::as_bytes);
    agent.is_some_and(|agent| PROBES.iter().any(|probe| agent.starts_with(probe)))
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let record = self.record.get_mut();
        record.duration = self.started.elapsed();
        let uploaded = self.upload.get().map_or(0, |upload| upload.bytes());
        record.bytes_in = uploaded.saturating_add(*self.piped_in.get_mut());
        record.bytes_out = *self.bytes_out.get_mut();
        if !Arc::ptr_eq(&record.route, &self.listener.no_route) {
            // Counted when its route was taken.
            record.route.active.dec();
        }
        if record.status.is_none() && record.reason.is_none() {
            record.reason = Some(ProxyError::ClientGone.reason());
        }
        if let Some(status) = record.status {
            record
                .route
                .finished(&record.method, status, record.duration.as_secs_f64());
        }
        (record.route).moved(record.first_byte, record.bytes_in, record.bytes_out);
        if let Some(reason) = record.reason {
            record.route.failed(reason.as_str());
        }
        if let Some(tracing) = &self.snapshot.tracing {
            if let (Some(trace), Some(status)) = (&record.trace, record.status)
                && trace.flags.sampled
            {
                let route = &record.route;
                route.recorded(&record.method, status, record.duration, trace.id);
            }
            tracing.finish(record);
        }
        if let Some(log) = &self.snapshot.access_log
            && log.wants(record)
        {
            let time = time_of_day(self.started + record.duration);
            (self.engine.log).append(|line| log.write(line, record, time));
        }
        self.connection.observer.exchange_ended();
    }
}
