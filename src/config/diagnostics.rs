//! What is wrong with a file, and where: values, not yet text.
//!
//! Path: `yaml`, `vars`, `decode` and `snapshot` add to a [`Diagnostics`]; `cli` and `admin` print it (see
//! [`super::render`]). All mistakes of a file are told at once, in the file's order, but at most [`MAX_SHOWN`].

use std::collections::HashSet;

use super::source::Span;

/// More mistakes than this help nobody, and a hostile file must not become a long answer.
pub const MAX_SHOWN: usize = 100;

/// So many are kept; the rest is only counted, for each mistake is larger than what caused it.
const MAX_KEPT: usize = 1_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, and probably not meant so.
    Warning,
}

impl Severity {
    /// The word used in every form of output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What is wrong; one line, lower case, names in backticks.
    pub message: String,
    /// Where; `None` if it is about the file as a whole.
    pub at: Option<Span>,
    /// What to do, in a few words; stands at the caret.
    pub label: String,
    /// A second place that belongs to it, with its text.
    pub related: Option<(Span, String)>,
    /// What is allowed or known here; one line each.
    pub notes: Vec<String>,
    /// What to do, if it does not fit at the caret.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake for which the file is refused.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// Something that is probably not meant.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self {
            severity,
            message,
            at: None,
            label: String::new(),
            related: None,
            notes: Vec::new(),
            help: None,
        }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, at: Span) -> Self {
        self.at = (at != Span::default()).then_some(at);
        self
    }

    /// Says at the caret what to do.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn related(mut self, at: Span, label: impl Into<String>) -> Self {
        self.related = (at != Span::default()).then(|| (at, label.into()));
        self
    }

    /// Adds a line on what is allowed or known.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do where the caret has no room for it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What to do, wherever it was said.
    pub fn hint(&self) -> Option<&str> {
        self.help
            .as_deref()
            .or((!self.label.is_empty()).then_some(self.label.as_str()))
    }
}

/// A part of the file whose names are unknown because it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// The whole file.
    File,
    /// `listeners`
    Listeners,
    /// `routes`
    Routes,
    /// `upstreams`
    Upstreams,
}

/// All that is wrong with one file.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
    seen: HashSet<Diagnostic>,
    /// Errors beyond [`MAX_KEPT`].
    dropped: usize,
    unreadable: HashSet<Section>,
}

impl Diagnostics {
    /// Adds one. The same thing at the same place, reached twice through an alias, is told once.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.items.len() >= MAX_KEPT {
            self.dropped += usize::from(diagnostic.severity == Severity::Error);
        } else if self.seen.insert(diagnostic.clone()) {
            self.items.push(diagnostic);
        }
    }

    /// Remembers that `section` could not be read, so that nothing is said about names that it might hold.
    pub fn mark_unreadable(&mut self, section: Section) {
        self.unreadable.insert(section);
    }

    /// Whether `section`, or the whole file, could not be read.
    pub fn is_unreadable(&self, section: Section) -> bool {
        self.unreadable.contains(&section) || self.unreadable.contains(&Section::File)
    }

    /// Puts them into the file's order; what concerns the whole file comes last.
    pub fn sort(&mut self) {
        self.items
            .sort_by_key(|item| item.at.map_or(usize::MAX, |at| at.start));
    }

    /// One by one; of very many the first ones.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// Whether the file must be refused.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// Whether nothing at all is wrong.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of mistakes.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error) + self.dropped
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.items
            .iter()
            .filter(|item| item.severity == severity)
            .count()
    }

    /// `2 errors, 1 warning`; empty if nothing is wrong.
    pub fn summary(&self) -> String {
        let parts = [(self.errors(), "error"), (self.warnings(), "warning")];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| counted(*n, word))
            .collect();
        parts.join(", ")
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `1 route`, `2 routes`.
pub fn counted(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
