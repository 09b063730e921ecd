//! Tree → [`Config`]: one small reader a section, all mistakes in one pass.
//!
//! Path: [`super::read`] → here. Readers return `None` for what they have told, and the section goes on with the
//! default: a broken listener, route or upstream still has its name, so that references to it are not mistakes too.
//! What is missing because of a mistake is marked in the [`Diagnostics`], so that `snapshot::check` stays silent.

mod address;
mod fields;
mod listeners;
mod routes;
mod scalars;
mod upstreams;

use self::address::{loopback, networks, socket_or_off};
use self::fields::{Field, Fields, scalar, wrong, wrong_type};
use self::scalars::{Zero, duration, positive, word};
use super::diagnostics::{Diagnostic, Diagnostics, Section};
use super::model::{
    AccessLog, Admin, Config, Drain, ForwardedHeaders, HeaderCase, Located, LogOutput,
};
use super::source::Span;
use super::yaml::{Node, Value};

const TOP: &[&str] = &[
    "listeners",
    "routes",
    "upstreams",
    "admin",
    "access_log",
    "drain",
    "workers",
    "trusted_proxies",
    "forwarded_headers",
    "header_case",
];
const ADMIN: &[&str] = &["probes", "control"];
const ACCESS_LOG: &[&str] = &["file"];
const DRAIN: &[&str] = &["timeout", "delay"];

const FORWARDED_HEADERS: &[(&str, ForwardedHeaders)] = &[
    ("x_forwarded", ForwardedHeaders::XForwarded),
    ("forwarded", ForwardedHeaders::Forwarded),
    ("both", ForwardedHeaders::Both),
    ("none", ForwardedHeaders::None),
];
const HEADER_CASE: &[(&str, HeaderCase)] = &[
    ("lower", HeaderCase::Lower),
    ("preserve", HeaderCase::Preserve),
];

const SMALLEST: &str = "the smallest useful file:\n\n\
    listeners:\n  inbound: { address: 127.0.0.1:8080, forward: app }\n\
    upstreams:\n  app: { endpoints: [127.0.0.1:3000] }";

/// Reads the whole file; `None` is a text that is not YAML, which was told.
pub(super) fn config(tree: Option<&Node>, out: &mut Diagnostics) -> Config {
    let empty = Config {
        trusted_proxies: loopback(),
        ..Config::default()
    };
    let Some(fields) = tree.and_then(|tree| top(tree, out)) else {
        out.mark_unreadable(Section::File);
        return empty;
    };
    mark_mistyped(&fields, out);
    Config {
        listeners: fields
            .read("listeners", out, listeners::all)
            .unwrap_or_default(),
        routes: fields.read("routes", out, routes::all).unwrap_or_default(),
        upstreams: fields
            .read("upstreams", out, upstreams::all)
            .unwrap_or_default(),
        admin: fields.read("admin", out, admin).unwrap_or_default(),
        access_log: fields
            .read("access_log", out, access_log)
            .unwrap_or_default(),
        drain: fields.read("drain", out, drain).unwrap_or_default(),
        workers: fields.read("workers", out, |field, out| positive(field, 512, out)),
        trusted_proxies: fields
            .read("trusted_proxies", out, networks)
            .unwrap_or_else(loopback),
        forwarded_headers: fields
            .read("forwarded_headers", out, |field, out| {
                word(field, FORWARDED_HEADERS, out)
            })
            .unwrap_or_default(),
        header_case: fields
            .read("header_case", out, |field, out| {
                word(field, HEADER_CASE, out)
            })
            .unwrap_or_default(),
    }
}

