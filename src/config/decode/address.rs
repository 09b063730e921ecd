//! `IP:PORT`, and what people write instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{EndpointAddress, Located};
use super::fields::Item;
use super::scalars::scalar;
use crate::units::place::Place;

/// Whether port 0 makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// To bind: 0 takes a free one.
    MayBeZero,
    /// To connect to.
    Given,
}

const HINT: &str = "write `127.0.0.1:8080`";
const ANY_PORT: &str = "write a port from 1 to 65535";

/// An address at `item`.
pub(super) fn socket(
    item: &Item<'_>,
    port: Port,
    out: &mut Diagnostics,
) -> Option<Located<SocketAddr>> {
    let found = scalar(item, "an IP address and a port", HINT, out)?;
    match parse(found.value(), port) {
        Ok(address) => Some(Located::new(address, item.node.at)),
        Err((what, label)) => {
            let message = format!("{} of {} {what}", found.words(), item.title());
            // The remedy repeats what was written, which must not happen with a file's content.
            let label = if found.shown.is_some() {
                HINT.to_owned()
            } else {
                label
            };
            out.push(Diagnostic::error(message).at(item.at()).label(label));
            None
        }
    }
}

/// An address to listen at, or a unix socket, at `item`.
pub(super) fn place(item: &Item<'_>, out: &mut Diagnostics) -> Option<Located<Place>> {
    let found = scalar(item, "an IP address and a port", HINT, out)?;
    if let Some(path) = found.value().strip_prefix("unix:") {
        let place = Place::Unix(unix(path, item, out)?.into());
        return Some(Located::new(place, item.node.at));
    }
    let address = socket(item, Port::MayBeZero, out)?;
    Some(Located::new(Place::Tcp(address.value), address.at))
}

/// An address or a host name, with a port, at `item`.
pub(super) fn endpoint(item: &Item<'_>, out: &mut Diagnostics) -> Option<EndpointAddress> {
    let found = scalar(item, "an address and a port", HINT, out)?;
    if let Some(path) = found.value().strip_prefix("unix:") {
        return unix(path, item, out).map(EndpointAddress::Unix);
    }
    match name(found.value()) {
        Some(name) => Some(name),
        None => socket(item, Port::Given, out).map(|it| EndpointAddress::Socket(it.value)),
    }
}

/// Longest path of a unix socket on Linux, without the byte that ends it (`unix(7)`).
const MAX_PATH: usize = 107;

/// `unix:/run/app.sock`
fn unix(path: &str, item: &Item<'_>, out: &mut Diagnostics) -> Option<PathBuf> {
    let wrong = match path.len() {
        0 => "has no path",
        1..=MAX_PATH if !path.starts_with('/') => "has a path that does not begin with `/`",
        1..=MAX_PATH if path.contains('\0') => "has a path with a NUL in it",
        1..=MAX_PATH => return Some(PathBuf::from(path)),
        _ => "has a longer path than a unix socket may have (107 bytes)",
    };
    let message = format!("{} {wrong}", item.title());
    let label = "write a path: `unix:/run/app.sock`";
    out.push(Diagnostic::error(message).at(item.at()).label(label));
    None
}

/// `app.internal:8080`. `localhost` is an address, not a name to ask for.
fn name(text: &str) -> Option<EndpointAddress> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = host.to_ascii_lowercase();
    let labels = host.strip_suffix('.').unwrap_or(&host);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| matches!(label.len(), 1..=63) && label.bytes().all(legal);
    // What ends in a number would be an IPv4 address, or was meant as one.
    let last = labels.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    let valid = labels.len() <= 253 && !number && labels.split('.').all(label);
    (valid && host != "localhost").then_some(EndpointAddress::Name { host, port })
}

type Mistake = (&'static str, String);

fn parse(text: &str, port: Port) -> Result<SocketAddr, Mistake> {
    let lower = text.to_ascii_lowercase();
    let text = lower.as_str();
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    match local.as_deref().unwrap_or(text).parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 && port == Port::Given => {
            Err(("has port 0", ANY_PORT.to_owned()))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(explain(text, port)),
    }
}

fn explain(text: &str, use_of: Port) -> Mistake {
    if let Some(mistake) = path(text) {
        return mistake;
    }
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        let label = if rest.parse::<SocketAddr>().is_ok() {
            format!("write `{rest}`")
        } else {
            HINT.to_owned()
        };
        return ("is a URL, not an address", label);
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        let host = if text.contains(':') {
            format!("\"[{}]", text.trim_matches(['[', ']']))
        } else {
            text.to_owned()
        };
        let quote = if text.contains(':') { "\"" } else { "" };
        return ("has no port", format!("write `{host}:8080{quote}`"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with(':') {
        return (
            "has no IP address",
            format!("write `127.0.0.1:{}`", text.trim_start_matches(':')),
        );
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return no_port(text, use_of);
    };
    match port.parse::<u16>() {
        Err(_) => return ("has no valid port", ANY_PORT.to_owned()),
        Ok(0) if use_of == Port::Given => return ("has port 0", ANY_PORT.to_owned()),
        Ok(_) => {}
    }
    if host.matches(':').count() > 1 {
        return (
            "is not an IPv6 address and a port",
            "put the address into brackets: `\"[::1]:8080\"`".to_owned(),
        );
    }
    if host
        .split('.')
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return (
            "is not an IP address and a port",
            "an IPv4 address has four numbers from 0 to 255".to_owned(),
        );
    }
    no_address(use_of)
}

/// What is no address because it is a path.
fn path(text: &str) -> Option<Mistake> {
    if text.starts_with('/') {
        let label = format!("write `unix:{text}` for a unix socket");
        return Some(("is a path", label));
    }
    let label = "write an IP address and a port".to_owned();
    let what = "is a unix socket, which cannot be asked for names";
    text.starts_with("unix:").then_some((what, label))
}

/// There is no colon.
fn no_port(text: &str, use_of: Port) -> Mistake {
    if use_of == Port::Given && name(&format!("{text}:8080")).is_some() {
        return ("has no port", format!("write `{text}:8080`"));
    }
    ("is not an IP address and a port", HINT.to_owned())
}

/// There is a port, and before it neither an IP address nor what resembles one.
fn no_address(use_of: Port) -> Mistake {
    match use_of {
        Port::MayBeZero => (
            "holds a host name, which cannot be bound",
            "write an IP address of this host".to_owned(),
        ),
        Port::Given => (
            "holds no IP address and no host name",
            "a host name has letters, digits, `-`, `_` and dots".to_owned(),
        ),
    }
}
