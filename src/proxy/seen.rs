//! Which of the fields that matter here a message has.
//!
//! Path: [`super::headers`] asks once per message, instead of looking each field up: most messages have few of them,
//! and a look-up that finds nothing costs as much as one that does.

use http::HeaderMap;
use http::header::HeaderName;

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    fields: u16,
    repeated: bool,
}

/// One of the fields, or a group of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Field {
    /// `Connection`
    Connection = 1,
    /// `Keep-Alive`
    KeepAlive = 2,
    /// `Proxy-Connection`
    ProxyConnection = 4,
    /// `TE`
    Te = 8,
    /// `Transfer-Encoding`
    TransferEncoding = 16,
    /// `Upgrade`
    Upgrade = 32,
    /// `Expect`
    Expect = 64,
    /// `Content-Length`
    ContentLength = 128,
    /// `Host`
    Host = 256,
    /// `X-Request-Id`
    RequestId = 512,
    /// `Forwarded`, or one of `X-Forwarded-…`
    Claim = 1024,
    /// `grpc-timeout`
    GrpcTimeout = 2048,
    /// `grpc-status`
    GrpcStatus = 4096,
    /// `traceparent`, `tracestate`, `b3`, or one of `X-B3-…`
    Trace = 8192,
}

impl Seen {
    /// Looks at the name of every field of `headers`, once.
    pub fn of(headers: &HeaderMap) -> Self {
        let fields = headers.keys().filter_map(field);
        Self {
            fields: fields.fold(0, |seen, field| seen | field as u16),
            repeated: headers.len() > headers.keys_len(),
        }
    }

    /// Whether `field` is among them.
    pub fn has(self, field: Field) -> bool {
        self.fields & field as u16 != 0
    }

    /// Whether a name, any name, occurs more than once.
    pub fn any_repeated(self) -> bool {
        self.repeated
    }
}

fn field(name: &HeaderName) -> Option<Field> {
    Some(match name.as_str() {
        "connection" => Field::Connection,
        "keep-alive" => Field::KeepAlive,
        "proxy-connection" => Field::ProxyConnection,
        "te" => Field::Te,
        "transfer-encoding" => Field::TransferEncoding,
        "upgrade" => Field::Upgrade,
        "expect" => Field::Expect,
        "content-length" => Field::ContentLength,
        "host" => Field::Host,
        "x-request-id" => Field::RequestId,
        "forwarded" => Field::Claim,
        "grpc-timeout" => Field::GrpcTimeout,
        "grpc-status" => Field::GrpcStatus,
        "traceparent" | "tracestate" | "b3" => Field::Trace,
        name if name.starts_with("x-forwarded-") => Field::Claim,
        name if name.starts_with("x-b3-") => Field::Trace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_seen() {
        let mut headers = HeaderMap::new();
        for name in ["host", "x-forwarded-port", "te", "x-other"] {
            headers.insert(name, http::HeaderValue::from_static("a"));
        }
        let seen = Seen::of(&headers);
        assert!(seen.has(Field::Host) && seen.has(Field::Claim) && seen.has(Field::Te));
        assert!(!seen.has(Field::Connection) && !seen.has(Field::RequestId));
    }
}
