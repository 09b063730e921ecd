//! Routes that contradict themselves, or could never do what they say.

use std::collections::HashMap;

use super::serves_all;
use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{
    Action, Config, Listener, Located, PathMatch, PathRewrite, Redirect, Respond, Route,
    RouteMatch, Scheme,
};
use crate::route::normalize::{Normalize, normalize};
use crate::snapshot::compile::normalize_rules;

/// Looks at each route by itself.
pub(super) fn routes(config: &Config, out: &mut Diagnostics) {
    let listeners: HashMap<&str, &Listener> = config
        .listeners
        .iter()
        .map(|listener| (listener.name.value.as_str(), listener))
        .collect();
    // Nearly all files have one set of rules for all their listeners.
    let mut all: Vec<Normalize> = Vec::new();
    for listener in &config.listeners {
        let rules = normalize_rules(listener.normalize);
        if !all.contains(&rules) {
            all.push(rules);
        }
    }
    for route in &config.routes {
        let own: Vec<Normalize>;
        let rules = if serves_all(route) {
            &all
        } else {
            let names = route.listeners.iter().map(|name| name.value.as_str());
            let found = names.filter_map(|name| listeners.get(name));
            own = found
                .map(|listener| normalize_rules(listener.normalize))
                .collect();
            &own
        };
        comparable(route, rules, out);
        match &route.action {
            Action::Redirect(redirect) => {
                prefixes(route, redirect.value.path.as_ref(), out);
                loops(route, redirect, out);
            }
            Action::Respond(respond) => bodiless(respond, out),
            Action::Forward(_) | Action::Split(_) => {
                let rewrite = route.rewrite.as_ref();
                prefixes(
                    route,
                    rewrite.and_then(|rewrite| rewrite.path.as_ref()),
                    out,
                );
            }
        }
    }
}

/// A path is compared in its normal form: one that is written otherwise is never met.
fn comparable(route: &Route, rules: &[Normalize], out: &mut Diagnostics) {
    for item in &route.matches {
        let Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) = &item.value.path else {
            continue;
        };
        let told = rules
            .iter()
            .find_map(|rules| match normalize(path, *rules) {
                Ok(None) => None,
                Ok(Some(normal)) => Some((
                    format!("requests for it are compared as `{}`", normal.path),
                    format!("write `{}`", normal.path),
                )),
                Err(why) => Some((
                    format!("such requests are refused: {why}"),
                    "write another path, or change `normalize` of the listener".to_owned(),
                )),
            });
        if let Some((why, label)) = told {
            let message = format!(
                "route `{}` can never match the path `{path}`",
                route.name.value
            );
            out.push(
                Diagnostic::error(message)
                    .at(item.at)
                    .label(label)
                    .note(why),
            );
        }
    }
}

/// A prefix can be replaced only where one is matched.
fn prefixes(route: &Route, path: Option<&Located<PathRewrite>>, out: &mut Diagnostics) {
    let Some(Located {
        value: PathRewrite::Prefix(_),
        at,
    }) = path
    else {
        return;
    };
    let other = |item: &&Located<RouteMatch>| {
        matches!(
            item.value.path,
            Some(PathMatch::Exact(_) | PathMatch::Regex(_))
        )
    };
    if let Some(item) = route.matches.iter().find(other) {
        let message = format!(
            "route `{}` replaces a prefix, but matches a path that has none",
            route.name.value
        );
        out.push(
            Diagnostic::error(message)
                .at(*at)
                .label("write `full`, or match a `prefix`")
                .related(item.at, "this one"),
        );
    }
}

/// A redirect to what the same route takes again.
fn loops(route: &Route, redirect: &Located<Redirect>, out: &mut Diagnostics) {
    let to = &redirect.value;
    let elsewhere = to.port.is_some() || to.scheme == Some(Scheme::Https);
    let again = |item: &RouteMatch| {
        let same_host = match (&to.host, &item.host) {
            (None, _) | (Some(_), None) => true,
            (Some(host), Some(own)) => own.takes(host),
        };
        let conditions = !item.headers.is_empty() || !item.query.is_empty();
        same_host && !conditions && path_again(to.path.as_ref().map(|path| &path.value), item)
    };
    let everything = RouteMatch::default();
    let looping = if route.matches.is_empty() {
        again(&everything)
    } else {
        route.matches.iter().any(|item| again(&item.value))
    };
    if looping && !elsewhere {
        let message = format!("route `{}` redirects to itself", route.name.value);
        out.push(
            Diagnostic::warning(message)
                .at(redirect.at)
                .label("name another scheme, host, port or path")
                .note("clients give up after some twenty turns"),
        );
    }
}

/// Whether the new path is taken by the match that has taken the old one.
fn path_again(new: Option<&PathRewrite>, item: &RouteMatch) -> bool {
    let new = match new {
        None => return true,
        Some(PathRewrite::Full(path)) => path.as_str(),
        Some(PathRewrite::Prefix(path)) if path.is_empty() => "/",
        Some(PathRewrite::Prefix(path)) => path.as_str(),
        Some(PathRewrite::Regex(..)) => return false,
    };
    match &item.path {
        None => true,
        Some(PathMatch::Exact(path)) => path == new,
        Some(PathMatch::Regex(pattern)) => pattern.regex.is_match(new),
        Some(PathMatch::Prefix(prefix)) => {
            let rest = new.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

/// Some statuses have no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
fn bodiless(respond: &Respond, out: &mut Diagnostics) {
    let status = respond.status.value;
    if [204, 205, 304].contains(&status) && !respond.body.bytes().is_empty() {
        out.push(
            Diagnostic::warning(format!("an answer with status {status} has no body"))
                .at(respond.status.at)
                .label("remove `body`, which is not sent, or write another status"),
        );
    }
}
