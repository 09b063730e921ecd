//! The mistakes that need both sides of a reference.
//!
//! Path: [`crate::config::read`] → here → `snapshot::compile`. Names must exist, addresses and rules must not
//! collide, and whatever is written must be reachable. An empty name stands for one that could not be read: its
//! mistake was told, nothing follows from it. Costs grow with the file's size, not with its square.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::diagnostics::{Diagnostic, Diagnostics, Section};
use crate::config::model::{Config, HostMatch, Listener, Located, PathMatch, Route, RouteMatch};
use crate::config::source::Span;
use crate::config::suggest;

/// Adds to `diagnostics` what does not fit together in `config`, and puts all of them into the file's order.
pub fn check(config: &Config, diagnostics: &mut Diagnostics) {
    if diagnostics.is_unreadable(Section::File) {
        return;
    }
    references(config, diagnostics);
    route_names(config, diagnostics);
    addresses(config, diagnostics);
    rules(config, diagnostics);
    reachable(config, diagnostics);
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
    for forward in of_listeners.chain(config.routes.iter().map(|route| &route.forward)) {
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

/// Who has an address, and where that is written.
type Taken = (String, Located<SocketAddr>);

/// Two sockets cannot have one address, nor a wildcard and a specific address one port.
fn addresses(config: &Config, out: &mut Diagnostics) {
    let listeners = config
        .listeners
        .iter()
        .map(|it| (format!("listener `{}`", it.name.value), it.address));
    let probes = config
        .admin
        .probes
        .map(|it| ("`admin.probes`".to_owned(), it));
    let control = config
        .admin
        .control
        .map(|it| ("`admin.control`".to_owned(), it));
    let mut by_port: HashMap<u16, HashMap<IpAddr, Taken>> = HashMap::new();
    for (who, address) in listeners
        .chain(probes)
        .chain(control)
        .filter(|(_, it)| it.value.port() != 0)
    {
        let taken = by_port.entry(address.value.port()).or_default();
        match overlapping(address.value.ip(), taken) {
            Some((other, at)) => out.push(address_clash(&who, &address, other, at)),
            None => {
                taken.insert(address.value.ip(), (who, address));
            }
        }
    }
}

/// Whoever makes binding `ip` fail. `[::]` takes IPv4 too on most systems.
fn overlapping(ip: IpAddr, taken: &HashMap<IpAddr, Taken>) -> Option<&Taken> {
    let wide =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    let exact = taken
        .get(&ip)
        .or_else(|| taken.get(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    let exact = exact.or_else(|| {
        taken
            .get(&IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            .filter(|_| ip.is_ipv4())
    });
    if exact.is_some() || !ip.is_unspecified() {
        return exact;
    }
    // The lowest, so that the same file always gives the same message.
    let clashes = taken.iter().filter(|(other, _)| wide(ip, **other));
    clashes
        .min_by_key(|(other, _)| **other)
        .map(|(_, taken)| taken)
}

fn address_clash(
    who: &str,
    address: &Located<SocketAddr>,
    other: &str,
    first: &Located<SocketAddr>,
) -> Diagnostic {
    let message = if address.value == first.value {
        format!(
            "{who} and {other} have the same address `{}`",
            address.value
        )
    } else {
        format!(
            "{who} at `{}` and {other} at `{}` share a port",
            address.value, first.value
        )
    };
    // A default stands nowhere: the caret goes to the one that was written.
    let (at, related) = if address.at == Span::default() {
        (first.at, address.at)
    } else {
        (address.at, first.at)
    };
    let diagnostic = Diagnostic::error(message)
        .at(at)
        .label("choose another port")
        .related(related, "already here");
    if address.at == Span::default() || first.at == Span::default() {
        return diagnostic.note(
            "by default `admin.probes` is `0.0.0.0:9900` and `admin.control` is `127.0.0.1:9901`",
        );
    }
    diagnostic
}

/// What a request must have; methods in one order.
type Rule<'c> = (Option<&'c HostMatch>, Option<&'c PathMatch>, Vec<&'c str>);

/// The first route with a rule, and where the rule stands.
type First<'c> = (&'c Route, Span);

/// Of two equal rules on one listener the second would never get a request.
fn rules(config: &Config, out: &mut Diagnostics) {
    let everything = Located::new(RouteMatch::default(), Span::default());
    let mut seen: HashMap<Rule<'_>, Holders<'_>> = HashMap::new();
    for route in &config.routes {
        let matches = if route.matches.is_empty() {
            std::slice::from_ref(&everything)
        } else {
            &route.matches
        };
        for rule in matches {
            let at = if rule.at == Span::default() {
                route.name.at
            } else {
                rule.at
            };
            if let Some((other, other_at)) =
                seen.entry(normal(&rule.value)).or_default().add(route, at)
            {
                out.push(same_rule(route, at, other, other_at));
            }
        }
    }
}

/// The routes that have one rule, by listener.
#[derive(Default)]
struct Holders<'c> {
    of_all: Option<First<'c>>,
    of_any: Option<First<'c>>,
    by_listener: HashMap<&'c str, First<'c>>,
}

impl<'c> Holders<'c> {
    /// Adds `route`, or gives the one that has a listener in common with it.
    fn add(&mut self, route: &'c Route, at: Span) -> Option<First<'c>> {
        let names = || route.listeners.iter().map(|name| name.value.as_str());
        let mine = (route, at);
        let all = serves_all(route);
        let clash = if all {
            self.of_any
        } else {
            names().find_map(|name| self.by_listener.get(name)).copied()
        };
        if let Some(first) = self.of_all.or(clash) {
            return Some(first);
        }
        self.of_any = self.of_any.or(Some(mine));
        if all {
            self.of_all = Some(mine);
        } else {
            self.by_listener.extend(names().map(|name| (name, mine)));
        }
        None
    }
}

fn normal(rule: &RouteMatch) -> Rule<'_> {
    let mut methods: Vec<&str> = rule.methods.iter().map(String::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    // `/` as a prefix takes every path, as does no path at all.
    let path = rule
        .path
        .as_ref()
        .filter(|path| !matches!(path, PathMatch::Prefix(prefix) if prefix == "/"));
    (rule.host.as_ref(), path, methods)
}

fn same_rule(route: &Route, at: Span, other: &Route, other_at: Span) -> Diagnostic {
    let message = if std::ptr::eq(route, other) {
        format!("route `{}` has the same rule twice", route.name.value)
    } else {
        format!(
            "routes `{}` and `{}` match the same requests",
            other.name.value, route.name.value
        )
    };
    Diagnostic::error(message)
        .at(at)
        .label("never reached: change or remove it")
        .related(other_at, "this one takes them all")
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
        listener.forward.is_none() && !routed.contains(listener.name.value.as_str())
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
