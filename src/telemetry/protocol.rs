//! How clients broke the protocol.
//!
//! Path: `downstream` and `proxy::headers` name what they met, once for each request or connection refused for it; handles
//! are resolved by `snapshot`. The names are a closed list.

use prometheus::{IntCounter, IntCounterVec};

use super::families::Families;

/// The family of the offences.
#[derive(Debug)]
pub(super) struct ProtocolFamilies {
    errors: IntCounterVec,
}

impl ProtocolFamilies {
    pub(super) fn new(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            errors: families.counters(
                "outrigger_downstream_protocol_errors_total",
                "Requests refused and connections closed because a client broke the protocol, by reason",
                &["direction", "listener", "reason"],
            )?,
        })
    }

    /// Resolves the handles of a listener.
    pub(super) fn listener(&self, direction: &str, listener: &str) -> ProtocolMetrics {
        ProtocolMetrics {
            errors: Offence::ALL.map(|offence| {
                self.errors
                    .with_label_values(&[direction, listener, offence.as_str()])
            }),
        }
    }
}

/// The handles of one listener.
#[derive(Debug, Clone)]
pub struct ProtocolMetrics {
    errors: [IntCounter; Offence::ALL.len()],
}

impl ProtocolMetrics {
    /// Counts one offence.
    pub fn count(&self, offence: Offence) {
        self.errors[offence as usize].inc();
    }
}

macro_rules! offences {
    ($($(#[$doc:meta])* $name:ident = $reason:literal, $message:literal;)*) => {
        /// What a client did that the protocol does not allow; the label `reason`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Offence { $($(#[$doc])* $name,)* }

        impl Offence {
            /// Every value, in the order of the handles' array.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// What the client is told.
            pub fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

offences! {
    /// Method, target or version are none.
    RequestLine = "request_line", "the request line is not valid HTTP";
    /// The first line is that of another protocol.
    NotHttp = "not_http", "this is not HTTP";
    /// A field is none: bad characters, a space before the colon, a folded line.
    HeaderLine = "header_line", "a header line is not valid HTTP";
    /// A line ends with LF alone (RFC 9112 §2.2 lets us refuse it).
    BareLf = "bare_lf", "a line of the request's head does not end with CR LF";
    /// More lines or bytes than a head may have.
    HeadTooLarge = "head_too_large", "the request's head is too large";
    /// The target is longer than any may be.
    TargetTooLong = "target_too_long", "the request's target is too long";
    /// `Content-Length` is no number, or several ones.
    Length = "content_length", "`Content-Length` is not one number";
    /// More than one `Content-Length`, even if they agree.
    SeveralLengths = "several_content_lengths", "the request has more than one `Content-Length`";
    /// `Transfer-Encoding` and `Content-Length` (RFC 9112 §6.1).
    BothFramings = "length_and_coding", "the request has both `Transfer-Encoding` and `Content-Length`";
    /// `Transfer-Encoding` is not `chunked` and nothing else.
    Coding = "transfer_encoding", "`Transfer-Encoding` must be `chunked` and nothing else";
    /// A chunk's size, or what follows its data, is not valid.
    Chunk = "chunk", "a chunk of the request's body is not valid HTTP";
    /// HTTP/1.1 without `Host`.
    NoHost = "no_host", "the request names no host; HTTP/1.1 needs a `Host`";
    /// More than one `Host`.
    SeveralHosts = "several_hosts", "the request has more than one `Host`";
    /// `Host` is no host with an optional port.
    Host = "host", "`Host` is not a host name";
    /// `Host` and `:authority` differ (RFC 9113 §8.3.1).
    HostConflict = "host_conflict", "`Host` and `:authority` name different hosts";
    /// Streams reset as soon as they are opened.
    RapidReset = "rapid_reset", "streams are reset as fast as they are opened";
    /// Header blocks that do not end.
    ContinuationFlood = "continuation_flood", "a header block does not end";
    /// Frames that do nothing: PING, SETTINGS, PRIORITY, empty DATA, unknown ones.
    FrameFlood = "frame_flood", "too many frames that do nothing";
    /// A header of the PROXY protocol that is none.
    ProxyHeader = "proxy_header", "the PROXY header is not valid";
    /// No header of the PROXY protocol where one is required.
    NoProxyHeader = "no_proxy_header", "the connection does not begin with a PROXY header";
    /// A client that is no trusted proxy, where a header of the PROXY protocol is required.
    ProxyUntrusted = "proxy_untrusted", "only trusted proxies may connect here";
    /// Another breach of HTTP/2.
    Http2 = "http2", "the connection broke HTTP/2";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offence_has_a_name_of_its_own_and_its_place() {
        let mut names: Vec<_> = Offence::ALL.iter().map(|it| it.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Offence::ALL.len());
        for (place, offence) in Offence::ALL.into_iter().enumerate() {
            assert_eq!(offence as usize, place);
        }
    }
}
