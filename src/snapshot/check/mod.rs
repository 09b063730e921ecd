//! The mistakes that need both sides of a reference.
//!
//! Path: [`crate::config::read`] → here → `snapshot::compile`. Names must exist, addresses and rules must not
//! collide, and whatever is written must be reachable. An empty name stands for one that could not be read: its
//! mistake was told, nothing follows from it. Costs grow with the file's size, not with its square.

mod access_log;
mod addresses;
mod circuit_breaker;
mod http2;
mod limits;
mod retries;
mod routes;
mod rules;
mod tcp;
mod tls;
mod upstreams;

use std::collections::{HashMap, HashSet};

use crate::config::diagnostics::{Diagnostic, Diagnostics, Section};
use crate::config::model::{Config, Listener, ListenerProtocol, Located, Route};
use crate::config::source::Span;
use crate::config::suggest;
use addresses::addresses;
use limits::limits;
use retries::retries;
use routes::routes;
use rules::rules;
use upstreams::upstreams;

/// Adds to `diagnostics` what does not fit together in `config`, and puts all of them into the file's order.
pub fn check(config: &Config, diagnostics: &mut Diagnostics) {
    if diagnostics.is_unreadable(Section::File) {
        return;
    }
    references(config, diagnostics);
    route_names(config, diagnostics);
    addresses(config, diagnostics);
    access_log::access_log(config, diagnostics);
    rules(config, diagnostics);
    limits(config, diagnostics);
    upstreams(config, diagnostics);
    http2::http2(config, diagnostics);
    tls::tls(config, diagnostics);
    circuit_breaker::circuit_breakers(config, diagnostics);
    routes(config, diagnostics);
    reachable(config, diagnostics);
    tcp::tcp(config, diagnostics);
    retries(config, diagnostics);
    diagnostics.sort();
}

/// Upstreams and listeners that are named must exist; an upstream that nobody names is probably forgotten.
fn references(config: &Config, out: &mut Diagnostics) {
    let listeners = Names::of(
        "listener",
        config.listeners.iter().map(|it| it.name.value.as_str()),
    );
    let upstreams = Names::of(
        "upstream",
        config.upstreams.iter().map(|it| it.name.value.as_str()),
    );
    let mut used = HashSet::new();
    let mut all_known = true;
    let of_listeners = config
        .listeners
        .iter()
        .filter_map(|listener| listener.forward.as_ref());
    let of_routes = config.routes.iter().flat_map(|route| {
        let mirrors = route.mirrors.iter().map(|mirror| &mirror.upstream);
        route.action.upstreams().chain(mirrors)
    });
    for forward in of_listeners.chain(of_routes) {
        used.insert(forward.value.as_str());
        let known = upstreams.known.contains(forward.value.as_str());
        all_known &= known;
        if !known && !out.is_unreadable(Section::Upstreams) {
            upstreams.tell_unknown(forward, out);
        }
    }
    for listener in config.routes.iter().flat_map(|route| &route.listeners) {
        if !listeners.known.contains(listener.value.as_str())
            && !out.is_unreadable(Section::Listeners)
        {
            listeners.tell_unknown(listener, out);
        }
    }
    // A mistyped reference leaves its upstream unused; one mistake is told once.
    let complete = all_known
        && !config.listeners.is_empty()
        && !out.is_unreadable(Section::Listeners)
        && !out.is_unreadable(Section::Routes);
    for upstream in config
        .upstreams
        .iter()
        .filter(|it| complete && !used.contains(it.name.value.as_str()))
    {
        let name = &upstream.name;
        out.push(
            Diagnostic::warning(format!("upstream `{}` gets no requests", name.value))
                .at(name.at)
                .label(format!(
                    "write `forward: {}` in a listener or route, or remove it",
                    name.value
                )),
        );
    }
}

/// The names of one kind of section.
struct Names<'c> {
    kind: &'static str,
    order: Vec<&'c str>,
    known: HashSet<&'c str>,
}

impl<'c> Names<'c> {
    /// More names than this make a list that nobody reads.
    const SHOWN: usize = 12;

    fn of(kind: &'static str, names: impl Iterator<Item = &'c str>) -> Self {
        let order: Vec<&str> = names.collect();
        Self {
            kind,
            known: order.iter().copied().collect(),
            order,
        }
    }

    fn tell_unknown(&self, name: &Located<String>, out: &mut Diagnostics) {
        if name.value.is_empty() {
            return;
        }
        let kind = self.kind;
        let label = suggest::did_you_mean(&name.value, self.order.iter().copied());
        let label = label.unwrap_or_else(|| match self.order.is_empty() {
            true => format!("add it under `{kind}s`"),
            false => format!("add it under `{kind}s`, or name one that is there"),
        });
        let shown = self
            .order
            .iter()
            .take(Self::SHOWN)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let note = match self.order.len() {
            0 => format!("this file has no {kind}s"),
            n if n > Self::SHOWN => {
                format!("{kind}s in this file: {shown} and {} more", n - Self::SHOWN)
            }
            _ => format!("{kind}s in this file: {shown}"),
        };
        let message = format!("{kind} `{}` does not exist", name.value);
        out.push(
            Diagnostic::error(message)
                .at(name.at)
                .label(label)
                .note(note),
        );
    }
}

/// Metrics and logs tell routes apart by name.
fn route_names(config: &Config, out: &mut Diagnostics) {
    let mut first: HashMap<&str, Span> = HashMap::new();
    for name in config
        .routes
        .iter()
        .map(|route| &route.name)
        .filter(|name| !name.value.is_empty())
    {
        match first.get(name.value.as_str()) {
            None => {
                first.insert(&name.value, name.at);
            }
            Some(at) => out.push(
                Diagnostic::error(format!("two routes are named `{}`", name.value))
                    .at(name.at)
                    .label("choose another name")
                    .related(*at, "the first one"),
            ),
        }
    }
}

/// Whether `route` is for every listener; an unreadable name may be any.
fn serves_all(route: &Route) -> bool {
    route.listeners.is_empty() || route.listeners.iter().any(|name| name.value.is_empty())
}

/// Each listener needs an answer for somebody, and the file a listener.
fn reachable(config: &Config, out: &mut Diagnostics) {
    if config.listeners.is_empty() && !out.is_unreadable(Section::Listeners) {
        out.push(
            Diagnostic::error("this file has no listeners, so nothing would be served").help(
                "add one: `listeners: { inbound: { address: 127.0.0.1:8080, forward: UPSTREAM } }`",
            ),
        );
    }
    if out.is_unreadable(Section::Routes) || config.routes.iter().any(serves_all) {
        return;
    }
    let routed: HashSet<&str> = config
        .routes
        .iter()
        .flat_map(|route| &route.listeners)
        .map(|name| name.value.as_str())
        .collect();
    let idle = |listener: &&Listener| {
        listener.forward.is_none()
            && listener.protocol == ListenerProtocol::Http
            && !routed.contains(listener.name.value.as_str())
    };
    for listener in config.listeners.iter().filter(idle) {
        out.push(
            Diagnostic::error(format!(
                "listener `{}` has no route and no `forward`",
                listener.name.value
            ))
            .at(listener.name.at)
            .label("add `forward: UPSTREAM`, or a route for it")
            .note("every request would be answered 404"),
        );
    }
}
