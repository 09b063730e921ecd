//! What only the whole file can tell: names that do not exist, addresses and rules that stand twice.
//!
//! Path: `cli` and reloads call [`check`] after `config::read` → `snapshot::compile` relies on it. Sections that could
//! not be read are marked in the [`Diagnostics`]; nothing is said about what they might hold.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::config::diagnostics::{Diagnostic, Diagnostics, MAX_SHOWN, Section, shown};
use crate::config::did_you_mean;
use crate::config::model::{Config, Located, Route, RouteMatch};
use crate::config::source::Span;

/// At most this many names are listed in a note.
const MAX_LISTED: usize = 20;

/// A mistyped name is looked for among this many.
const MAX_GUESSED: usize = 1_000;

/// Adds to `diagnostics` what is wrong between the sections of `config`.
pub fn check(config: &Config, diagnostics: &mut Diagnostics) {
    let names = Names::of(config);
    names_twice(config, diagnostics);
    let all_exist = references(config, &names, diagnostics);
    addresses(config, diagnostics);
    rules_twice(config, diagnostics);
    reachability(config, &names, all_exist, diagnostics);
    diagnostics.sort();
}

/// Whether every name that is referred to exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AllExist {
    Yes,
    No,
}

/// The names of the file.
struct Names<'c> {
    upstreams: Vec<&'c str>,
    listeners: Vec<&'c str>,
    known_upstreams: HashSet<&'c str>,
    known_listeners: HashSet<&'c str>,
}

impl<'c> Names<'c> {
    fn of(config: &'c Config) -> Self {
        let upstreams: Vec<&str> = config
            .upstreams
            .iter()
            .map(|upstream| upstream.name.value.as_str())
            .collect();
        let listeners: Vec<&str> = config
            .listeners
            .iter()
            .map(|listener| listener.name.value.as_str())
            .collect();
        let known_upstreams = upstreams.iter().copied().collect();
        let known_listeners = listeners.iter().copied().collect();
        Self {
            upstreams,
            listeners,
            known_upstreams,
            known_listeners,
        }
    }
}

/// All `forward`s that could be read.
fn forwards(config: &Config) -> impl Iterator<Item = &Located<String>> {
    let of_routes = config
        .routes
        .iter()
        .map(|route| &route.forward)
        .filter(|forward| !forward.value.is_empty());
    config
        .listeners
        .iter()
        .filter_map(|listener| listener.forward.as_ref())
        .chain(of_routes)
}

fn references(config: &Config, names: &Names<'_>, out: &mut Diagnostics) -> AllExist {
    let mut all_exist = AllExist::Yes;
    if !out.is_unreadable(Section::Upstreams) {
        for forward in forwards(config)
            .filter(|forward| !names.known_upstreams.contains(forward.value.as_str()))
        {
            all_exist = AllExist::No;
            let unknown = unknown("upstream", forward, &names.upstreams, out);
            out.push(unknown);
        }
    }
    if !out.is_unreadable(Section::Listeners) {
        let wanted = config.routes.iter().flat_map(|route| &route.listeners);
        for listener in
            wanted.filter(|listener| !names.known_listeners.contains(listener.value.as_str()))
        {
            all_exist = AllExist::No;
            let unknown = unknown("listener", listener, &names.listeners, out);
            out.push(unknown);
        }
    }
    all_exist
}

