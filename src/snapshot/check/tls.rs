//! The files of `tls`: whether they can be used as they are.
//!
//! They are read here to be judged, and once more by whoever uses them.

use std::path::Path;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::model::{Certificate, Config, PemFile};
use crate::snapshot::compile::pair_files;
use crate::tls::files::{self, Trouble};

/// Looks into every file.
pub(super) fn tls(config: &Config, out: &mut Diagnostics) {
    for tls in config.listeners.iter().filter_map(|it| it.tls.as_ref()) {
        (tls.certificates.iter()).for_each(|certificate| pair(certificate, out));
        if let Some(client) = &tls.client {
            authorities(&client.ca, out);
        }
    }
}

fn authorities(ca: &PemFile, out: &mut Diagnostics) {
    if let Err(trouble) = files::roots(&ca.path) {
        tell(&[ca], &trouble, out);
    }
}

fn pair(certificate: &Certificate, out: &mut Diagnostics) {
    let Certificate { cert, key } = certificate;
    match files::pair(&pair_files(certificate)) {
        Err(trouble) => tell(&[cert, key], &trouble, out),
        Ok(_) if files::is_open_to_all(&key.path) => out.push(
            Diagnostic::warning(format!(
                "every user of this machine may read the key `{}`",
                key.written.value
            ))
            .at(key.written.at)
            .label("let its owner alone read it: `chmod 600`"),
        ),
        Ok(_) => {}
    }
}

fn tell(named: &[&PemFile], trouble: &Trouble, out: &mut Diagnostics) {
    let Some(file) = named.iter().find(|it| it.path == trouble.path) else {
        return;
    };
    let what = with_names(&trouble.what, named);
    out.push(
        Diagnostic::error(format!("`{}` {what}", file.written.value))
            .at(file.written.at)
            .label(trouble.remedy)
            .note(format!("read as {}", file.path.display())),
    );
}

/// Files as the user calls them.
fn with_names(what: &str, named: &[&PemFile]) -> String {
    let shown = |path: &Path| path.display().to_string();
    named.iter().fold(what.to_owned(), |what, file| {
        what.replace(&shown(&file.path), &format!("`{}`", file.written.value))
    })
}
