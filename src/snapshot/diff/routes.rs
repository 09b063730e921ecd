//! `routes` as lines. Values of headers and bodies may be secrets: what is shown of them is a hash.

use super::{Lines, limits, list, time, word};
use crate::config::content_hash;
use crate::config::model::{
    Action, Body, GRPC_STATUS, HeaderRules, HostMatch, PathMatch, PathRewrite, Redirect,
    ReplacePiece, Respond, Retry, RetryOn, Rewrite, Route, RouteMatch, Split, Sticky, Template,
    ValueMatch,
};

pub(super) fn write_route(lines: &mut Lines, index: usize, route: &Route) {
    let mut line = |key: &str, value: String| {
        lines.insert(format!("routes.{}.{key}", route.name.value), value);
    };
    line("position", (index + 1).to_string());
    let (key, value) = action(&route.action);
    line(key, value);
    line("timeout", route.timeout.map_or("off".into(), time));
    write_retry(&mut line, &route.retry);
    line(
        "listeners",
        list(route.listeners.iter().map(|name| &name.value)),
    );
    limits::write_rate_limits(&route.rate_limits, &mut line);
    limits::write_in_flight(&route.limits, &mut line);
    limits::write_body_bytes(route.body_bytes, &mut line);
    for (number, item) in route.matches.iter().enumerate() {
        line(&format!("match[{number}]"), rule(&item.value));
    }
    line("tunnel", route.tunnel.to_string());
    if let Some(rewrite) = &route.rewrite {
        line("rewrite", rewritten(rewrite));
    }
    for (number, mirror) in route.mirrors.iter().enumerate() {
        let share = f64::from(mirror.hundredths) / 100.0;
        let share = format!("{} {share} %", mirror.upstream.value);
        line(&format!("mirror[{number}]"), share);
    }
    headers("request_headers", &route.request_headers, &mut line);
    headers("response_headers", &route.response_headers, &mut line);
}

fn headers(key: &str, rules: &HeaderRules, line: &mut impl FnMut(&str, String)) {
    let mut fields = |kind: &str, fields: &[(String, Template)]| {
        for (name, value) in fields {
            line(&format!("{key}.{kind}.{name}"), hash(value.text.as_bytes()));
        }
    };
    fields("set", &rules.set);
    fields("add", &rules.add);
    if !rules.remove.is_empty() {
        line(&format!("{key}.remove"), list(&rules.remove));
    }
}

/// `#3f9a2c`
fn hash(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!("#{:06x}", content_hash(&text) & 0xff_ffff)
}

fn action(action: &Action) -> (&'static str, String) {
    match action {
        Action::Forward(name) => ("forward", name.value.clone()),
        Action::Split(split) => ("forward", shares(split)),
        Action::Redirect(redirect) => ("redirect", redirected(&redirect.value)),
        Action::Respond(respond) => ("respond", answer(respond)),
    }
}

fn shares(split: &Split) -> String {
    let shares = split.shares.iter();
    let shares: Vec<String> = shares
        .map(|share| format!("{} {}", share.upstream.value, share.weight))
        .collect();
    let sticky = match &split.sticky {
        None => String::new(),
        Some(Sticky::Header(name)) => format!(", sticky by header {name}"),
        Some(Sticky::Cookie(name)) => format!(", sticky by cookie {name}"),
    };
    format!("{}{sticky}", shares.join(" : "))
}

