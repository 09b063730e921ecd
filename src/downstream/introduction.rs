//! Whose connection it is: the socket's, or by the word of a balancer in front (PROXY protocol).
//!
//! Path: [`super::worker`] asks once per connection, before TLS and before the protocol is found, where the listener's
//! `proxy_protocol` says so; the timer of request heads runs. Only trusted proxies are believed. No byte behind the header
//! is taken, and none at all from who sends no header.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::proxy_protocol::{Header, Malformed, parse};
use crate::snapshot::ProxyProtocol;
use crate::telemetry::protocol::Offence;
use crate::upstream::proxy_header::{Ends, SIGNATURE};
use crate::wire::Wire;

/// Bytes that are looked at in one go: more than most headers have.
const AHEAD: usize = 256;

/// Pause before looking again when so little has come that it could still be no header. Rare, as in [`super::sniff`].
const AGAIN: Duration = Duration::from_millis(5);

/// What is known about a client before it says anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Who opened the socket.
    pub(super) address: SocketAddr,
    /// Whether it is one of the trusted proxies.
    pub(super) trusted: bool,
}

/// Why a connection ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It said nothing: a look whether the port is open.
    Silent,
    /// What it did instead.
    For(Offence),
}

/// The addresses that the header at the beginning of `stream` tells; `None`: the socket's are right.
pub(super) async fn read(
    stream: &mut Wire,
    peer: Peer,
    mode: ProxyProtocol,
) -> Result<Option<Ends>, Refused> {
    let required = match mode {
        ProxyProtocol::Off => return Ok(None),
        ProxyProtocol::Optional if !peer.trusted => return Ok(None),
        ProxyProtocol::Required if !peer.trusted => {
            return Err(Refused::For(Offence::ProxyUntrusted));
        }
        ProxyProtocol::Optional => false,
        ProxyProtocol::Required => true,
    };
    let header = take(stream, required).await?;
    Ok(header.and_then(|header| header.ends))
}

/// Takes the header; `None` if there is none and none is needed.
async fn take(stream: &mut Wire, required: bool) -> Result<Option<Header>, Refused> {
    let mut taken = Vec::with_capacity(AHEAD);
    let mut ahead = [0; AHEAD];
    loop {
        let count = stream.peek(&mut ahead).await;
        let count = count.map_err(|_| Refused::Silent)?;
        if count == 0 {
            return Err(match taken.is_empty() {
                true => Refused::Silent,
                false => Refused::For(Offence::ProxyHeader),
            });
        }
        let before = taken.len();
        taken.extend_from_slice(ahead.get(..count).unwrap_or_default());
        let own = match parse(&taken) {
            Ok(Some(header)) => header.length.saturating_sub(before),
            // A header whose end has not come: all of it is the header's.
            Ok(None) if required || taken.len() >= SIGNATURE.len() => count,
            Ok(None) => {
                taken.truncate(before);
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(Malformed::NoHeader) if !required => return Ok(None),
            Err(Malformed::NoHeader) => return Err(Refused::For(Offence::NoProxyHeader)),
            Err(_) => return Err(Refused::For(Offence::ProxyHeader)),
        };
        let seen = ahead.get_mut(..own).unwrap_or_default();
        let read = stream.read_exact(seen).await;
        read.map_err(|_| Refused::Silent)?;
        if let Ok(Some(header)) = parse(&taken) {
            return Ok(Some(header));
        }
    }
}
