//! Two sockets cannot share what only one can have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Config, Located};
use crate::config::source::Span;
use crate::units::place::Place;

/// Who has an address, and where that is written.
type Taken = (String, Located<SocketAddr>);

/// A name, and where whoever has it listens.
type Bound = (String, Located<Place>);

/// Two sockets cannot have one address, nor a wildcard and a specific address one port.
pub(super) fn addresses(config: &Config, out: &mut Diagnostics) {
    let listeners = config
        .listeners
        .iter()
        .map(|it| (format!("listener `{}`", it.name.value), it.address.clone()));
    let probes = config
        .admin
        .probes
        .clone()
        .map(|it| ("`admin.probes`".to_owned(), it));
    let control = config
        .admin
        .control
        .clone()
        .map(|it| ("`admin.control`".to_owned(), it));
    let all: Vec<Bound> = listeners.chain(probes).chain(control).collect();
    paths(&all, out);
    let mut by_port: HashMap<u16, HashMap<IpAddr, Taken>> = HashMap::new();
    let sockets = all.into_iter().filter_map(|(who, place)| {
        let address = place.value.socket()?;
        (address.port() != 0).then_some((who, Located::new(address, place.at)))
    });
    for (who, address) in sockets {
        let taken = by_port.entry(address.value.port()).or_default();
        match overlapping(address.value.ip(), taken) {
            Some((other, at)) => out.push(address_clash(&who, &address, other, at)),
            None => {
                taken.insert(address.value.ip(), (who, address));
            }
        }
    }
}

/// A path is one socket's.
fn paths(all: &[Bound], out: &mut Diagnostics) {
    let mut taken: HashMap<&Path, &Bound> = HashMap::new();
    for bound in all {
        let Place::Unix(path) = &bound.1.value else {
            continue;
        };
        let Some((other, first)) = taken.insert(path, bound) else {
            continue;
        };
        let message = format!(
            "{} and {other} have the same address `{}`",
            bound.0, bound.1.value
        );
        out.push(
            Diagnostic::error(message)
                .at(bound.1.at)
                .label("choose another path")
                .related(first.at, "already here"),
        );
    }
}

/// Whoever makes binding `ip` fail. `[::]` takes IPv4 too on most systems.
fn overlapping(ip: IpAddr, taken: &HashMap<IpAddr, Taken>) -> Option<&Taken> {
    let wide =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    let exact = taken
        .get(&ip)
        .or_else(|| taken.get(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    let exact = exact.or_else(|| {
        taken
            .get(&IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            .filter(|_| ip.is_ipv4())
    });
    if exact.is_some() || !ip.is_unspecified() {
        return exact;
    }
    // The lowest, so that the same file always gives the same message.
    let clashes = taken.iter().filter(|(other, _)| wide(ip, **other));
    clashes
        .min_by_key(|(other, _)| **other)
        .map(|(_, taken)| taken)
}

fn address_clash(
    who: &str,
    address: &Located<SocketAddr>,
    other: &str,
    first: &Located<SocketAddr>,
) -> Diagnostic {
    let message = if address.value == first.value {
        format!(
            "{who} and {other} have the same address `{}`",
            address.value
        )
    } else {
        format!(
            "{who} at `{}` and {other} at `{}` share a port",
            address.value, first.value
        )
    };
    // A default stands nowhere: the caret goes to the one that was written.
    let (at, related) = if address.at == Span::default() {
        (first.at, address.at)
    } else {
        (address.at, first.at)
    };
    let diagnostic = Diagnostic::error(message)
        .at(at)
        .label("choose another port")
        .related(related, "already here");
    if address.at == Span::default() || first.at == Span::default() {
        return diagnostic.note(
            "by default `admin.probes` is `0.0.0.0:9900` and `admin.control` is `127.0.0.1:9901`",
        );
    }
    diagnostic
}
