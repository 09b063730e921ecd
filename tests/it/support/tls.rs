//! Authorities, certificates and a client with TLS, for one test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use time::{Duration, OffsetDateTime};

use super::PATIENCE;

/// No two authorities have the same name.
static NAMES: AtomicUsize = AtomicUsize::new(0);

/// An authority that nobody else knows.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its key.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for `names`.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, OffsetDateTime::now_utc() + Duration::days(30))
    }

    /// A certificate with these URIs beside `names`.
    pub fn identify(&self, uris: &[&str], names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn issue_until(&self, names: &[&str], end: OffsetDateTime) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = end - Duration::days(60);
        params.not_after = end;
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key`, which its owner alone may read.
    pub fn write(&self, directory: &Path, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(directory.join(format!("{name}.crt")), &self.cert).unwrap();
        let key = directory.join(format!("{name}.key"));
        std::fs::write(&key, &self.key).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// The certificate as it is shown.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// How a client behaves; it believes one authority.
pub struct Dialer {
    ca: String,
    alpn: Vec<Vec<u8>>,
    pair: Option<(String, String)>,
    config: Option<Arc<ClientConfig>>,
}

impl Dialer {
    pub fn believing(authority: &Authority) -> Self {
        Self {
            ca: authority.pem.clone(),
            alpn: Vec::new(),
            pair: None,
            config: None,
        }
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    pub fn showing(mut self, pair: &Pair) -> Self {
        self.pair = Some((pair.cert.clone(), pair.key.clone()));
        self
    }

    /// The same configuration for each connection, so that sessions can be resumed.
    pub fn remembering(mut self) -> Self {
        self.config = Some(self.config());
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        if let Some(config) = &self.config {
            return Arc::clone(config);
        }
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }

    /// Shakes hands; a client that is refused after its own last message learns it from its first read.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsClient> {
        self.connect_after(address, name, b"")
    }

    /// The same behind bytes that are not encrypted.
    pub fn connect_after(
        &self,
        address: SocketAddr,
        name: &str,
        before: &[u8],
    ) -> io::Result<TlsClient> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(self.config(), name).unwrap();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(before)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(TlsClient {
            reader: BufReader::new(StreamOwned::new(tls, stream)),
        })
    }
}

/// One connection.
pub struct TlsClient {
    reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClient {
    /// Sends a GET and reads status, head and body of its answer.
    pub fn get(&mut self, host: &str, path: &str) -> io::Result<(u16, String, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        self.send(request.as_bytes())?;
        self.read()
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)?;
        self.reader.get_mut().flush()
    }

    pub fn read(&mut self) -> io::Result<(u16, String, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let length = field("content-length").map_or(0, |it| it.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        let status = head[9..12].parse().unwrap();
        Ok((status, head, String::from_utf8(body).unwrap()))
    }

    /// The certificate that the proxy has shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        let tls = &self.reader.get_ref().conn;
        tls.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub fn protocol(&self) -> Option<String> {
        let tls = &self.reader.get_ref().conn;
        let protocol = tls.alpn_protocol();
        protocol.map(|it| String::from_utf8(it.to_vec()).unwrap())
    }

    pub fn is_resumed(&self) -> bool {
        let tls = &self.reader.get_ref().conn;
        tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}
