//! Which certificate is for which name (SNI, RFC 6066 §3).
//!
//! Path: [`super::server`] asks once per handshake. A name that is written wins over a wildcard, which stands for one
//! label (RFC 9525 §6.3); who asks for another name, or for none, gets the first certificate.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates of a listener.
#[derive(Debug)]
pub struct ByName {
    first: Arc<CertifiedKey>,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// Without `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl ByName {
    /// Of two certificates for a name the first counts. `None`: there are none.
    pub fn new(certificates: impl IntoIterator<Item = Arc<CertifiedKey>>) -> Option<Self> {
        let mut certificates = certificates.into_iter().peekable();
        let mut by_name = Self {
            first: Arc::clone(certificates.peek()?),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for certificate in certificates {
            for name in names(&certificate) {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut by_name.wildcard, rest),
                    None => (&mut by_name.exact, &*name),
                };
                map.entry(name.into())
                    .or_insert_with(|| Arc::clone(&certificate));
            }
        }
        Some(by_name)
    }

    /// The certificate for `name`, in lower case.
    pub fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let named = name.and_then(|name| {
            let parent = || name.split_once('.').map(|(_, parent)| parent);
            (self.exact.get(name)).or_else(|| self.wildcard.get(parent()?))
        });
        named.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has made it lower case.
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

/// The DNS names that a certificate is for, in lower case.
fn names(certificate: &CertifiedKey) -> Vec<String> {
    let Some(Ok((_, parsed))) =
        (certificate.cert.first()).map(|der| X509Certificate::from_der(der))
    else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let names = alternatives.value.general_names.iter();
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}
