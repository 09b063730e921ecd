//! The files that `respond.body` names.
//!
//! Path: [`super::read`] calls it when the tree has been read. Their content belongs to the configuration: a reload takes
//! a changed file, and a body that cannot be had is a mistake before it is an answer.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::model::{Action, Body, Config};
use super::source::Source;

/// A page, not a download: it is held in memory for each route that answers with it.
const MAX_BODY: u64 = 1024 * 1024;

/// Reads them; a relative path begins at the directory of `source`.
pub(super) fn load(config: &mut Config, source: &Source, out: &mut Diagnostics) {
    for route in &mut config.routes {
        let Action::Respond(respond) = &mut route.action else {
            continue;
        };
        let Body::File { path, bytes } = &mut respond.body else {
            continue;
        };
        let full = source.directory.join(&path.value);
        match read(&full) {
            Ok(content) => *bytes = content,
            Err((what, label)) => out.push(
                Diagnostic::error(format!("`{}` {what}", path.value))
                    .at(path.at)
                    .label(label)
                    .note(format!("read as {}", full.display())),
            ),
        }
    }
}

type Why = (String, &'static str);

fn read(path: &Path) -> Result<Vec<u8>, Why> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => (
            "does not exist".to_owned(),
            "create it, or correct the path",
        ),
        std::io::ErrorKind::PermissionDenied => {
            ("may not be read".to_owned(), "let this user read it")
        }
        _ => (format!("cannot be read: {error}"), "name a readable file"),
    };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(("is not a file".to_owned(), "name a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refused)?;
    file.take(MAX_BODY + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    if bytes.len() as u64 > MAX_BODY {
        return Err((
            "is larger than 1 MiB".to_owned(),
            "let an app serve files of that size",
        ));
    }
    Ok(bytes)
}
