//! What is not YAML, in the words of someone who writes configuration.
//!
//! The parser's messages speak of block mappings and simple keys. Those that people meet are retold here, each
//! with what to do; an unknown one is passed on. Where only line and column are known, the caret marks one
//! character.

use serde_yaml::{DefaultMessageFormatter, Error, MessageFormatter};

use super::{MAX_DEPTH, span_of};
use crate::config::diagnostics::Diagnostic;
use crate::config::source::{Source, Span};

/// Message and remedy for what the parser says, found by a part of its wording; the first that fits counts.
const RETOLD: &[(&str, &str, &str)] = &[
    (
        "tabs disallowed",
        "a tab cannot indent",
        "indent with spaces",
    ),
    (
        "recursion limit",
        "lists and mappings are nested too deep",
        "close the brackets before this",
    ),
    (
        "unclosed quote",
        "this quote is never closed",
        "close it with the same quote",
    ),
    (
        "unexpected end of stream",
        "the file ends in the middle of a quoted text",
        "close the quote",
    ),
    (
        "unclosed bracket",
        "this bracket is never closed",
        "close it, or remove it",
    ),
    (
        "mismatched bracket",
        "this bracket is closed by one of the other kind",
        "`[` belongs to `]`, `{` to `}`",
    ),
    (
        "misplaced bracket",
        "this bracket closes nothing",
        "remove it, or quote the text",
    ),
    (
        "unknown escape",
        "this quoted text has an unknown escape",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        "unknown anchor",
        "this alias has no anchor",
        "write `&name` before the value that `*name` repeats",
    ),
    (
        "recursive references",
        "this alias stands inside its own anchor",
        "remove it",
    ),
    (
        "merge value must be",
        "`<<` merges mappings only",
        "write `<<: *name` of a mapping",
    ),
    (
        "mapping values are not allowed",
        "there is a colon too many",
        "begin an inner key on its own line, or quote text that holds `: `",
    ),
    (
        "simple key expected",
        "this line has no colon",
        "write `key: value`",
    ),
    (
        "illegal placement of ':'",
        "a colon stands where the list goes on",
        "close the bracket before it",
    ),
    (
        "block sequence entries are not allowed",
        "a list item cannot begin here",
        "begin it on its own line",
    ),
    (
        "expected ',' or ']'",
        "a `,` or `]` is missing before this",
        "put `,` between items and `]` at the end",
    ),
    (
        "expected ',' or '}'",
        "a `,` or `}` is missing before this",
        "put `,` between entries and `}` at the end",
    ),
    (
        "did not find expected key",
        "this line does not line up with those above",
        "give the keys of one section the same indent",
    ),
    (
        "did not find expected '-'",
        "this line does not line up with the list above",
        "begin each item with `- ` at the same indent",
    ),
];

/// Says what `error` means and where.
pub(super) fn explain(error: &Error, source: &Source) -> Diagnostic {
    let at = place(error, source);
    if let Some(diagnostic) = limits(error) {
        return diagnostic.at(at);
    }
    let told = DefaultMessageFormatter
        .format_message(innermost(error))
        .into_owned();
    if let Some(diagnostic) = by_text(&told, source, at) {
        return diagnostic;
    }
    match RETOLD.iter().find(|(part, _, _)| told.contains(part)) {
        Some((_, message, label)) => Diagnostic::error(*message).at(at).label(*label),
        None => Diagnostic::error(format!("this is not YAML: {told}"))
            .at(at)
            .label("correct this place"),
    }
}

/// What is YAML, but more than we read.
fn limits(error: &Error) -> Option<Diagnostic> {
    use serde_yaml::budget::BudgetBreach as Breach;
    Some(match innermost(error) {
        Error::Budget {
            breach: Breach::Depth { .. },
            ..
        } => Diagnostic::error(format!(
            "lists and mappings are nested more than {MAX_DEPTH} deep"
        ))
        .label("no section needs this; look at the indent"),
        Error::Budget {
            breach: Breach::Documents { .. },
            ..
        }
        | Error::MultipleDocuments { .. } => Diagnostic::error("a second document begins here")
            .label("keep one; remove this `---` and what is not needed"),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            Diagnostic::error("the aliases of this file multiply to too many values")
                .label("write the values out")
        }
        Error::Budget { .. } => Diagnostic::error("this file holds too many values")
            .label("the limit is reached here")
            .help("split the file, or write fewer anchors and values"),
        Error::InvalidScalar { .. } => Diagnostic::error("this value does not fit its tag")
            .label("remove the `!!` tag before it"),
        Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::UnsupportedTag { .. } => {
            Diagnostic::error("tags are not used here").label("remove the `!` tag")
        }
        _ => return None,
    })
}

