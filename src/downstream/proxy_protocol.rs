//! The PROXY protocol: whose connection it is, told by the balancer in front in the connection's first bytes.
//!
//! Path: for [`super::connection`], before the protocol is found; nothing calls it yet, for no listener can ask for it.
//!
//! Pure: bytes in, an address out. Both versions of the specification (HAProxy, `proxy-protocol.txt`, 2020) are read: the
//! line of version 1 (§2.1) and the binary header of version 2 (§2.2), whose extensions are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// The longest line of version 1, with its end (§2.1).
const MAX_LINE: usize = 107;

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// The longest header of version 2 that is waited for; real ones with certificates' names in them are far shorter.
const MAX_BINARY: usize = 4096;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client; `None` if the sender speaks for itself (`LOCAL`), or cannot tell (`UNKNOWN`, `UNSPEC`, unix sockets).
    pub client: Option<SocketAddr>,
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
    let client = text.and_then(client_of_line).ok_or(Malformed::Line)?;
    Ok(Some(Header {
        client,
        length: end + 2,
    }))
}

/// `TCP4 192.0.2.1 192.0.2.2 56324 443` → `192.0.2.1:56324`. What follows `UNKNOWN` is not looked at (§2.1).
fn client_of_line(text: &str) -> Option<Option<SocketAddr>> {
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
    let source = match family {
        "TCP4" => both::<Ipv4Addr>(source, target)?.into(),
        "TCP6" => both::<Ipv6Addr>(source, target)?.into(),
        _ => return None,
    };
    port_of(target_port)?;
    Some(Some(SocketAddr::new(source, port_of(port)?)))
}

/// The first of two addresses of one family.
fn both<T: FromStr>(source: &str, target: &str) -> Option<T> {
    target.parse::<T>().ok()?;
    source.parse().ok()
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
    let client = if local {
        None
    } else {
        client_of_binary(family, content)?
    };
    Ok(Some(Header {
        client,
        length: FIXED + size,
    }))
}

fn client_of_binary(family: u8, content: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let short = Malformed::Binary;
    match family {
        0x11 => {
            let block = content.first_chunk::<12>().ok_or(short)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
            Ok(Some(at(Ipv4Addr::new(a, b, c, d).into(), [high, low])))
        }
        0x21 => {
            let block = content.first_chunk::<36>().ok_or(short)?;
            let source = *block.first_chunk::<16>().ok_or(short)?;
            let [.., high, low, _, _] = *block;
            Ok(Some(at(Ipv6Addr::from(source).into(), [high, low])))
        }
        // UNSPEC, datagrams and unix sockets: taken, and the connection is its sender's.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(None),
        _ => Err(short),
    }
}

fn at(ip: IpAddr, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(ip, u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests;
