//! Regular expressions, and places inside a value.

use regex::{Regex, RegexBuilder};

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::Pattern;
use super::super::source::Span;
use super::super::yaml::Scalar;
use super::fields::Item;
use super::scalars;

/// Memory of one compiled expression: far above any that is meant, far below what a bomb like `(a{1000}){1000}` needs.
const MAX_BYTES: usize = 1024 * 1024;

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchored {
    /// The whole of a text.
    Whole,
    /// Any part of it.
    No,
}

/// An expression at `item`.
pub(super) fn pattern(
    item: &Item<'_>,
    anchored: Anchored,
    out: &mut Diagnostics,
) -> Option<Pattern> {
    let hint = "write one: `/users/[0-9]+`";
    let scalar = scalars::scalar(item, "a regular expression", hint, out)?;
    let text = scalar.value();
    let whole = format!(r"\A(?:{text})\z");
    let compiled = compile(text).and_then(|bare| match anchored {
        Anchored::Whole => compile(&whole),
        Anchored::No => Ok(bare),
    });
    match compiled {
        Ok(regex) => Some(Pattern {
            text: text.to_owned(),
            regex,
        }),
        Err(error) => {
            out.push(explain(item, scalar, &error));
            None
        }
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(MAX_BYTES).build()
}

fn explain(item: &Item<'_>, scalar: &Scalar, error: &regex::Error) -> Diagnostic {
    let what = match error {
        regex::Error::CompiledTooBig(_) => "is too large a regular expression",
        _ => "is not a regular expression",
    };
    let message = format!("{} of {} {what}", scalar.words(), item.title());
    let diagnostic = Diagnostic::error(message);
    let (at, label) = match error {
        regex::Error::CompiledTooBig(_) => {
            (item.at(), "use fewer or smaller repetitions".to_owned())
        }
        _ if scalar.shown.is_some() => (item.at(), "correct that file".to_owned()),
        error => {
            let text = error.to_string();
            let what = text.rsplit("error: ").next().unwrap_or_default().trim();
            (caret(item, scalar, &text), what.to_owned())
        }
    };
    diagnostic.at(at).label(label)
}

/// Where the library's own caret points, which stands below the expression behind four blanks.
fn caret(item: &Item<'_>, scalar: &Scalar, text: &str) -> Span {
    let line = text.lines().find(|line| {
        line.trim_start().starts_with('^') && line.trim_matches([' ', '^']).is_empty()
    });
    let Some(line) = line else {
        return item.at();
    };
    let column = line
        .chars()
        .take_while(|c| *c == ' ')
        .count()
        .saturating_sub(4);
    let width = line.chars().filter(|c| *c == '^').count();
    let offset = |column: usize| {
        let mut characters = scalar.value().char_indices();
        characters
            .nth(column)
            .map_or(scalar.value().len(), |(at, _)| at)
    };
    inside(item, scalar, offset(column)..offset(column + width))
}

/// The place of `range` of a scalar's value; all of it where escapes, variables or blanks hide where that is.
pub(super) fn inside(item: &Item<'_>, scalar: &Scalar, range: std::ops::Range<usize>) -> Span {
    let at = item.node.at;
    let surplus = (at.end - at.start.min(at.end)).checked_sub(scalar.value().len());
    let quote = match (surplus, scalar.quoted) {
        (Some(0), false) => 0,
        (Some(2), true) => 1,
        _ => return item.at(),
    };
    let begin = at.start + quote;
    // A place at the very end is widened to the last character.
    let start = range.start.min(scalar.value().len().saturating_sub(1));
    Span::new(begin + start, begin + range.end.max(start + 1))
}
