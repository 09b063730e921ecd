//! What the proxy runs on: the compiled configuration, immutable, replaced as a whole.
//!
//! Path: `app` compiles a [`Snapshot`] from the configuration and publishes it in the [`Store`]; each request takes
//! the one in force and sees no other. The only module that knows both what the user wrote and what serves requests.

pub mod check;
pub mod compile;
pub mod diff;
pub mod forwarding;
pub mod limits;
pub mod timers;

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderName;

use crate::config::model::{Config, HeaderCase};
pub use crate::config::model::{Direction, ListenerLimits, ListenerTimeouts, ProxyProtocol};
use crate::route::Entry;
use crate::route::normalize::Normalize;
use crate::route::redirect::Scheme;
use crate::route::table::Table;
use crate::telemetry::access_format::AccessLog;
use crate::telemetry::metrics::ListenerMetrics;
use crate::telemetry::route::RouteTelemetry;
use crate::telemetry::tcp::TcpTelemetry;
use crate::telemetry::tls::HandshakeMetrics;
use crate::telemetry::trace::Tracing;
use crate::tls::server::ServerTls;
use crate::units::place::Place;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_limit::RequestLimit;
use forwarding::Forwarding;
use limits::Limits;

/// The configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// 1 at start, one more with each reload that is applied.
    pub version: u64,
    /// Short hash of the file's text.
    pub hash: Arc<str>,
    /// What it was compiled from.
    pub config: Config,
    /// The listeners, in the file's order.
    pub listeners: Vec<Arc<Listener>>,
    /// The upstreams, in the file's order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What the app is told about the client.
    pub forwarding: Forwarding,
    /// The header that carries deadlines.
    pub deadline_header: Option<HeaderName>,
    /// The headers that tell apps who a client is: what clients write into them is removed.
    pub identity_headers: Box<[HeaderName]>,
    /// Every limit, for whoever observes them.
    pub limits: Limits,
    /// What is done about traces; `None`: nothing.
    pub tracing: Option<Arc<Tracing>>,
    /// Which access lines are written; `None`: none.
    pub access_log: Option<AccessLog>,
    /// Whether answers say where their time went.
    pub server_timing: bool,
    /// The number of the next new listener. None is given twice, for connections outlive their listener.
    next_listener: u32,
}

/// Identifies a listener across reloads: the same name keeps its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// A bound address and its routes.
#[derive(Debug)]
pub struct Listener {
    /// Its number.
    pub id: ListenerId,
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The way its traffic flows.
    pub direction: Direction,
    /// Time limits of its connections.
    pub timeouts: ListenerTimeouts,
    /// Size limits of its connections.
    pub limits: ListenerLimits,
    /// Its requests under way.
    pub requests: Option<Arc<RequestLimit>>,
    /// Which route takes a request.
    pub routes: Table<Entry>,
    /// Where its connections go if it speaks no HTTP.
    pub tcp: Option<TcpForward>,
    /// Whether its connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// How paths are compared.
    pub normalize: Normalize,
    /// The port in the configuration; 0 when a free one was taken.
    pub port: u16,
    /// Whether one of its routes lets CONNECT through.
    pub tunnels: bool,
    /// Stands for the route when there is none.
    pub no_route: Arc<RouteTelemetry>,
    /// Handles of its metrics.
    pub metrics: ListenerMetrics,
    /// Its TLS, if it has any, and the handles of its metrics.
    pub tls: Option<Arc<ServerTls>>,
    /// The header that tells apps who a client is by its certificate.
    pub identity_header: Option<HeaderName>,
    /// How its handshakes ended.
    pub handshakes: Option<HandshakeMetrics>,
}

impl Listener {
    /// The scheme of the URLs that its clients ask for.
    pub fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }
}

/// Where the connections of a TCP listener go.
#[derive(Debug)]
pub struct TcpForward {
    /// To whom.
    pub upstream: Arc<Upstream>,
    /// Handles of its metrics.
    pub telemetry: TcpTelemetry,
}

impl Snapshot {
    /// Whether HTTP/1 header names keep their case.
    pub fn preserves_header_case(&self) -> bool {
        self.config.header_case == HeaderCase::Preserve
    }

    /// The names of the upstreams that are the same in `next`.
    pub fn upstreams_kept(&self, next: &Self) -> Vec<String> {
        let old: HashSet<_> = self.upstreams.iter().map(Arc::as_ptr).collect();
        let kept = next.upstreams.iter();
        let kept = kept.filter(|upstream| old.contains(&Arc::as_ptr(upstream)));
        kept.map(|upstream| upstream.name.to_string()).collect()
    }

    /// The listener of this number, unless it was removed.
    pub fn listener(&self, id: ListenerId) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.id == id)
    }

    /// The endpoints that `next` does not have anymore.
    pub fn endpoints_gone(&self, next: &Self) -> Vec<Arc<Endpoint>> {
        let of = |snapshot: &Self| {
            let sets = snapshot.upstreams.iter().map(|u| u.endpoints());
            sets.flat_map(|set| set.iter().map(Arc::clone).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let kept: HashSet<_> = of(next).iter().map(Arc::as_ptr).collect();
        let mut gone = of(self);
        gone.retain(|endpoint| !kept.contains(&Arc::as_ptr(endpoint)));
        gone
    }

    /// The names that routes have in metrics here and not in `next`.
    pub fn routes_gone(&self, next: &Self) -> HashSet<String> {
        fn of(config: &Config) -> HashSet<&String> {
            let routes = config.routes.iter().map(|route| &route.name.value);
            // A listener's `forward` is a route of its name.
            let listeners = config.listeners.iter().map(|it| &it.name.value);
            routes.chain(listeners).collect()
        }
        let gone = &of(&self.config) - &of(&next.config);
        gone.into_iter().cloned().collect()
    }

    /// The circuit breakers that `next` does not have anymore: upstream and endpoint, which is empty for the upstream's own.
    pub fn breakers_gone(&self, next: &Self) -> Vec<(Arc<str>, Arc<str>)> {
        let of = |snapshot: &Self| {
            let with = snapshot.upstreams.iter().filter(|it| it.breakers.is_some());
            with.flat_map(|upstream| {
                let set = upstream.endpoints();
                let labels = set.iter().map(|endpoint| Arc::clone(&endpoint.label));
                let all = std::iter::once(Arc::from("")).chain(labels);
                all.map(|label| (Arc::clone(&upstream.name), label))
                    .collect::<Vec<_>>()
            })
            .collect::<HashSet<_>>()
        };
        of(self).difference(&of(next)).cloned().collect()
    }

    /// The listener that the file gives this address to.
    pub fn listener_at(&self, place: &Place) -> Option<&Arc<Listener>> {
        let mut pairs = self.listeners.iter().zip(&self.config.listeners);
        let found = pairs.find(|(_, section)| section.address.value == *place);
        found.map(|(listener, _)| listener)
    }
}

/// Where the snapshot in force is found.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Snapshot>,
}

impl Store {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
        }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts `next` in force.
    pub fn publish(&self, next: Arc<Snapshot>) {
        self.current.store(next);
    }

    /// The swap itself, for readers that keep a cache of their own.
    pub fn swap(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }
}
