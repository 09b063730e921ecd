//! The PROXY protocol: whose connection it is, told by the balancer in front in the connection's first bytes.
//!
//! Path: `super::introduction` asks, before the protocol is found.
//!
//! Pure: bytes in, an address out. Both versions of the specification (HAProxy, `proxy-protocol.txt`, 2020) are read: the
//! line of version 1 (§2.1) and the binary header of version 2 (§2.2), whose extensions are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::upstream::proxy_header::{Ends, SIGNATURE};

/// The longest line of version 1, with its end (§2.1).
const MAX_LINE: usize = 107;

/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// The longest header of version 2 that is waited for; real ones with certificates' names in them are far shorter.
const MAX_BINARY: usize = 4096;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is; `None` if the sender speaks for itself (`LOCAL`), or cannot tell (`UNKNOWN`, `UNSPEC`, unix
    /// sockets).
    pub ends: Option<Ends>,
    /// Bytes of the header; what follows is the client's.
    pub length: usize,
}

/// Why what came is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It begins otherwise.
    #[error("it does not begin like a PROXY header")]
    NoHeader,
    /// A line that is not as it must be.
    #[error("the line of version 1 is malformed")]
    Line,
    /// A binary header that is not as it must be.
    #[error("the header of version 2 is malformed")]
    Binary,
    /// Longer than is waited for.
    #[error("the header is too long")]
    TooLong,
}

/// Reads a header from the beginning of `bytes`; `None` if its end has not come yet.
///
/// # Errors
///
/// When no further bytes could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, b"PROXY ") {
        line(bytes)
    } else {
        Err(Malformed::NoHeader)
    }
}

/// Whether `bytes` begins with `start`, as far as it goes.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

fn line(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let seen = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_LINE {
            Err(Malformed::TooLong)
        } else {
            Ok(None)
        };
    };
    let text = seen.get(..end).and_then(|it| std::str::from_utf8(it).ok());
    let text = text.and_then(|it| it.strip_prefix("PROXY "));
    let ends = text.and_then(ends_of_line).ok_or(Malformed::Line)?;
    Ok(Some(Header {
        ends,
        length: end + 2,
    }))
}

/// `TCP4 192.0.2.1 192.0.2.2 56324 443`. What follows `UNKNOWN` is not looked at (§2.1).
fn ends_of_line(text: &str) -> Option<Option<Ends>> {
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = text.split(' ');
    let family = words.next()?;
    let (source, target) = (words.next()?, words.next()?);
    let (port, target_port) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let [source, target] = match family {
        "TCP4" => both::<Ipv4Addr>(source, target)?,
        "TCP6" => both::<Ipv6Addr>(source, target)?,
        _ => return None,
    };
    Some(Some(Ends {
        client: SocketAddr::new(source, port_of(port)?),
        server: SocketAddr::new(target, port_of(target_port)?),
    }))
}

/// Two addresses of one family.
fn both<T: FromStr + Into<IpAddr>>(source: &str, target: &str) -> Option<[IpAddr; 2]> {
    let [source, target] = [source.parse::<T>(), target.parse::<T>()];
    Some([source.ok()?.into(), target.ok()?.into()])
}

/// Digits only, and no zeros before them (§2.1).
fn port_of(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (plain && !padded).then(|| text.parse().ok()).flatten()
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Binary),
    };
    if FIXED + size > MAX_BINARY {
        return Err(Malformed::TooLong);
    }
    let Some(content) = rest.get(..size) else {
        return Ok(None);
    };
    // Whoever speaks for itself may send anything here (§2.2).
    let ends = if local {
        None
    } else {
        ends_of_binary(family, content)?
    };
    Ok(Some(Header {
        ends,
        length: FIXED + size,
    }))
}

fn ends_of_binary(family: u8, content: &[u8]) -> Result<Option<Ends>, Malformed> {
    match family {
        0x11 => ends::<4, Ipv4Addr>(content),
        0x21 => ends::<16, Ipv6Addr>(content),
        // UNSPEC, datagrams and unix sockets: taken, and the connection is its sender's.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(None),
        _ => None,
    }
    .map(Some)
    .ok_or(Malformed::Binary)
}

/// Two addresses of so many bytes, then their ports.
fn ends<const SIZE: usize, T: From<[u8; SIZE]> + Into<IpAddr>>(content: &[u8]) -> Option<Ends> {
    let (client, rest) = content.split_first_chunk::<SIZE>()?;
    let (server, rest) = rest.split_first_chunk::<SIZE>()?;
    let [a, b, c, d] = *rest.first_chunk()?;
    let at = |ip: &[u8; SIZE], port| SocketAddr::new(T::from(*ip).into(), u16::from_be_bytes(port));
    Some(Ends {
        client: at(client, [a, b]),
        server: at(server, [c, d]),
    })
}

#[cfg(test)]
mod tests;
