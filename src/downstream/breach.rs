//! How a peer broke the protocol, out of the error with which hyper ends its connection.
//!
//! Path: [`super::connection`] asks at the end of a connection that failed; `None` means that the peer just left.

use std::error::Error;

use crate::telemetry::protocol::Offence;

/// What `error` says about the client, whose last frame was of the kind `frame`.
pub fn of(error: &hyper::Error, frame: u8) -> Option<Offence> {
    if let Some(error) = error.source().and_then(|it| it.downcast_ref::<h2::Error>()) {
        return of_http2(error, frame);
    }
    if error.is_parse_too_large() {
        // hyper takes a target that is too long for this, too, and tells them apart in words only.
        return Some(if error.to_string().contains("URI") {
            Offence::TargetTooLong
        } else {
            Offence::HeadTooLarge
        });
    }
    if !error.is_parse() {
        return None;
    }
    let words = error.to_string();
    let kinds = [
        ("content-length", Offence::Length),
        ("transfer-encoding", Offence::Coding),
        ("header", Offence::HeaderLine),
        ("URI too long", Offence::TargetTooLong),
    ];
    let kind = kinds.iter().find(|(word, _)| words.contains(word));
    Some(kind.map_or(Offence::RequestLine, |(_, offence)| *offence))
}

/// Frames (RFC 9113 §6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

fn of_http2(error: &h2::Error, frame: u8) -> Option<Offence> {
    if error.is_io() || error.is_remote() {
        return None;
    }
    if error.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) {
        return Some(Offence::Http2);
    }
    // The library does not say which of its limits it was; the frame does.
    Some(match frame {
        HEADERS | RST_STREAM => Offence::RapidReset,
        CONTINUATION => Offence::ContinuationFlood,
        _ => Offence::FrameFlood,
    })
}