fn unknown(kind: &str, name: &Located<String>, known: &[&str], told: &Diagnostics) -> Diagnostic {
    let message = format!("{kind} `{}` does not exist", shown(&name.value));
    let fallback = || {
        if known.is_empty() {
            format!("add it under `{kind}s`")
        } else {
            "write one of those below".to_owned()
        }
    };
    // A guess costs a pass over the names: none for what is not shown, and not over all names of a huge file.
    let guessed = if told.iter().len() < MAX_SHOWN {
        MAX_GUESSED
    } else {
        0
    };
    let label =
        did_you_mean(&name.value, known.iter().copied().take(guessed)).unwrap_or_else(fallback);
    let diagnostic = Diagnostic::error(message).at(name.at).label(label);
    if known.is_empty() {
        return diagnostic.note(format!("there are no {kind}s in this file"));
    }
    let mut listed: Vec<String> = known
        .iter()
        .take(MAX_LISTED)
        .map(|name| shown(name))
        .collect();
    if known.len() > MAX_LISTED {
        listed.push(format!("and {} more", known.len() - MAX_LISTED));
    }
    diagnostic.note(format!("{kind}s in this file: {}", listed.join(", ")))
}

/// Routes are told apart by name in metrics; so is the `forward` of a listener, under the listener's name.
fn names_twice(config: &Config, out: &mut Diagnostics) {
    let mut routes: HashMap<&str, Span> = HashMap::new();
    let with_forward = config
        .listeners
        .iter()
        .filter(|listener| listener.forward.is_some());
    let listeners: HashMap<&str, Span> = with_forward
        .map(|listener| (listener.name.value.as_str(), listener.name.at))
        .collect();
    for name in config
        .routes
        .iter()
        .map(|route| &route.name)
        .filter(|name| !name.value.is_empty())
    {
        let text = shown(&name.value);
        if let Some(first) = routes.insert(&name.value, name.at) {
            let message = format!("two routes are named `{text}`");
            out.push(
                Diagnostic::error(message)
                    .at(name.at)
                    .label("give it another name")
                    .related(first, "the first one"),
            );
        } else if let Some(listener) = listeners.get(name.value.as_str()) {
            out.push(
                Diagnostic::error(format!(
                    "the route `{text}` is named like a listener that has `forward`"
                ))
                .at(name.at)
                .label("give it another name")
                .related(
                    *listener,
                    "what this listener forwards is counted under its name",
                ),
            );
        }
    }
}

/// No two sockets can be bound to one address; a wildcard covers its port.
fn addresses(config: &Config, out: &mut Diagnostics) {
    let listeners = config.listeners.iter().map(|listener| {
        (
            format!("listener `{}`", shown(&listener.name.value)),
            listener.address,
        )
    });
    let probes = config
        .admin
        .probes
        .map(|address| ("`admin.probes`".to_owned(), address));
    let control = config
        .admin
        .control
        .map(|address| ("`admin.control`".to_owned(), address));
    let mut bound: HashMap<u16, Vec<(String, Located<SocketAddr>)>> = HashMap::new();
    for (name, address) in listeners
        .chain(probes)
        .chain(control)
        .filter(|(_, address)| address.value.port() != 0)
    {
        let on_port = bound.entry(address.value.port()).or_default();
        if let Some((other, first)) = on_port
            .iter()
            .find(|(_, first)| overlap(first.value, address.value))
        {
            out.push(address_twice(&name, address, other, *first));
        }
        on_port.push((name, address));
    }
}

fn address_twice(
    name: &str,
    address: Located<SocketAddr>,
    other: &str,
    first: Located<SocketAddr>,
) -> Diagnostic {
    let what = if address.value == first.value {
        format!("{other} and {name} have the same address {}", address.value)
    } else {
        format!(
            "{other} on {} and {name} on {} overlap",
            first.value, address.value
        )
    };
    let diagnostic = Diagnostic::error(what);
    // The default addresses of `admin` stand nowhere in the file.
    if address.at.is_empty() {
        let key = name.trim_matches('`');
        return diagnostic
            .at(first.at)
            .label("give it another port")
            .note(format!(
                "{} is the default of `{key}`; set `{key}` to move it, or to `off`",
                address.value
            ));
    }
    diagnostic
        .at(address.at)
        .label("give it another port")
        .related(first.at, format!("{other} is here"))
}