fn innermost(mut error: &Error) -> &Error {
    while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } =
        error
    {
        error = inner;
    }
    error
}

/// The parser knows the bytes of values, but of syntax errors only line and column.
fn place(error: &Error, source: &Source) -> Span {
    let text = &source.text;
    let Some(location) = error.location() else {
        return Span::new(text.len(), text.len());
    };
    if location.span().byte_offset().is_some() && location.span().byte_len() != Some(0) {
        return span_of(location, text);
    }
    let line = usize::try_from(location.line()).unwrap_or(1).max(1);
    let column = usize::try_from(location.column()).unwrap_or(1).max(1);
    let line_start = if line == 1 {
        Some(0)
    } else {
        text.match_indices('\n').nth(line - 2).map(|(at, _)| at + 1)
    };
    let Some(line_start) = line_start.filter(|at| *at < text.len()) else {
        return last_character(text);
    };
    let line = text[line_start..]
        .split(['\n', '\r'])
        .next()
        .unwrap_or_default();
    let before: usize = line.chars().take(column - 1).map(char::len_utf8).sum();
    let width = line[before..].chars().next().map_or(0, char::len_utf8);
    Span::new(line_start + before, line_start + before + width)
}

/// Where a file ends too early: its last character that can be seen.
fn last_character(text: &str) -> Span {
    let end = text.trim_end().len();
    let width = text[..end].chars().next_back().map_or(0, char::len_utf8);
    Span::new(end - width, end)
}

/// Mistakes that the file's text tells better than the parser.
fn by_text(told: &str, source: &Source, at: Span) -> Option<Diagnostic> {
    if holds_bare_ipv6(source, at) {
        let message = "an IPv6 address with a port must be quoted";
        return Some(
            Diagnostic::error(message)
                .at(at)
                .label("write `\"[::1]:8080\"`"),
        );
    }
    if let Some(character) = told.strip_prefix("unexpected character: ") {
        let character = character.trim_matches(['`', '\'']);
        if character.starts_with('\\') {
            let message = format!("the control character `{character}` cannot stand here");
            return Some(Diagnostic::error(message).at(at).label("remove it"));
        }
        let message = format!("a value cannot begin with `{character}`");
        return Some(
            Diagnostic::error(message)
                .at(at)
                .label("put it into quotes"),
        );
    }
    if told.contains("unknown anchor") && source.text[at.start..].starts_with("*.") {
        let word = source.text[at.start..]
            .split([' ', ',', '}', ']', '\r', '\n'])
            .next()
            .unwrap_or_default();
        let at = Span::new(at.start, at.start + word.len());
        let message = "a text that begins with `*` must be quoted";
        return Some(
            Diagnostic::error(message)
                .at(at)
                .label(format!("write `\"{word}\"`")),
        );
    }
    if told.contains("mapping values are not allowed") {
        let line_start = source.text[..at.start].rfind('\n')?;
        return bad_key_line(source, source.text[..line_start].trim_end().len());
    }
    told.contains("simple key expected")
        .then(|| bad_key_line(source, at.end))
        .flatten()
}

/// The line that holds the byte before `end`, if it looks like a key without its colon, or without a blank after it.
fn bad_key_line(source: &Source, end: usize) -> Option<Diagnostic> {
    let text = &source.text;
    let start = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let word = line.trim();
    let at = Span::new(
        start + line.len() - line.trim_start().len(),
        start + line.trim_end().len(),
    );
    if word.is_empty()
        || word.starts_with(['-', '#', '\'', '"', '[', '{'])
        || word.contains(": ")
        || word.ends_with(':')
    {
        return None;
    }
    Some(match word.split_once(':') {
        Some((key, value)) => Diagnostic::error("a colon needs a blank after it")
            .at(at)
            .label(format!("write `{key}: {value}`")),
        None => Diagnostic::error("this line has no colon")
            .at(at)
            .label(format!("write `{word}:`")),
    })
}

/// `address: [::1]:8080` begins a list in YAML; the mistake is typical enough to be told by name.
fn holds_bare_ipv6(source: &Source, at: Span) -> bool {
    let before = source.text[..at.start.min(source.text.len())]
        .lines()
        .next_back()
        .unwrap_or_default();
    before
        .rsplit('[')
        .next()
        .is_some_and(|tail| tail.contains("::") && tail.contains(']') && !tail.contains('"'))
}
