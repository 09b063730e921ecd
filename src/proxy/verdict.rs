//! What the lack of an answer says about the endpoint.
//!
//! Path: [`super::attempt`] and [`super::body`] ask with the error that they met; what an answer says is for
//! [`crate::policy::failure`].

use super::error::ProxyError;
use crate::policy::failure::{Failure, Verdict};
use crate::upstream::request_body::UploadState;

/// How an attempt that met `error` speaks for its endpoint, where `upload` is how far the request's body had come. The
/// timers of the file count; those of a client do not, for it could make them as short as it likes. Nor does what follows
/// from a body that the client broke off, or kept everybody waiting for.
pub fn of(error: &ProxyError, upload: Option<UploadState>) -> Verdict {
    match (error, upload) {
        (_, Some(UploadState::Failed)) => return Verdict::Ignored,
        (
            ProxyError::RequestTimeout | ProxyError::AttemptTimeout,
            Some(UploadState::AwaitingClient),
        ) => {
            return Verdict::Ignored;
        }
        (
            _,
            Some(UploadState::AwaitingClient | UploadState::Flowing | UploadState::Complete) | None,
        ) => {}
    }
    match error {
        ProxyError::Connect(_) => Verdict::Failure(Failure::Connect),
        ProxyError::UpstreamIdle | ProxyError::RequestTimeout | ProxyError::AttemptTimeout => {
            Verdict::Failure(Failure::Timeout)
        }
        ProxyError::UpstreamReset(_) | ProxyError::UpstreamBody(_) => {
            Verdict::Failure(Failure::Reset)
        }
        ProxyError::UpstreamProtocol(_)
        | ProxyError::UpstreamHeadTooLarge
        | ProxyError::UpstreamFraming
        | ProxyError::UnaskedUpgrade => Verdict::Failure(Failure::Protocol),
        ProxyError::HeaderTimeout
        | ProxyError::BadRequest(_)
        | ProxyError::ConnectMethod
        | ProxyError::HeadTooLarge
        | ProxyError::NoRoute
        | ProxyError::NoEndpoint(_)
        | ProxyError::Discovery(_)
        | ProxyError::ClientIdle
        | ProxyError::ClientTooSlow
        | ProxyError::ClientBody
        | ProxyError::BodyTooLarge
        | ProxyError::ClientGone
        | ProxyError::RateLimited(_)
        | ProxyError::Overloaded(..)
        | ProxyError::CircuitOpen(_)
        | ProxyError::NoHealthyEndpoint(_)
        | ProxyError::DeadlineExceeded
        | ProxyError::UpgradedIdle
        | ProxyError::Panic => Verdict::Ignored,
    }
}
