//! `listeners.*.protocol`

/// What the clients of a listener speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2, told apart by their first bytes. The default.
    #[default]
    Http,
    /// Anything: bytes go both ways, unread.
    Tcp,
}

/// `upstreams.*.proxy_protocol`: the header that begins each connection to an endpoint. For TCP listeners only: a
/// connection of HTTP is shared by clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeaderVersion {
    /// `v1`: a line of text.
    V1,
    /// `v2`: binary.
    V2,
}

/// `listeners.*.proxy_protocol`: whether connections begin with a header that tells whose they are. Only
/// `trusted_proxies` are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// `off`: no. The default.
    #[default]
    Off,
    /// `optional`: those of trusted proxies may.
    Optional,
    /// `required`: all must, and only trusted proxies may connect.
    Required,
}
