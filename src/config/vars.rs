//! `${VAR}`, `${VAR:-default}`, `$$` and `file:PATH` inside values.
//!
//! Path: [`super::read`] runs this over the tree before `decode` sees it. Keys are left as they are, and what is
//! inserted is not searched again. The environment is a function, so that a test or a reload decides what it is.
//! A file is read up to [`MAX_FILE`] bytes, its outer blanks are cut off and its text never appears in a message.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::source::{Source, Span};
use super::yaml::{Node, Scalar, Value};

/// A secret or a small certificate chain; what is larger is not a value.
const MAX_FILE: u64 = 64 * 1024;

/// Where variables come from.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces references in all values below `node`.
pub(super) fn resolve(node: &mut Node, source: &Source, env: Env<'_>, out: &mut Diagnostics) {
    let resolved = match &mut node.value {
        Value::Sequence(items) => {
            return items
                .iter_mut()
                .for_each(|item| resolve(item, source, env, out));
        }
        Value::Mapping(entries) => {
            return entries
                .iter_mut()
                .for_each(|(_, value)| resolve(value, source, env, out));
        }
        Value::Scalar(scalar) => scalar_value(scalar, node.at, source, env),
        Value::Null | Value::Told => return,
    };
    match resolved {
        Ok(None) => {}
        Ok(Some(scalar)) => node.value = Value::Scalar(scalar),
        Err(diagnostic) => {
            out.push(*diagnostic);
            node.value = Value::Told;
        }
    }
}

/// `None`: nothing to replace.
fn scalar_value(
    scalar: &Scalar,
    at: Span,
    source: &Source,
    env: Env<'_>,
) -> Result<Option<Scalar>, Box<Diagnostic>> {
    let from_file = scalar.text.starts_with("file:");
    if !from_file && !scalar.text.contains('$') {
        return Ok(None);
    }
    let text = expand(&scalar.text, at, source, env)?;
    let shown = from_file.then(|| text.clone());
    let text = match text.strip_prefix("file:").filter(|_| from_file) {
        Some(path) => file(path, at, source)?,
        None => text,
    };
    Ok(Some(Scalar {
        text,
        shown,
        quoted: scalar.quoted,
    }))
}

fn expand(text: &str, at: Span, source: &Source, env: Env<'_>) -> Result<String, Box<Diagnostic>> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let reference = &rest[dollar..];
        if let Some(after) = reference.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(inner) = reference.strip_prefix("${") {
            let Some(end) = inner.find('}') else {
                return Err(unclosed(reference, at, source));
            };
            out.push_str(&variable(&inner[..end], at, source, env)?);
            rest = &inner[end + 1..];
        } else if begins_name(reference) {
            return Err(lone_dollar(reference, at, source));
        } else {
            // `$1` and the `$` at the end of a regular expression name no variable.
            out.push('$');
            rest = &reference[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether a name follows the dollar sign, as in a shell.
fn begins_name(reference: &str) -> bool {
    let next = reference.chars().nth(1);
    next.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
}

fn variable(
    inner: &str,
    at: Span,
    source: &Source,
    env: Env<'_>,
) -> Result<String, Box<Diagnostic>> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let whole = format!("${{{inner}}}");
    let at = part(&whole, at, source);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(legal) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Box::new(
            Diagnostic::error(format!("`{whole}` does not name a variable"))
                .at(at)
                .label("write `${NAME}` or `${NAME:-default}`")
                .note("names have letters, digits and `_`, and begin with no digit"),
        ));
    }
    // As in a shell, `:-` also stands in for a variable that is empty.
    let value = env(name).filter(|value| default.is_none() || !value.is_empty());
    value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        Box::new(
            Diagnostic::error(format!("the environment variable `{name}` is not set"))
                .at(at)
                .label(format!("set it, or give a default: `${{{name}:-…}}`")),
        )
    })
}

fn unclosed(reference: &str, at: Span, source: &Source) -> Box<Diagnostic> {
    let at = part(reference, at, source);
    Box::new(
        Diagnostic::error("`${` has no `}`")
            .at(at)
            .label("close it, or write `$$` for a dollar sign"),
    )
}

fn lone_dollar(reference: &str, at: Span, source: &Source) -> Box<Diagnostic> {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name: String = reference.chars().skip(1).take_while(is_name).collect();
    let at = part(&reference[..=name.len()], at, source);
    let label = format!("write `${{{name}}}`, or `$$` for a dollar sign");
    Box::new(Diagnostic::error("a `$` stands alone").at(at).label(label))
}

/// Where `text` stands inside the value at `at`; the whole value if escapes hide it.
fn part(text: &str, at: Span, source: &Source) -> Span {
    match source.slice(at).find(text) {
        Some(offset) => Span::new(at.start + offset, at.start + offset + text.len()),
        None => at,
    }
}

fn file(path: &str, at: Span, source: &Source) -> Result<String, Box<Diagnostic>> {
    let full = source.directory.join(path);
    read_small(&full).map_err(|(what, label)| {
        Box::new(
            Diagnostic::error(format!("`{path}` {what}"))
                .at(at)
                .label(label)
                .note(format!("read as {}", full.display())),
        )
    })
}

type Why = (String, &'static str);

fn read_small(path: &Path) -> Result<String, Why> {
    let refused = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => (
            "does not exist".to_owned(),
            "create it, or correct the path",
        ),
        std::io::ErrorKind::PermissionDenied => {
            ("may not be read".to_owned(), "let this user read it")
        }
        _ => (format!("cannot be read: {error}"), "name a readable file"),
    };
    let meta = std::fs::metadata(path).map_err(|error| refused(&error))?;
    if !meta.is_file() {
        return Err((
            "is not a file".to_owned(),
            "name a file that holds the value",
        ));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refused(&error))?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err((
            "is larger than 64 KiB".to_owned(),
            "name a file that holds only the value",
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ("is not text (UTF-8)".to_owned(), "name a text file"))?;
    Ok(text.trim().to_owned())
}
