//! Diagnostics as text: with the file's lines for people, one line for logs, JSON for programs.
//!
//! Path: `cli` prints [`human`] and [`json()`]; logs and the control address use [`one_line`], which never shows
//! the file's text, for it may hold secrets. Only the lines around a place are handed to the renderer, so the
//! cost does not grow with the file.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::diagnostics::{Diagnostic, Diagnostics, MAX_SHOWN, Severity};
use super::source::{Source, Span};

/// Whether the output may hold colour codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// It goes to a terminal.
    Always,
    /// It goes to a file or program.
    Never,
}

/// A second place this many bytes away or less is shown in the same excerpt.
const NEAR: usize = 2_000;
/// Longer lines are cut around the place.
const MAX_LINE: usize = 2_000;

/// All of `diagnostics` with the lines they are about, as a compiler would print them.
pub fn human(source: &Source, diagnostics: &Diagnostics, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Always => Renderer::styled(),
        Colour::Never => Renderer::plain(),
    };
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(MAX_SHOWN) {
        text.push_str(renderer.render(&[group(source, diagnostic)]).trim_end());
        text.push_str("\n\n");
    }
    let more = (diagnostics.errors() + diagnostics.warnings()).saturating_sub(MAX_SHOWN);
    if more > 0 {
        text.push_str(&format!("{more} more are not shown\n\n"));
    }
    text
}

fn group<'a>(source: &'a Source, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
    if let Some(at) = diagnostic.at {
        for snippet in snippets(source, at, diagnostic) {
            group = group.element(snippet);
        }
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.no_name().message(note.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

type Excerpt<'a> = Snippet<'a, annotate_snippets::Annotation<'a>>;

fn snippets<'a>(source: &'a Source, at: Span, diagnostic: &'a Diagnostic) -> Vec<Excerpt<'a>> {
    let at = first_line_of(source, at);
    let primary = (AnnotationKind::Primary, at, diagnostic.label.as_str());
    let Some((other, label)) = &diagnostic.related else {
        return vec![excerpt(source, &[primary])];
    };
    let context = (
        AnnotationKind::Context,
        first_line_of(source, *other),
        label.as_str(),
    );
    if at.start.abs_diff(other.start) <= NEAR {
        return vec![excerpt(source, &[primary, context])];
    }
    vec![excerpt(source, &[primary]), excerpt(source, &[context])]
}

/// The lines that hold all of `marks`, which are near to each other.
fn excerpt<'a>(source: &'a Source, marks: &[(AnnotationKind, Span, &'a str)]) -> Excerpt<'a> {
    let text = &source.text;
    let first = marks.iter().map(|mark| mark.1.start).min().unwrap_or(0);
    let last = marks.iter().map(|mark| mark.1.end).max().unwrap_or(0);
    let start = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let start = start.max(text.floor_char_boundary(first.saturating_sub(MAX_LINE)));
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at);
    let end = end.min(text.ceil_char_boundary((last + MAX_LINE).min(text.len())));
    let annotations = marks.iter().map(|(kind, at, label)| {
        let range = at.start - start..at.end - start;
        kind.span(range)
            .label((!label.is_empty()).then_some(*label))
    });
    // A carriage return would be drawn; a blank has the same length.
    Snippet::source(text[start..end].replace('\r', " "))
        .line_start(source.line_col(Span::new(start, start)).line)
        .path(source.name.as_str())
        .annotations(annotations)
}

/// The part of `at` on its first line, without the blanks before and after it.
fn first_line_of(source: &Source, at: Span) -> Span {
    let slice = source.slice(at);
    let line = slice.lines().next().unwrap_or_default().trim_end();
    let start = at.within(&source.text).start;
    Span::new(start, start + line.len())
}

/// `sidecar.yaml:2:47: upstream `ap` does not exist; did you mean `app`?`: without the file's text.
pub fn one_line(source: &Source, diagnostic: &Diagnostic) -> String {
    let place = diagnostic.at.map_or_else(String::new, |at| {
        let at = source.line_col(at);
        format!(":{}:{}", at.line, at.column)
    });
    let hint = diagnostic
        .hint()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{}{place}: {}{hint}", source.name, diagnostic.message)
}

/// One object for the whole file: `valid`, `file`, `errors`, `warnings`, `diagnostics`. Without the file's text.
pub fn json(source: &Source, diagnostics: &Diagnostics) -> Value {
    let items: Vec<Value> = diagnostics
        .iter()
        .take(MAX_SHOWN)
        .map(|item| json_item(source, item))
        .collect();
    json!({
        "valid": !diagnostics.has_errors(),
        "file": source.name,
        "errors": diagnostics.errors(),
        "warnings": diagnostics.warnings(),
        "diagnostics": items,
    })
}

fn json_item(source: &Source, diagnostic: &Diagnostic) -> Value {
    let at = diagnostic.at.map(|at| source.line_col(at));
    json!({
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "file": source.name,
        "line": at.map(|at| at.line),
        "column": at.map(|at| at.column),
        "length": diagnostic.at.map(|at| source.slice(first_line_of(source, at)).chars().count()),
        "hint": diagnostic.hint(),
        "notes": diagnostic.notes,
        "related": diagnostic.related.as_ref().map(|(at, label)| {
            let at = source.line_col(*at);
            json!({ "line": at.line, "column": at.column, "message": label })
        }),
    })
}