fn top<'n>(tree: &'n Node, out: &mut Diagnostics) -> Option<Fields<'n>> {
    match &tree.value {
        Value::Null => {
            out.push(Diagnostic::error("this file is empty").help(SMALLEST));
            None
        }
        Value::Mapping(_) => Fields::open(
            &Field {
                node: tree,
                path: String::new(),
            },
            TOP,
            "",
            out,
        ),
        Value::Told => None,
        Value::Scalar(_) | Value::Sequence(_) => {
            let message = "a configuration begins with sections such as `listeners:`";
            out.push(
                Diagnostic::error(message)
                    .at(tree.at)
                    .label("this is something else")
                    .help(SMALLEST),
            );
            None
        }
    }
}

/// A section that is not there may be the one behind an unknown key.
fn mark_mistyped(fields: &Fields<'_>, out: &mut Diagnostics) {
    let sections = [
        ("listeners", Section::Listeners),
        ("routes", Section::Routes),
        ("upstreams", Section::Upstreams),
    ];
    for (key, section) in sections {
        if fields.has_unknown && fields.field(key).is_none() {
            out.mark_unreadable(section);
        }
    }
}

fn admin(field: &Field<'_>, out: &mut Diagnostics) -> Option<Admin> {
    let fields = Fields::open(
        field,
        ADMIN,
        "write `{ probes: 0.0.0.0:9900, control: 127.0.0.1:9901 }`",
        out,
    )?;
    let default = Admin::default();
    Some(Admin {
        probes: fields
            .read("probes", out, socket_or_off)
            .unwrap_or(default.probes),
        control: fields
            .read("control", out, control)
            .unwrap_or(default.control),
    })
}

fn control(
    field: &Field<'_>,
    out: &mut Diagnostics,
) -> Option<Option<Located<std::net::SocketAddr>>> {
    let control = socket_or_off(field, out)?;
    let Some(address) = control.filter(|address| !address.value.ip().is_loopback()) else {
        return Some(control);
    };
    let label = format!("write `127.0.0.1:{}` or `off`", address.value.port());
    out.push(
        wrong(field, "can be reached from other hosts", label)
            .note("whoever reaches this address can change the proxy"),
    );
    None
}

fn access_log(field: &Field<'_>, out: &mut Diagnostics) -> Option<AccessLog> {
    const FORMS: &str = "write `stdout`, `off` or `{ file: PATH }`";
    let output = match &field.node.value {
        Value::Scalar(_) => {
            word(field, &[("stdout", Log::Stdout), ("off", Log::Off)], out).map(LogOutput::from)?
        }
        Value::Mapping(_) => {
            let fields = Fields::open(field, ACCESS_LOG, FORMS, out)?;
            LogOutput::File(fields.required(
                ("file", "access.log"),
                Span::default(),
                out,
                log_file,
            )?)
        }
        _ => {
            wrong_type(field, "a word or a mapping", FORMS, out);
            return None;
        }
    };
    Some(AccessLog { output })
}

/// The words of `access_log`.
#[derive(Clone, Copy)]
enum Log {
    Stdout,
    Off,
}

impl From<Log> for LogOutput {
    fn from(log: Log) -> Self {
        match log {
            Log::Stdout => Self::Stdout,
            Log::Off => Self::Off,
        }
    }
}

fn log_file(field: &Field<'_>, out: &mut Diagnostics) -> Option<Located<String>> {
    let text = &scalar(field, "a path", "write the path of a file", out)?.text;
    if text.is_empty() || text.contains('\0') {
        out.push(wrong(field, "is no path", "write the path of a file"));
        return None;
    }
    Some(Located::new(text.clone(), field.node.at))
}

fn drain(field: &Field<'_>, out: &mut Diagnostics) -> Option<Drain> {
    let fields = Fields::open(field, DRAIN, "write `{ timeout: 30s }`", out)?;
    let default = Drain::default();
    let time = |field: &Field<'_>, out: &mut Diagnostics| duration(field, Zero::Allowed, out);
    Some(Drain {
        timeout: fields.read("timeout", out, time).unwrap_or(default.timeout),
        delay: fields.read("delay", out, time).unwrap_or(default.delay),
    })
}

#[cfg(test)]
mod tests;
