//! Encryption (TLS 1.2 and 1.3): what certificates are shown, whom to believe, and what a failed handshake means.
//!
//! Path: `snapshot` makes a [`server::ServerTls`] for a listener and a [`client::ClientTls`] for an upstream from the
//! files that the configuration names; `downstream` and `upstream` shake hands with them; `app` lets them read their
//! files again when those change. Which curves and ciphers there are is for rustls and aws-lc to say: their defaults
//! have what is safe, with X25519MLKEM768 (post-quantum) first.

pub mod client;
pub mod current;
pub mod fault;
pub mod files;
pub mod hello;
pub mod identity;
pub mod names;
pub mod server;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// The one provider of this process; a config that looked for a default could find none, or two.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
