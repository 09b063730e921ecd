//! Addresses: an IP and a port, and what people write instead of them.
//!
//! Path: the readers of listeners, upstreams, `admin` and `trusted_proxies` call these. Names are not resolved, but
//! for `localhost`, which is `127.0.0.1` and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::fields::{Field, Fields, items, scalar, wrong, wrong_type};
use super::scalars::positive;
use crate::config::diagnostics::Diagnostics;
use crate::config::model::{Endpoint, Located};
use crate::config::yaml::Value;

/// The keys of an endpoint's long form.
pub(super) const ENDPOINT: &[&str] = &["address", "weight"];

/// What an address is for; decides which examples are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To be bound.
    Bind,
    /// To be called.
    Call,
}

/// `0.0.0.0:8080`
pub(super) fn socket(
    field: &Field<'_>,
    purpose: Use,
    out: &mut Diagnostics,
) -> Option<Located<SocketAddr>> {
    let example = match purpose {
        Use::Bind => "write an IP address and a port: `0.0.0.0:8080`",
        Use::Call => "write an IP address and a port: `127.0.0.1:3000`",
    };
    let text = &scalar(field, "an address", example, out)?.text;
    match parse(text, purpose) {
        Ok(address) => Some(Located::new(address, field.node.at)),
        Err((what, label)) => {
            out.push(wrong(field, what, label));
            None
        }
    }
}

/// An address, or `off`; the outer `None` is a mistake.
pub(super) fn socket_or_off(
    field: &Field<'_>,
    out: &mut Diagnostics,
) -> Option<Option<Located<SocketAddr>>> {
    match &field.node.value {
        Value::Scalar(scalar) if scalar.text == "off" => Some(None),
        _ => socket(field, Use::Bind, out).map(Some),
    }
}

type Mistake = (&'static str, String);

fn parse(text: &str, purpose: Use) -> Result<SocketAddr, Mistake> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip = match purpose {
        Use::Bind => "0.0.0.0",
        Use::Call => "127.0.0.1",
    };
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        let meant = if rest.is_empty() {
            "127.0.0.1:3000"
        } else {
            rest
        };
        return Err(("is a URL", format!("write `{meant}` without `{scheme}://`")));
    }
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err((
            "is a socket in the file system",
            format!("only IP addresses are served yet: `{ip}:8080`"),
        ));
    }
    if let Ok(alone) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err((
            "has no port",
            format!("write `{}`", SocketAddr::new(alone, 8080)),
        ));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return match text.parse::<u16>() {
            Ok(port) => Err(("has no IP address", format!("write `{ip}:{port}`"))),
            Err(_) => Err((
                "is not an address",
                format!("write an IP address and a port: `{ip}:8080`"),
            )),
        };
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err((
            "has no port from 0 to 65535 behind the last colon",
            format!("write `{ip}:8080`"),
        ));
    };
    named(host, port, ip)
}

/// What stands before the port and is no IP address in the right form.
fn named(host: &str, port: u16, ip: &str) -> Result<SocketAddr, Mistake> {
    match host {
        "localhost" => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        "" | "*" => Err(("has no IP address", format!("write `{ip}:{port}`"))),
        _ if host.parse::<Ipv6Addr>().is_ok() => Err((
            "is not clear: an IPv6 address needs brackets",
            format!("write `\"[{host}]:{port}\"`"),
        )),
        _ if host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            Err((
                "is not an IP address",
                "write four numbers from 0 to 255".to_owned(),
            ))
        }
        _ => Err((
            "is a name",
            "names are not resolved yet; write an IP address".to_owned(),
        )),
    }
}

/// `endpoints`; what is wrong with one does not hide the others.
pub(super) fn endpoints(
    field: &Field<'_>,
    out: &mut Diagnostics,
) -> Option<Vec<Located<Endpoint>>> {
    let example = match &field.node.value {
        Value::Scalar(scalar) if scalar.shown.is_none() => format!(
            "write `[{}]`",
            crate::config::diagnostics::shown(&scalar.text)
        ),
        _ => "write `[127.0.0.1:3000]`".to_owned(),
    };
    let nodes = items(field, &example, out)?;
    if nodes.is_empty() {
        out.push(wrong(
            field,
            "is empty",
            "name at least one endpoint: `[127.0.0.1:3000]`",
        ));
        return None;
    }
    let mut first_at = std::collections::HashMap::new();
    let mut endpoints = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let field = Field {
            node,
            path: format!("{}[{index}]", field.path),
        };
        let Some(endpoint) = endpoint(&field, out) else {
            continue;
        };
        match first_at.insert(endpoint.value.address, endpoint.at) {
            None => endpoints.push(endpoint),
            Some(first) => out.push(
                crate::config::Diagnostic::error(format!(
                    "the endpoint `{}` stands here twice",
                    endpoint.value.address
                ))
                .at(endpoint.at)
                .label("remove it, or give one of them a `weight`")
                .related(first, "first written here"),
            ),
        }
    }
    Some(endpoints)
}

fn endpoint(field: &Field<'_>, out: &mut Diagnostics) -> Option<Located<Endpoint>> {
    const FORMS: &str = "write `127.0.0.1:3000` or `{ address: 127.0.0.1:3000, weight: 2 }`";
    let (address, weight) = match &field.node.value {
        Value::Scalar(_) => (socket(field, Use::Call, out), None),
        Value::Mapping(_) => {
            let fields = Fields::open(field, ENDPOINT, FORMS, out)?;
            let weight = fields.read("weight", out, |field, out| positive(field, 256, out));
            let reader = |field: &Field<'_>, out: &mut Diagnostics| socket(field, Use::Call, out);
            (
                fields.required(("address", "127.0.0.1:3000"), field.node.at, out, reader),
                weight,
            )
        }
        _ => {
            wrong_type(field, "an address or a mapping", FORMS, out);
            return None;
        }
    };
    let address = address?;
    if address.value.port() == 0 {
        let at_field = Field {
            node: field.node,
            path: field.path.clone(),
        };
        out.push(
            wrong(
                &at_field,
                "has port 0, which nobody answers",
                "write the port of the app",
            )
            .at(address.at),
        );
        return None;
    }
    let weight = weight.unwrap_or(std::num::NonZeroU32::MIN);
    Some(Located::new(
        Endpoint {
            address: address.value,
            weight,
        },
        address.at,
    ))
}

/// `trusted_proxies`
pub(super) fn networks(field: &Field<'_>, out: &mut Diagnostics) -> Option<Vec<IpNet>> {
    let nodes = items(field, "write `[10.0.0.0/8]`, or `[]` to trust nobody", out)?;
    let each = nodes.iter().enumerate().filter_map(|(index, node)| {
        let field = Field {
            node,
            path: format!("{}[{index}]", field.path),
        };
        let text = &scalar(
            &field,
            "a network",
            "write `10.0.0.0/8` or one IP address",
            out,
        )?
        .text;
        let network = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        if network.is_none() {
            out.push(wrong(
                &field,
                "is not a network",
                "write `10.0.0.0/8` or one IP address",
            ));
        }
        network.map(|network| network.trunc())
    });
    Some(each.collect())
}

/// What `trusted_proxies` is if it is not written: this host.
pub(super) fn loopback() -> Vec<IpNet> {
    let v4 = IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
    let v6 = IpNet::new(Ipv6Addr::LOCALHOST.into(), 128);
    [v4, v6].into_iter().flatten().collect()
}
