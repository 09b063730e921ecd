//! Who a client is, by its certificate, and who is let in.
//!
//! Path: [`super::server`] asks once per handshake, after the certificate was verified. Only names of the subjectAltName
//! count (RFC 9525 §2; the common name is anybody's). A SPIFFE ID (SPIFFE X.509-SVID §2) comes first, for it is made to be
//! an identity; then the first DNS name, as `dns:client.test`. A certificate with several URIs has no SPIFFE ID (§2 again).
//!
//! Who is not on the list is refused in the handshake, as Envoy does: the client learns it from an alert
//! (`access_denied`), and nobody reads a request of it.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest identity, in bytes: that of a SPIFFE ID.
const MAX: usize = 2048;

/// Scheme of a SPIFFE ID.
const SPIFFE: &str = "spiffe://";

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// This SPIFFE ID.
    Spiffe(Box<str>),
    /// SPIFFE IDs below this one, which ends with a slash.
    SpiffeBelow(Box<str>),
    /// This DNS name.
    Dns(Box<str>),
    /// A DNS name with one label before this, which begins with a dot.
    DnsBelow(Box<str>),
}

/// The names of a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    uris: Vec<String>,
    /// In lower case.
    dns: Vec<String>,
}

impl Names {
    /// None, if the certificate cannot be read.
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut names = Self::default();
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return names;
        };
        if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                    GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                    _ => {}
                }
            }
        }
        names
    }

    fn spiffe(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [only] if only.starts_with(SPIFFE) => Some(only),
            _ => None,
        }
    }

    fn are_allowed(&self, list: &[Allowed]) -> bool {
        let spiffe = self.spiffe();
        list.iter().any(|allowed| match allowed {
            Allowed::Spiffe(id) => spiffe == Some(id),
            Allowed::SpiffeBelow(prefix) => spiffe.is_some_and(|id| {
                let rest = id.strip_prefix(&**prefix);
                rest.is_some_and(|rest| !rest.is_empty())
            }),
            Allowed::Dns(name) => self.dns.iter().any(|dns| **dns == **name),
            Allowed::DnsBelow(parent) => self.dns.iter().any(|dns| {
                let label = dns.strip_suffix(&**parent);
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }),
        })
    }

    /// Legal in a header field, whatever a certificate says.
    fn identity(&self) -> Option<Box<str>> {
        let dns = || self.dns.first().map(|name| format!("dns:{name}"));
        let identity = self.spiffe().map(str::to_owned).or_else(dns)?;
        let legal = identity.bytes().all(|byte| byte.is_ascii_graphic());
        (legal && identity.len() <= MAX).then(|| identity.into())
    }
}

/// Who a client is that has shown `certificate`; `None`: nobody that has a name.
pub(super) fn identity(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    Names::of(certificate).identity()
}

/// Lets only those in whom `verifier` believes and who are on the list.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) list: Box<[Allowed]>,
}

impl ClientCertVerifier for Guest {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        if Names::of(end_entity).are_allowed(&self.list) {
            return Ok(verified);
        }
        let why = CertificateError::ApplicationVerificationFailure;
        Err(Error::InvalidCertificate(why))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(uris: &[&str], dns: &[&str]) -> Names {
        let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        Names {
            uris: owned(uris),
            dns: owned(dns),
        }
    }

    #[test]
    fn a_spiffe_id_is_the_identity_before_a_name_and_only_if_it_is_the_only_uri() {
        let identity = |uris: &[&str], dns: &[&str]| names(uris, dns).identity();
        let id = "spiffe://a.test/ns/x";
        assert_eq!(identity(&[id], &["b.test"]).as_deref(), Some(id));
        assert_eq!(
            identity(&["https://a.test"], &["b.test", "c.test"]).as_deref(),
            Some("dns:b.test")
        );
        assert_eq!(
            identity(&[id, "spiffe://a.test/ns/y"], &["b.test"]).as_deref(),
            Some("dns:b.test")
        );
        assert_eq!(identity(&[], &[]), None);
        assert_eq!(identity(&["spiffe://a.test/\r\nx: y"], &[]), None);
        let long = format!("spiffe://a.test/{}", "x".repeat(MAX));
        assert_eq!(identity(&[&long], &[]), None);
    }

    #[test]
    fn whole_names_and_whole_segments_are_allowed() {
        let list = [
            Allowed::Spiffe("spiffe://a.test/one".into()),
            Allowed::SpiffeBelow("spiffe://a.test/ns/".into()),
            Allowed::Dns("b.test".into()),
            Allowed::DnsBelow(".c.test".into()),
        ];
        for (uri, allowed) in [
            ("spiffe://a.test/one", true),
            ("spiffe://a.test/one/two", false),
            ("spiffe://a.test/ns/x", true),
            ("spiffe://a.test/ns/x/y", true),
            ("spiffe://a.test/ns/", false),
            ("spiffe://a.test/ns", false),
            ("spiffe://a.test/nsx", false),
            ("spiffe://other.test/one", false),
            ("https://a.test/ns/x", false),
        ] {
            assert_eq!(names(&[uri], &[]).are_allowed(&list), allowed, "{uri}");
        }
        for (dns, allowed) in [
            ("b.test", true),
            ("a.b.test", false),
            ("x.c.test", true),
            ("y.x.c.test", false),
            ("c.test", false),
            (".c.test", false),
        ] {
            assert_eq!(names(&[], &[dns]).are_allowed(&list), allowed, "{dns}");
        }
        assert!(names(&[], &["z.test", "b.test"]).are_allowed(&list));
        assert!(!names(&[], &[]).are_allowed(&list));
    }
}
