//! What concerns the whole process: `admin`, `access_log`, `drain`, `workers`, `trusted_proxies`, headers.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{
    Admin, Config, Drain, ForwardedHeaders, HeaderCase, Located, RequestIds,
};
use super::address;
use super::fields::{Fields, Item, brief};
use super::{access_log, keys, limits, scalars};
use crate::units::place::Place;

/// Reads all of them into `config`.
pub(super) fn process(root: &Fields<'_>, config: &mut Config, out: &mut Diagnostics) {
    if let Some(item) = root.get("admin") {
        admin(item, &mut config.admin, out);
    }
    if let Some(log) = root
        .get("access_log")
        .and_then(|item| access_log::access_log(item, out))
    {
        config.access_log = log;
    }
    if let Some(item) = root.get("drain") {
        drain(item, &mut config.drain, out);
    }
    let workers = root
        .get("workers")
        .and_then(|item| scalars::integer(&item, 1..=512, out));
    config.workers = workers.and_then(NonZeroU32::new);
    if let Some(item) = root.get("memory") {
        config.memory = limits::memory(item, out);
    }
    if let Some(nets) = root
        .get("trusted_proxies")
        .and_then(|item| networks(&item, out))
    {
        config.trusted_proxies = nets;
    }
    headers(root, config, out);
}

/// Those about the fields of heads.
fn headers(root: &Fields<'_>, config: &mut Config, out: &mut Diagnostics) {
    let words = [
        ("x_forwarded", ForwardedHeaders::XForwarded),
        ("forwarded", ForwardedHeaders::Forwarded),
        ("both", ForwardedHeaders::Both),
        ("none", ForwardedHeaders::None),
    ];
    if let Some(read) = root
        .get("forwarded_headers")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        config.forwarded_headers = read;
    }
    let words = [("make", RequestIds::Make), ("keep", RequestIds::Keep)];
    if let Some(read) = root
        .get("request_id")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        config.request_id = read;
    }
    let words = [
        ("lower", HeaderCase::Lower),
        ("preserve", HeaderCase::Preserve),
    ];
    if let Some(read) = root
        .get("header_case")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        config.header_case = read;
    }
    let words = [("on", true), ("off", false)];
    let timing = root.get("server_timing");
    config.server_timing = timing
        .and_then(|item| scalars::word(&item, &words, out))
        .unwrap_or_default();
    if let Some(item) = root.get("deadline_header") {
        config.deadline_header = deadline_header(&item, out);
    }
}

fn deadline_header(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    own_header(item, "write a header's name: `x-request-timeout-ms`", out)
}

/// A header's name, in lower case; one that the proxy needs for itself is a mistake.
pub(super) fn own_header(
    item: &Item<'_>,
    hint: &'static str,
    out: &mut Diagnostics,
) -> Option<String> {
    const TAKEN: [&str; 8] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "upgrade",
        "grpc-timeout",
        "x-request-id",
    ];
    let name = scalars::name(item, "a header's name", hint, out)?;
    let lower = name.value.to_ascii_lowercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if lower.bytes().all(legal) && !TAKEN.contains(&lower.as_str()) {
        return Some(lower);
    }
    let message = format!("{} cannot be `{}`", item.title(), brief(&name.value));
    out.push(Diagnostic::error(message).at(name.at).label(hint));
    None
}

fn admin(item: Item<'_>, admin: &mut Admin, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::ADMIN, out) else {
        return;
    };
    if let Some(read) = fields
        .get("probes")
        .and_then(|item| address_or_off(&item, out))
    {
        admin.probes = read;
    }
    let Some(item) = fields.get("control") else {
        return;
    };
    let Some(read) = address_or_off(&item, out) else {
        return;
    };
    let outside = read.as_ref().and_then(|place| place.value.socket());
    match outside.filter(|address| !address.ip().is_loopback()) {
        Some(address) => out.push(
            Diagnostic::error(format!("`{address}` of `admin.control` can be reached from outside"))
                .at(item.at())
                .label(format!("write `127.0.0.1:{}`", address.port()))
                .note("whoever reaches the control address can change and stop this proxy: it is loopback only"),
        ),
        None => admin.control = read,
    }
}

fn address_or_off(item: &Item<'_>, out: &mut Diagnostics) -> Option<Option<Located<Place>>> {
    if scalars::is_off(item, out)? {
        return Some(None);
    }
    address::place(item, out).map(Some)
}

fn drain(item: Item<'_>, drain: &mut Drain, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::DRAIN, out) else {
        return;
    };
    for (key, target) in [("timeout", &mut drain.timeout), ("delay", &mut drain.delay)] {
        let read = fields
            .get(key)
            .and_then(|item| scalars::duration(&item, Duration::ZERO..=scalars::MAX_TIME, out));
        *target = read.unwrap_or(*target);
    }
}

fn networks(item: &Item<'_>, out: &mut Diagnostics) -> Option<Vec<IpNet>> {
    let items = item.items("networks", "write a list: `[10.0.0.0/8]`", out)?;
    Some(items.iter().filter_map(|item| network(item, out)).collect())
}

/// `10.0.0.0/8`, or one address.
fn network(item: &Item<'_>, out: &mut Diagnostics) -> Option<IpNet> {
    let hint = "write `10.0.0.0/8` or one address";
    let found = scalars::scalar(item, "a network", hint, out)?;
    let text = found.value();
    let net = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    if net.is_none() {
        let message = format!("{} of {} is not a network", found.words(), item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
    }
    net.map(|net| net.trunc())
}
