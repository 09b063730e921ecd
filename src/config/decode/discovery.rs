//! `upstreams.*.discovery`, `dns`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Discovery, Dns, DnsFamily};
use super::fields::{Fields, Item};
use super::{keys, scalars};

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// Reads `discovery`.
pub(super) fn discovery(item: Item<'_>, out: &mut Diagnostics) -> Option<Discovery> {
    let fields = Fields::of(item, keys::DISCOVERY, out)?;
    let file = fields.required("file", "endpoints.yaml", out)?;
    let file = scalars::text(&file, "a path", "write `file: PATH`", out)?;
    Some(Discovery { file })
}

/// Reads `dns`.
pub(super) fn dns(item: Item<'_>, dns: &mut Dns, out: &mut Diagnostics) {
    let Some(fields) = Fields::of(item, keys::DNS, out) else {
        return;
    };
    if let Some(item) = fields.get("servers")
        && let Some(items) = item.items("addresses", "write a list: `[10.96.0.10]`", out)
    {
        dns.servers = items.iter().filter_map(|item| server(item, out)).collect();
    }
    let words = [
        ("any", DnsFamily::Any),
        ("v4", DnsFamily::V4),
        ("v6", DnsFamily::V6),
    ];
    if let Some(read) = fields
        .get("family")
        .and_then(|item| scalars::word(&item, &words, out))
    {
        dns.family = read;
    }
    let range = scalars::MIN_TIME..=Duration::from_secs(60);
    let timeout = fields
        .get("timeout")
        .and_then(|item| scalars::duration(&item, range, out));
    dns.timeout = timeout.unwrap_or(dns.timeout);
}

/// `10.96.0.10`, or with a port.
fn server(item: &Item<'_>, out: &mut Diagnostics) -> Option<SocketAddr> {
    let hint = "write `10.96.0.10` or `10.96.0.10:53`";
    let found = scalars::scalar(item, "an IP address", hint, out)?;
    let text = found.value();
    let alone = text.parse::<IpAddr>().ok();
    let alone = alone.map(|ip| SocketAddr::new(ip, DNS_PORT));
    let with_port = text.parse::<SocketAddr>().ok();
    let server = alone.or(with_port.filter(|server| server.port() != 0));
    if server.is_none() {
        let message = format!("{} of {} is not an IP address", found.words(), item.title());
        out.push(
            Diagnostic::error(message)
                .at(item.at())
                .label(hint)
                .note("nobody could be asked for the address of the one to ask"),
        );
    }
    server
}
