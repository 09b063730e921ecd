//! The header of the PROXY protocol that begins a connection to an endpoint: whose connection it is.
//!
//! Path: `proxy::tcp` writes that of its client, [`super::health`] one that speaks for the proxy itself. Pure: addresses in,
//! bytes out, in both versions of the specification (HAProxy, `proxy-protocol.txt`, 2020). Its reader is in `downstream`.

use std::net::{IpAddr, SocketAddr};

/// The first bytes of version 2.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who opened it.
    pub client: SocketAddr,
    /// The address that was asked for.
    pub server: SocketAddr,
}

/// How the header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A line of text (§2.1).
    V1,
    /// Binary (§2.2).
    V2,
}

impl ProxyHeader {
    /// For a client; `None`: it has no addresses, as on a unix socket.
    pub fn of(self, ends: Option<Ends>) -> Vec<u8> {
        let Some((client, server)) = ends.map(of_one_family) else {
            return match self {
                Self::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
                Self::V2 => binary(0x21, 0x00, &[]),
            };
        };
        match self {
            Self::V1 => {
                let family = if client.is_ipv4() { 4 } else { 6 };
                let (from, to) = (client.ip(), server.ip());
                let (port, to_port) = (client.port(), server.port());
                format!("PROXY TCP{family} {from} {to} {port} {to_port}\r\n").into_bytes()
            }
            Self::V2 => {
                let family = if client.is_ipv4() { 0x11 } else { 0x21 };
                binary(0x21, family, &content(client, server))
            }
        }
    }

    /// For a connection that is nobody's but the proxy's own.
    pub fn own(self) -> Vec<u8> {
        match self {
            // Version 1 has no other word for it.
            Self::V1 => self.of(None),
            Self::V2 => binary(0x20, 0x00, &[]),
        }
    }
}

/// A header has room for one family: an IPv4 address beside an IPv6 one is written as such (RFC 4291 §2.5.5.2).
fn of_one_family(ends: Ends) -> (SocketAddr, SocketAddr) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (client, server) = (plain(ends.client), plain(ends.server));
    if client.is_ipv4() == server.is_ipv4() {
        return (client, server);
    }
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    (wide(client), wide(server))
}

fn content(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut content = Vec::with_capacity(36);
    for end in [client, server] {
        match end.ip() {
            IpAddr::V4(ip) => content.extend(ip.octets()),
            IpAddr::V6(ip) => content.extend(ip.octets()),
        }
    }
    content.extend(client.port().to_be_bytes());
    content.extend(server.port().to_be_bytes());
    content
}

fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    // At most 36.
    let size = u16::try_from(content.len()).unwrap_or_default();
    header.extend(size.to_be_bytes());
    header.extend(content);
    header
}
