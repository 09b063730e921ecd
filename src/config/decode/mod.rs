//! Tree → [`Config`]: every key, its type, its range, its default.
//!
//! Path: [`super::read`] → here → the model. One file a section. All mistakes are collected in one pass, and a
//! section that holds one still appears under its name, so that references to it stay quiet: a value that could
//! not be read is its default, an unreadable name is empty. What needs both sides of a reference is for
//! `snapshot` to say.

mod access_log;
mod actions;
mod address;
mod circuit_breaker;
mod conditions;
mod discovery;
mod fields;
mod grpc;
mod header_rules;
mod health;
mod http2;
pub(super) mod keys;
mod limits;
mod listeners;
mod matches;
mod outlier;
mod patterns;
mod process;
mod rate_limit;
mod retry;
mod rewrite;
mod routes;
mod scalars;
mod tcp;
mod tls;
mod tracing;
mod unix;
mod upstreams;

use super::diagnostics::{Diagnostics, Section};
use super::model::{Config, Endpoint, Located};
use super::yaml::{Node, Value};
use fields::{Fields, Item};

/// Reads the whole tree.
pub(super) fn config(root: &Node, out: &mut Diagnostics) -> Config {
    let mut config = Config::default();
    let Some(root) = Fields::of(Item::root(root), keys::ROOT, out) else {
        out.mark_unreadable(Section::File);
        return config;
    };
    let sections = [
        ("listeners", Section::Listeners),
        ("routes", Section::Routes),
        ("upstreams", Section::Upstreams),
    ];
    for (_, section) in sections.iter().filter(|(key, _)| root.is_mistyped(key)) {
        out.mark_unreadable(*section);
    }
    if let Some(item) = root.get("listeners") {
        config.listeners = named(&item, Section::Listeners, out, listeners::listener);
    }
    if let Some(item) = root.get("routes") {
        config.routes = routes::routes(&item, out);
    }
    if let Some(item) = root.get("upstreams") {
        config.upstreams = named(&item, Section::Upstreams, out, upstreams::upstream);
    }
    if let Some(item) = root.get("dns") {
        discovery::dns(item, &mut config.dns, out);
    }
    if let Some(item) = root.get("tracing") {
        config.tracing = tracing::tracing(item, out);
    }
    process::process(&root, &mut config, out);
    config
}

/// Reads the whole tree of an endpoints file.
pub(super) fn endpoints(root: &Node, out: &mut Diagnostics) -> Vec<Located<Endpoint>> {
    upstreams::listed(&Item::root(root), out)
}

/// A mapping from names to sections.
fn named<T>(
    item: &Item<'_>,
    section: Section,
    out: &mut Diagnostics,
    read: impl Fn(Located<String>, Item<'_>, &mut Diagnostics) -> T,
) -> Vec<T> {
    if matches!(item.node.value, Value::Null) {
        return Vec::new();
    }
    let Some(entries) = fields::mapping(item, "write `NAME: { … }` lines under it", out) else {
        out.mark_unreadable(section);
        return Vec::new();
    };
    let read_entry = |(key, node): &(Located<String>, Node), out: &mut Diagnostics| {
        scalars::check_name(key, &item.path, out);
        read(key.clone(), item.child(key, node), out)
    };
    entries.iter().map(|entry| read_entry(entry, out)).collect()
}