fn redirected(redirect: &Redirect) -> String {
    let scheme = redirect
        .scheme
        .as_ref()
        .map(|scheme| format!("scheme {}", word(scheme)));
    let host = redirect.host.as_ref().map(|host| format!("host {host}"));
    let port = redirect.port.map(|port| format!("port {port}"));
    let path = redirect.path.as_ref().map(|path| new_path(&path.value));
    let parts = [
        scheme,
        host,
        port,
        path,
        Some(format!("status {}", redirect.status)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn answer(respond: &Respond) -> String {
    let names: Vec<String> = respond
        .headers
        .iter()
        .map(|(name, value)| format!(", {name} {}", hash(value.text.as_bytes())))
        .collect();
    let body = match &respond.body {
        Body::Empty => String::new(),
        Body::Text(text) => format!(", body {}", hash(text.as_bytes())),
        Body::File { path, bytes } => format!(", body {} {}", path.value, hash(bytes)),
    };
    format!("status {}{}{body}", respond.status.value, names.concat())
}

fn rewritten(rewrite: &Rewrite) -> String {
    let host = rewrite.host.as_ref().map(|host| format!("host {host}"));
    let path = rewrite.path.as_ref().map(|path| new_path(&path.value));
    let parts: Vec<String> = [host, path].into_iter().flatten().collect();
    parts.join(", ")
}

fn new_path(path: &PathRewrite) -> String {
    let piece = |piece: &ReplacePiece| match piece {
        ReplacePiece::Text(text) => text.clone(),
        ReplacePiece::Group(number) => format!("${number}"),
    };
    match path {
        PathRewrite::Full(path) => format!("path {path}"),
        PathRewrite::Prefix(path) => format!("prefix {path}/"),
        PathRewrite::Regex(pattern, pieces) => {
            let pieces: Vec<String> = pieces.iter().map(piece).collect();
            format!("path {} to {}", pattern.text, pieces.concat())
        }
    }
}

fn write_retry(line: &mut impl FnMut(&str, String), retry: &Retry) {
    line("retry.attempts", retry.attempts.to_string());
    line("retry.on", list(retry.on.iter().map(retry_on)));
    let per_try = retry.per_try_timeout.as_ref();
    line(
        "retry.per_try_timeout",
        per_try.map_or("off".into(), |it| time(it.value)),
    );
    line("retry.backoff.base", time(retry.backoff.base));
    line("retry.backoff.max", time(retry.backoff.max));
    line("retry.backoff.jitter", word(&retry.backoff.jitter));
    line("retry.max_retry_after", time(retry.max_retry_after));
    line("retry.retry_unsafe", retry.retry_unsafe.value.to_string());
    line("retry.replay_bytes", retry.replay_bytes.to_string());
}

fn retry_on(on: &RetryOn) -> String {
    match on {
        RetryOn::Status(status) => status.to_string(),
        RetryOn::Grpc(code) => GRPC_STATUS
            .get(usize::from(*code))
            .copied()
            .unwrap_or_default()
            .into(),
        other => word(other),
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
        PathMatch::Regex(pattern) => format!("path like {}", pattern.text),
        PathMatch::Prefix(path) => format!("path {path}"),
    });
    let methods = (!rule.methods.is_empty()).then(|| format!("methods {}", list(&rule.methods)));
    let mut parts: Vec<String> = [host, path, methods].into_iter().flatten().collect();
    parts.extend(
        rule.headers
            .iter()
            .map(|(name, value)| format!("header {}", condition(name, value))),
    );
    parts.extend(
        rule.query
            .iter()
            .map(|(name, value)| format!("query {}", condition(name, value))),
    );
    if parts.is_empty() {
        "everything".into()
    } else {
        parts.join(", ")
    }
}

fn condition(name: &str, value: &ValueMatch) -> String {
    match value {
        // It may be a token that only the right callers know.
        ValueMatch::Exact(text) => format!("{name} {}", hash(text.as_bytes())),
        ValueMatch::Regex(pattern) => format!("{name} like {}", hash(pattern.text.as_bytes())),
        ValueMatch::Present => format!("{name} present"),
        ValueMatch::Absent => format!("{name} absent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_a_person_would_say_it_and_no_secret() {
        let shown = rule(&RouteMatch {
            host: Some(HostMatch::Suffix("example.com".into())),
            path: Some(PathMatch::Exact("/a".into())),
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec![("x-key".into(), ValueMatch::Exact("hunter2".into()))],
            query: vec![("q".into(), ValueMatch::Present)],
        });
        assert_eq!(
            shown.replace(&hash(b"hunter2"), "#…"),
            "host *.example.com, path exactly /a, methods [GET, PUT], header x-key #…, query q present"
        );
        assert_eq!(rule(&RouteMatch::default()), "everything");
    }
}
