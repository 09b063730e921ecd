//! What a route does with a request, ready to be done.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};

use super::{ByName, Environment};
use crate::config::model::{self, DEFAULT_REQUEST_TIMEOUT};
use crate::route::header_rules::{HeaderRules, Piece, Value, Variable};
use crate::route::mirror::Mirror;
use crate::route::redirect::{Redirect, Scheme};
use crate::route::rewrite::{self, PathRewrite, Rewrite};
use crate::route::split::{Shares, Split, Sticky};
use crate::route::{Action, Forward, Reply, Target};
use crate::telemetry::mirror::MirrorTelemetry;

/// `None` when an upstream does not exist, which [`crate::snapshot::check`] has refused before.
pub(super) fn compile_action(
    section: &model::Route,
    upstreams: &ByName<'_>,
    environment: &Environment,
) -> Option<Action> {
    let target = match &section.action {
        model::Action::Redirect(redirect) => {
            return Some(Action::Redirect(compile_redirect(&redirect.value)));
        }
        model::Action::Respond(respond) => return Some(Action::Respond(compile_reply(respond))),
        model::Action::Forward(name) => {
            Target::One(Arc::clone(upstreams.get(name.value.as_str())?))
        }
        model::Action::Split(split) => Target::Split(compile_split(split, upstreams)?),
    };
    let mirrors = section.mirrors.iter();
    let mirrors =
        mirrors.filter_map(|mirror| compile_mirror(mirror, section, upstreams, environment));
    Some(Action::Forward(Forward {
        target,
        rewrite: section.rewrite.as_ref().map(compile_rewrite),
        request_headers: compile_headers(&section.request_headers),
        mirrors: mirrors.collect(),
    }))
}

fn compile_split(split: &model::Split, upstreams: &ByName<'_>) -> Option<Split> {
    let weights: Vec<u32> = split.shares.iter().map(|share| share.weight).collect();
    let names = split
        .shares
        .iter()
        .map(|share| share.upstream.value.as_str());
    Some(Split {
        upstreams: names
            .map(|name| upstreams.get(name).map(|upstream| Arc::clone(upstream)))
            .collect::<Option<_>>()?,
        shares: Shares::new(&weights)?,
        sticky: match &split.sticky {
            None => None,
            Some(model::Sticky::Header(name)) => Some(Sticky::Header(name.parse().ok()?)),
            Some(model::Sticky::Cookie(name)) => Some(Sticky::Cookie(name.as_str().into())),
        },
    })
}

fn compile_mirror(
    mirror: &model::Mirror,
    section: &model::Route,
    upstreams: &ByName<'_>,
    environment: &Environment,
) -> Option<Mirror> {
    let upstream = Arc::clone(upstreams.get(mirror.upstream.value.as_str())?);
    let route = &section.name.value;
    let telemetry = MirrorTelemetry::new(&environment.metrics, route, &upstream.name);
    Some(Mirror::new(
        upstream,
        mirror.hundredths,
        section.timeout.unwrap_or(DEFAULT_REQUEST_TIMEOUT),
        Arc::new(telemetry),
    ))
}

fn compile_rewrite(section: &model::Rewrite) -> Rewrite {
    let host = section.host.as_deref();
    Rewrite {
        host: host.and_then(|host| HeaderValue::from_str(host).ok()),
        path: section.path.as_ref().map(|path| compile_path(&path.value)),
    }
}

fn compile_path(section: &model::PathRewrite) -> PathRewrite {
    let piece = |piece: &model::ReplacePiece| match piece {
        model::ReplacePiece::Text(text) => rewrite::Piece::Text(text.as_str().into()),
        model::ReplacePiece::Group(number) => rewrite::Piece::Group(*number),
    };
    match section {
        model::PathRewrite::Full(path) => PathRewrite::Full(path.as_str().into()),
        model::PathRewrite::Prefix(path) => PathRewrite::Prefix(path.as_str().into()),
        model::PathRewrite::Regex(pattern, pieces) => {
            PathRewrite::Regex(pattern.regex.clone(), pieces.iter().map(piece).collect())
        }
    }
}

fn compile_redirect(section: &model::Redirect) -> Redirect {
    Redirect {
        scheme: section.scheme.map(|scheme| match scheme {
            model::Scheme::Http => Scheme::Http,
            model::Scheme::Https => Scheme::Https,
        }),
        host: section.host.as_deref().map(Into::into),
        port: section.port,
        path: section.path.as_ref().map(|path| compile_path(&path.value)),
        status: StatusCode::from_u16(section.status).unwrap_or(StatusCode::FOUND),
    }
}

fn compile_reply(section: &model::Respond) -> Reply {
    let status = StatusCode::from_u16(section.status.value).unwrap_or(StatusCode::OK);
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5: these have none.
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    let body: &[u8] = if bodiless.contains(&status) {
        &[]
    } else {
        section.body.bytes()
    };
    let mut set = values(&section.headers);
    if !body.is_empty() && set.iter().all(|(name, _)| *name != CONTENT_TYPE) {
        set.push((
            CONTENT_TYPE,
            Value::Fixed(HeaderValue::from_static(content_type(body))),
        ));
    }
    Reply {
        status,
        headers: HeaderRules {
            set: set.into(),
            ..HeaderRules::default()
        },
        body: Bytes::copy_from_slice(body),
    }
}

/// What a body looks like.
fn content_type(body: &[u8]) -> &'static str {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
    match (object, std::str::from_utf8(body)) {
        (Ok(_), _) => "application/json",
        (Err(_), Ok(_)) => "text/plain; charset=utf-8",
        (Err(_), Err(_)) => "application/octet-stream",
    }
}

pub(super) fn compile_headers(section: &model::HeaderRules) -> HeaderRules {
    let removed = section.remove.iter();
    HeaderRules {
        remove: removed.filter_map(|name| name.parse().ok()).collect(),
        set: values(&section.set).into(),
        add: values(&section.add).into(),
    }
}

/// The reader has refused what is no name and no value.
fn values(section: &[(String, model::Template)]) -> Vec<(HeaderName, Value)> {
    let fields = section.iter();
    let field = |(name, template): &(String, model::Template)| {
        Some((name.parse().ok()?, value(&template.pieces)?))
    };
    fields.filter_map(field).collect()
}

fn value(pieces: &[model::Piece]) -> Option<Value> {
    if let [model::Piece::Text(text)] = pieces {
        return HeaderValue::from_bytes(text.as_bytes())
            .ok()
            .map(Value::Fixed);
    }
    let piece = |piece: &model::Piece| match piece {
        model::Piece::Text(text) => Piece::Text(text.as_str().into()),
        model::Piece::Variable(variable) => Piece::Variable(compile_variable(*variable)),
    };
    Some(Value::Pieces(pieces.iter().map(piece).collect()))
}

fn compile_variable(variable: model::Variable) -> Variable {
    match variable {
        model::Variable::ClientIp => Variable::ClientIp,
        model::Variable::RequestId => Variable::RequestId,
        model::Variable::Route => Variable::Route,
        model::Variable::Listener => Variable::Listener,
        model::Variable::Upstream => Variable::Upstream,
        model::Variable::Host => Variable::Host,
        model::Variable::Path => Variable::Path,
        model::Variable::Method => Variable::Method,
    }
}
