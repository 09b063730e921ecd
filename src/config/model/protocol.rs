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
