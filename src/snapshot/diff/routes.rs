//! `routes` as lines.

use super::{Lines, limits, list, time};
use crate::config::model::{HostMatch, PathMatch, Route, RouteMatch};

pub(super) fn write_route(lines: &mut Lines, index: usize, route: &Route) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("routes.{}.{key}", route.name.value), value);
    };
    line("position", (index + 1).to_string());
    line("forward", route.forward.value.clone());
    line("timeout", route.timeout.map_or("off".into(), time));
    line(
        "listeners",
        list(route.listeners.iter().map(|name| &name.value)),
    );
    limits::write_rate_limits(&route.rate_limits, &mut line);
    limits::write_in_flight(&route.limits, &mut line);
    for (number, item) in route.matches.iter().enumerate() {
        line(&format!("match[{number}]"), rule(&item.value));
    }
}

/// `host *.example.com, path /v1, methods [GET]`.
fn rule(rule: &RouteMatch) -> String {
    let host = rule.host.as_ref().map(|host| match host {
        HostMatch::Exact(name) => format!("host {name}"),
        HostMatch::Suffix(name) => format!("host *.{name}"),
    });
    let path = rule.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => format!("path exactly {path}"),
        PathMatch::Prefix(path) => format!("path {path}"),
    });
    let methods = (!rule.methods.is_empty()).then(|| format!("methods {}", list(&rule.methods)));
    let parts: Vec<String> = [host, path, methods].into_iter().flatten().collect();
    if parts.is_empty() {
        "everything".into()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_a_person_would_say_it() {
        let shown = rule(&RouteMatch {
            host: Some(HostMatch::Suffix("example.com".into())),
            path: Some(PathMatch::Exact("/a".into())),
            methods: vec!["GET".into(), "PUT".into()],
        });
        assert_eq!(
            shown,
            "host *.example.com, path exactly /a, methods [GET, PUT]"
        );
        assert_eq!(rule(&RouteMatch::default()), "everything");
    }
}
