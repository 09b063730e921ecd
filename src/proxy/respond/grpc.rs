//! What a gRPC caller reads instead of a status and JSON.
//!
//! Path: [`super::respond`] asks for the fields of a "Trailers-Only" answer, [`super::last_words`] for the trailers of an
//! answer that broke. Both are the same fields; HTTP's own status says 200, for gRPC has its own (gRPC over HTTP/2,
//! "Responses").

use std::time::Duration;

use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use super::super::error::ProxyError;
use crate::policy::failure::{Content, content};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Milliseconds after which a client may try again (gRFC A6).
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Longest `grpc-message`, in bytes before it is encoded: clients refuse heads of more than 8 KiB, and each byte may
/// take three.
const MAX_MESSAGE: usize = 1024;

/// What a caller understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Statuses of HTTP.
    Http,
    /// `grpc-status`.
    Grpc,
}

impl Caller {
    /// Who sends a request. gRPC is always a POST, so most others cost no look-up.
    pub fn of(head: &Parts) -> Self {
        if head.method == Method::POST && content(&head.headers) == Content::Grpc {
            Self::Grpc
        } else {
            Self::Http
        }
    }
}

/// Marks a head as gRPC's.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
}

/// Writes how the call ended into `fields`, a head or trailers.
pub(super) fn end(fields: &mut HeaderMap, error: &ProxyError, message: &str) {
    fields.insert(GRPC_STATUS, HeaderValue::from(error.grpc_status()));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        fields.insert(GRPC_MESSAGE, message);
    }
    let wait = error.refusal().and_then(|refusal| refusal.retry_after);
    if let Some(wait) = wait {
        fields.insert(PUSHBACK, HeaderValue::from(whole_millis(wait)));
    }
}

/// Rounded up: whoever comes a moment too early waits a whole round more. Clients read 31 bits.
fn whole_millis(wait: Duration) -> u32 {
    let millis = wait.as_micros().div_ceil(1000);
    u32::try_from(millis)
        .unwrap_or(u32::MAX)
        .min(i32::MAX as u32)
}

/// Printable ASCII as it is, the rest by byte (gRPC over HTTP/2, "Percent-Encoded"). What is too long is cut.
fn percent_encoded(message: &str) -> String {
    let (text, rest) = match message.len() {
        0..=MAX_MESSAGE => (message, ""),
        _ => (
            message
                .get(..message.floor_char_boundary(MAX_MESSAGE))
                .unwrap_or_default(),
            "...",
        ),
    };
    let mut encoded = String::with_capacity(text.len() + rest.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or_default();
                    encoded.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    encoded + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    fn decoded(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            let (byte, length) = match first {
                b'%' => (u8::from_str_radix(&rest[1..3], 16).unwrap(), 3),
                byte => (byte, 1),
            };
            bytes.push(byte);
            rest = &rest[length..];
        }
        bytes
    }

    #[test]
    fn a_message_is_printable_ascii() {
        assert_eq!(
            percent_encoded("a `b`: 5 %, ü\n"),
            "a `b`: 5 %25, %C3%BC%0A"
        );
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let long = percent_encoded(&format!("x{}", "é".repeat(3000)));
        assert!(long.ends_with("%C3%A9..."), "{long}");
        assert!(long.len() <= 3 * MAX_MESSAGE + 3);
        assert_eq!(percent_encoded(&"x".repeat(MAX_MESSAGE)).len(), MAX_MESSAGE);
    }

    #[test]
    fn waits_are_whole_milliseconds_that_are_not_too_short() {
        assert_eq!(whole_millis(Duration::from_micros(1)), 1);
        assert_eq!(whole_millis(Duration::from_millis(1500)), 1500);
        assert_eq!(whole_millis(Duration::MAX), i32::MAX as u32);
    }

    #[test]
    fn a_caller_is_known_by_method_and_content() {
        let of = |method: &str, kind: &str| {
            let request = Request::builder()
                .method(method)
                .header("content-type", kind);
            Caller::of(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(of("POST", "application/grpc"), Caller::Grpc);
        assert_eq!(of("POST", "application/grpc+proto"), Caller::Grpc);
        assert_eq!(of("POST", "application/grpc-web+proto"), Caller::Http);
        assert_eq!(of("POST", "application/json"), Caller::Http);
        assert_eq!(of("GET", "application/grpc"), Caller::Http);
        let bare = Request::new(()).into_parts().0;
        assert_eq!(Caller::of(&bare), Caller::Http);
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_read_again(message in "\\PC{0,200}") {
            let encoded = percent_encoded(&message);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(decoded(&encoded), message.as_bytes());
        }
    }
}