/// A wildcard covers its own family; the IPv6 one may also cover IPv4, which depends on the host.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |a: SocketAddr, b: SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

/// Of two equal rules the second would never be used.
fn rules_twice(config: &Config, out: &mut Diagnostics) {
    let mut seen: HashMap<RouteMatch, Vec<(usize, Span)>> = HashMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        for rule in rules(route) {
            let earlier = seen.entry(sorted(rule.value)).or_default();
            let same = earlier
                .iter()
                .find(|(at, _)| share_listener(&config.routes[*at], route));
            if let Some((at, first)) = same {
                out.push(rule_twice(route, rule.at, &config.routes[*at], *first));
            }
            earlier.push((index, rule.at));
        }
    }
}

/// A route without `match` has one rule, which takes everything and stands at its name.
fn rules(route: &Route) -> Vec<Located<RouteMatch>> {
    if route.matches.is_empty() {
        return vec![Located::new(RouteMatch::default(), route.name.at)];
    }
    route.matches.clone()
}

fn sorted(mut rule: RouteMatch) -> RouteMatch {
    rule.methods.sort_unstable();
    rule
}

fn share_listener(a: &Route, b: &Route) -> bool {
    let names = |name: &Located<String>| b.listeners.iter().any(|other| other.value == name.value);
    a.listeners.is_empty() || b.listeners.is_empty() || a.listeners.iter().any(names)
}

fn rule_twice(route: &Route, at: Span, other: &Route, first: Span) -> Diagnostic {
    let [second_name, first_name] = [route, other].map(|route| shown(&route.name.value));
    let message = if std::ptr::eq(route, other) {
        format!("route `{second_name}` has the same rule twice")
    } else if route.matches.is_empty() && other.matches.is_empty() {
        format!("routes `{first_name}` and `{second_name}` both take every request")
    } else {
        format!("routes `{first_name}` and `{second_name}` take the same requests")
    };
    Diagnostic::error(message)
        .at(at)
        .label("change or remove this rule")
        .related(first, "the same rule is here")
}

/// What nobody can reach, and what reaches nothing.
fn reachability(config: &Config, names: &Names<'_>, all_exist: AllExist, out: &mut Diagnostics) {
    if config.listeners.is_empty() && !out.is_unreadable(Section::Listeners) {
        out.push(
            Diagnostic::error("this file has no listeners: nothing would be served")
                .help("add `listeners: { inbound: { address: 0.0.0.0:8080, forward: app } }`"),
        );
    }
    if out.is_unreadable(Section::Routes) || all_exist == AllExist::No {
        return;
    }
    let used: HashSet<&str> = config
        .routes
        .iter()
        .flat_map(|route| &route.listeners)
        .map(|name| name.value.as_str())
        .collect();
    let for_all = config.routes.iter().any(|route| route.listeners.is_empty());
    for listener in &config.listeners {
        let name = &listener.name;
        if !for_all && listener.forward.is_none() && !used.contains(name.value.as_str()) {
            let example = names
                .upstreams
                .first()
                .map_or("app".to_owned(), |name| shown(name));
            let message = format!(
                "listener `{}` takes no requests: it has no `forward`, and no route uses it",
                shown(&name.value)
            );
            out.push(
                Diagnostic::error(message)
                    .at(name.at)
                    .label(format!("add `forward: {example}`, or a route for it")),
            );
        }
    }
    if config.listeners.is_empty() || out.is_unreadable(Section::Listeners) {
        return;
    }
    let used: HashSet<&str> = forwards(config)
        .map(|forward| forward.value.as_str())
        .collect();
    for name in config
        .upstreams
        .iter()
        .map(|upstream| &upstream.name)
        .filter(|name| !used.contains(name.value.as_str()))
    {
        let message = format!("upstream `{}` is never used", shown(&name.value));
        out.push(
            Diagnostic::warning(message)
                .at(name.at)
                .label("forward to it, or remove it"),
        );
    }
}
