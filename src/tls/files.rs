//! PEM files → certificates, keys and roots (RFC 7468).
//!
//! Path: `snapshot::check` reads them to tell what is wrong, [`super::server`] and [`super::client`] to use them. A
//! certificate and its key are taken together or not at all. No content of a key is in any message.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use thiserror::Error as ThisError;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A bundle of all public roots has some 250 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PairFiles {
    /// The certificate, and behind it those that lead to a root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl PairFiles {
    /// Both.
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{} {what}", path.display())]
pub struct Trouble {
    /// The file that has to be changed.
    pub path: PathBuf,
    /// What is wrong: `does not exist`.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

/// A pair that fits.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What is shown in handshakes.
    pub certified: Arc<CertifiedKey>,
    /// The end of the certificate's validity, in seconds since 1970.
    pub expires: i64,
}

/// Reads a certificate with its key, which must belong together and must not be past their time.
///
/// # Errors
///
/// See [`Trouble`].
pub fn pair(files: &PairFiles) -> Result<Pair, Trouble> {
    let chain = certificates(&files.cert)?;
    let key = key(&files.key)?;
    let expires = chain.first().and_then(|first| expiry(first));
    let expires = expires.ok_or_else(|| no_certificate(&files.cert))?;
    let provider = super::provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Trouble {
            path: files.key.clone(),
            what: format!("is not the key of {}", files.cert.display()),
            remedy: "name the key that the certificate was made with",
        },
        _ => Trouble {
            path: files.key.clone(),
            what: "is of a kind that is not supported".into(),
            remedy: "use an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 8192 bits) key",
        },
    })?;
    if expires <= now() {
        return Err(Trouble {
            path: files.cert.clone(),
            what: format!("has expired {}", ago(now() - expires)),
            remedy: "renew the certificate",
        });
    }
    Ok(Pair {
        certified: Arc::new(certified),
        expires,
    })
}

/// Reads the certificates of authorities to believe.
///
/// # Errors
///
/// See [`Trouble`].
pub fn roots(path: &Path) -> Result<Arc<RootCertStore>, Trouble> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(no_certificate(path));
    }
    Ok(Arc::new(roots))
}

/// The authorities that the system believes.
///
/// # Errors
///
/// When it believes none: then nobody could be verified.
pub fn system_roots() -> Result<Arc<RootCertStore>, Trouble> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Trouble {
            path: PathBuf::from("the system"),
            what: "has no certificates of authorities".into(),
            remedy: "name a file: `tls: { ca: ca.crt }`, or install the package ca-certificates",
        });
    }
    Ok(Arc::new(roots))
}

/// Whether everybody on this machine may read the file, and we could change that. What Kubernetes mounts (a link through
/// `..data`) and what belongs to another user is not ours to close: it is readable so that we can read it.
pub fn is_needlessly_open(path: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(path) else {
        return false;
    };
    let mounted = std::fs::read_link(path).is_ok_and(|target| target.starts_with("..data"));
    // It belongs to whom we are.
    let us = std::fs::metadata("/proc/self").map(|own| own.uid());
    meta.mode() & 0o004 != 0 && !mounted && us.is_ok_and(|us| us == meta.uid())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(no_certificate(path)),
        Ok(found) if found.iter().any(|it| expiry(it).is_none()) => Err(no_certificate(path)),
        Ok(found) => Ok(found),
        Err(error) => Err(Trouble {
            path: path.to_owned(),
            what: format!("is not valid PEM: {}", pem_words(&error)),
            remedy: "write the file again, whole",
        }),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Trouble> {
    let text = read(path)?;
    let trouble = |what: &str, remedy| Trouble {
        path: path.to_owned(),
        what: what.into(),
        remedy,
    };
    if is_encrypted(&text) {
        return Err(trouble(
            "is encrypted with a passphrase",
            "store it decrypted, readable by this user only: `openssl pkey -in KEY -out KEY`",
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => trouble(
            "has no private key in PEM",
            "name a file with `-----BEGIN PRIVATE KEY-----`",
        ),
        error => trouble(
            &format!("is not valid PEM: {}", pem_words(&error)),
            "write the file again, whole",
        ),
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    let has = |needle: &[u8]| text.windows(needle.len()).any(|part| part == needle);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// Never the content: it may be that of a key.
fn pem_words(error: &rustls::pki_types::pem::Error) -> &'static str {
    use rustls::pki_types::pem::Error as Pem;
    match error {
        Pem::MissingSectionEnd { .. } => "a section has no end",
        Pem::IllegalSectionStart { .. } => "a section begins wrongly",
        Pem::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    }
}

fn no_certificate(path: &Path) -> Trouble {
    Trouble {
        path: path.to_owned(),
        what: "has no valid certificate in PEM".into(),
        remedy: "name a file with `-----BEGIN CERTIFICATE-----`",
    }
}

/// The content, bounded.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let trouble = |what: String, remedy| Trouble {
        path: path.to_owned(),
        what,
        remedy,
    };
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            trouble("does not exist".into(), "create it, or correct the path")
        }
        io::ErrorKind::PermissionDenied => {
            trouble("may not be read".into(), "let this user read it")
        }
        _ => trouble(format!("cannot be read: {error}"), "name a readable file"),
    };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(trouble("is not a file".into(), "name a file"));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(refused)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(refused)?;
    if text.len() as u64 > MAX_FILE {
        return Err(trouble("is larger than 1 MiB".into(), "name a PEM file"));
    }
    Ok(text)
}

/// `None`: these bytes are no certificate.
fn expiry(der: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// `3 days ago`.
fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..120 => return "just now".into(),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        172_800.. => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}
