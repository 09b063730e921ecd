//! Why a handshake with an endpoint has failed.
//!
//! Path: [`super::client`] asks when a handshake has failed; `upstream::connect` when a connection broke right after it,
//! for an endpoint with TLS 1.3 refuses our certificate only then (RFC 8446 §4.4.2.4).

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Longest name of a certificate that is repeated, in characters.
const MAX_NAME: usize = 80;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which of the three kinds.
    pub kind: FaultKind,
    /// What happened, in a few words.
    pub words: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The endpoint's certificate is not to be believed.
    Certificate,
    /// The endpoint has refused us.
    Refused,
    /// Anything else: what came is not TLS, or nothing came.
    Protocol,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl Fault {
    /// There is no address whose owner could be verified.
    pub fn no_tcp() -> Self {
        Self {
            kind: FaultKind::Protocol,
            words: "a unix socket is not encrypted; remove `tls`".into(),
        }
    }

    /// What `error` means for a handshake that we began.
    pub fn of(error: &io::Error) -> Self {
        let (kind, words) = match below(error) {
            Some(Error::InvalidCertificate(why)) => {
                (FaultKind::Certificate, certificate_words(why))
            }
            Some(Error::AlertReceived(alert)) => (FaultKind::Refused, alert_words(*alert)),
            Some(Error::InvalidMessage(_)) => {
                let words = "what it answers is not TLS; does its port speak it?";
                (FaultKind::Protocol, words.into())
            }
            Some(Error::PeerIncompatible(_)) => {
                let words = "it has no TLS version or cipher in common with us (TLS 1.2, 1.3)";
                (FaultKind::Protocol, words.into())
            }
            Some(other) => (FaultKind::Protocol, other.to_string()),
            None if is_gone(error) => {
                let words = "it closed the connection in the handshake";
                (FaultKind::Protocol, words.into())
            }
            None => (FaultKind::Protocol, error.to_string()),
        };
        Self { kind, words }
    }

    /// Nothing was tried, because of our own files.
    pub fn own(words: &str) -> Self {
        Self {
            kind: FaultKind::Protocol,
            words: words.into(),
        }
    }

    /// The endpoint closed right after the handshake. With TLS 1.3 that is how the refusal of a certificate looks.
    pub fn broken_off() -> Self {
        Self {
            kind: FaultKind::Refused,
            words: "it closed the connection after the handshake; does it want another client certificate \
                    (`tls.certificate`)?"
                .into(),
        }
    }

    /// The refusal of our certificate, or of its lack, that lies below `error`. Nothing that was sent has reached the app:
    /// such an alert comes in the place of the handshake's end.
    pub fn refusal(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut source = Some(error);
        while let Some(error) = source {
            if let Some(alert) = alert(error) {
                return Some(Self {
                    kind: FaultKind::Refused,
                    words: alert_words(alert),
                });
            }
            source = error.source();
        }
        None
    }
}

/// The alert about certificates that `error` itself is. Of what HTTP/2 meets below, only the words are left.
fn alert(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    if let Some(Error::AlertReceived(alert)) = error.downcast_ref::<io::Error>().and_then(below) {
        return is_about_certificate(*alert).then_some(*alert);
    }
    let text = error.to_string();
    ABOUT_CERTIFICATES
        .into_iter()
        .find(|alert| text.ends_with(&Error::AlertReceived(*alert).to_string()))
}

/// What TLS says.
pub(super) fn below(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// Whether the peer has closed, in whatever manner.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn certificate_words(why: &CertificateError) -> String {
    use CertificateError as Why;
    match why {
        // One of the same name, but not the same one.
        Why::UnknownIssuer | Why::BadSignature => {
            "its certificate is from an authority that is not believed".into()
        }
        Why::Expired | Why::ExpiredContext { .. } => "its certificate has expired".into(),
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        Why::NotValidForName => "its certificate is for another name".into(),
        Why::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = presented_names(presented);
            format!(
                "its certificate is for {names}, not for {}",
                expected.to_str()
            )
        }
        Why::Revoked => "its certificate is revoked".into(),
        other => format!("its certificate is not good: {other}"),
    }
}

/// What an endpoint says of itself is shortened.
fn presented_names(names: &[String]) -> String {
    // `DnsName("other.test")`
    let shown = |name: &String| {
        let quoted = name.split('"').nth(1).unwrap_or(name);
        quoted.chars().take(MAX_NAME).collect::<String>()
    };
    match names {
        [] => "no name".into(),
        [only] => shown(only),
        [first, others @ ..] => format!("{} and {} more", shown(first), others.len()),
    }
}

/// Alerts that refuse our certificate, or its lack.
const ABOUT_CERTIFICATES: [AlertDescription; 8] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

fn is_about_certificate(alert: AlertDescription) -> bool {
    ABOUT_CERTIFICATES.contains(&alert)
}

fn alert_words(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => "it wants a client certificate (`tls.certificate`)".into(),
        alert if is_about_certificate(alert) => {
            format!("it refused our client certificate ({alert:?})")
        }
        Alert::UnrecognisedName => "it does not know the name asked for (`tls.server_name`)".into(),
        Alert::NoApplicationProtocol => {
            "it does not speak the HTTP version that was offered; is `protocol` right?".into()
        }
        other => format!("it refused the handshake ({other:?})"),
    }
}
