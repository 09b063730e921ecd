//! How a handshake ended, in a closed set of words for metrics and in plain ones for people.
//!
//! Path: [`super::server`] asks when a handshake has failed.

use std::io;

use rustls::{CertificateError, Error};

use super::fault::{below, is_gone};

/// How a handshake of a client with us ended; the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It succeeded.
    Ok,
    /// It took too long.
    Timeout,
    /// The client went away.
    Closed,
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// What came is not TLS.
    NotTls,
    /// No version, cipher or protocol that both know.
    NothingInCommon,
    /// The client has shown no certificate and must.
    NoCertificate,
    /// The client's certificate is not good.
    BadCertificate,
    /// The client is who it says, and not on the list.
    NotAllowed,
    /// The client refused: our certificate, mostly.
    Refused,
    /// There is no certificate to show.
    NotReady,
    /// Anything else.
    Failed,
}

impl Handshake {
    /// Every value, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Timeout,
        Self::Closed,
        Self::PlainHttp,
        Self::NotTls,
        Self::NothingInCommon,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::NotAllowed,
        Self::Refused,
        Self::NotReady,
        Self::Failed,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::NothingInCommon => "nothing_in_common",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::NotAllowed => "not_allowed",
            Self::Refused => "refused",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
        }
    }

    /// Whether an alert tells a client what it has to change.
    pub(super) fn is_told(self) -> bool {
        matches!(
            self,
            Self::NothingInCommon | Self::NoCertificate | Self::BadCertificate | Self::NotAllowed
        )
    }

    /// What `error` means for a handshake that a client began.
    pub fn of(error: &io::Error) -> Self {
        match below(error) {
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
                Self::NothingInCommon
            }
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                Self::NotAllowed
            }
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Failed,
            None if is_gone(error) => Self::Closed,
            None => Self::Failed,
        }
    }
}
