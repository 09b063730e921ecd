//! What the errors of an HTTP/2 connection mean, which hyper shows only as what lies below its own.
//!
//! Path: [`super::Stream`] asks whether a request can be sent again; `proxy` who broke the protocol.

use std::error::Error;

/// Whether the peer has promised that the app has seen nothing of a request (RFC 9113 §8.7): it refused the stream, or
/// said good-bye with a lower one as the last that it deals with.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    reason(error).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    })
}

/// Whether an endpoint broke the protocol, as far as this side or the error code tells.
pub fn is_protocol_error(error: &hyper::Error) -> bool {
    reason(error).is_some_and(|error| {
        matches!(
            error.reason(),
            Some(
                h2::Reason::PROTOCOL_ERROR
                    | h2::Reason::FRAME_SIZE_ERROR
                    | h2::Reason::FLOW_CONTROL_ERROR
                    | h2::Reason::COMPRESSION_ERROR
            )
        )
    })
}

/// What HTTP/2 says. hyper does not show it; another version of h2 would be another type, as the tests would tell.
pub fn reason(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(error);
        }
        source = error.source();
    }
    None
}
