//! Whether a request that met a stale connection may be sent once more.
//!
//! Path: `proxy::attempt` asks before it sends (to keep what a replay needs) and after the connection broke.
//!
//! An app may close an idle connection in the very moment in which a request is sent on it. What never left is sent
//! again whatever it is. What may have arrived is sent again only if it is idempotent (RFC 9110 §9.2.2), has no body
//! that is gone by now, and the connection had served before: a fresh one that breaks is not stale but refused.

use http::Method;

/// How the request relates to being sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// May be sent again even if it arrived.
    Safe,
    /// May be sent again only if it certainly did not arrive.
    OnlyIfUnsent,
}

/// What a body means for a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestContent {
    /// There is none.
    Empty,
    /// All that was read of it is kept.
    Kept,
    /// It cannot be had again.
    Gone,
}

/// Judges a request by its method and body.
pub fn classify(method: &Method, content: RequestContent) -> Replay {
    match content {
        RequestContent::Empty | RequestContent::Kept if method.is_idempotent() => Replay::Safe,
        RequestContent::Empty | RequestContent::Kept | RequestContent::Gone => Replay::OnlyIfUnsent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idempotent_requests_with_all_of_their_body_are_safe() {
        for (method, content, expected) in [
            (Method::GET, RequestContent::Empty, Replay::Safe),
            (Method::DELETE, RequestContent::Empty, Replay::Safe),
            (Method::PUT, RequestContent::Kept, Replay::Safe),
            (Method::PUT, RequestContent::Gone, Replay::OnlyIfUnsent),
            (Method::POST, RequestContent::Empty, Replay::OnlyIfUnsent),
            (Method::POST, RequestContent::Kept, Replay::OnlyIfUnsent),
            (Method::PATCH, RequestContent::Empty, Replay::OnlyIfUnsent),
        ] {
            assert_eq!(classify(&method, content), expected, "{method} {content:?}");
        }
    }
}
