//! A configuration file's text, and places in it.

use std::path::PathBuf;

/// A byte range of the file. The default (0..0) stands for values that nobody wrote: defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Whether nothing stands here.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The part of this span that lies in `text`, widened to whole characters.
    pub fn within(self, text: &str) -> Self {
        let start = text.floor_char_boundary(self.start);
        let end = text.ceil_char_boundary(self.end.max(start).min(text.len()));
        Self { start, end }
    }
}

/// A place as people count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCol {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A file's text with the name to show for it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Shown in messages; the path as the user gave it.
    pub name: String,
    /// Directory against which relative references in the file are resolved.
    pub directory: PathBuf,
    /// The text, as it was read.
    pub text: String,
}

impl Source {
    /// A text that came from no file, for example from the control address or a test. Its relative references
    /// start at the working directory.
    pub fn inline(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            directory: PathBuf::from("."),
            text: text.into(),
        }
    }

    /// Where `span` begins.
    pub fn line_col(&self, span: Span) -> LineCol {
        let before = &self.text[..span.within(&self.text).start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        LineCol {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The text at `span`.
    pub fn slice(&self, span: Span) -> &str {
        let span = span.within(&self.text);
        &self.text[span.start..span.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters() {
        let source = Source::inline("x", "é: ü\nb: ÄÖ z");
        assert_eq!(
            source.line_col(Span::new(15, 16)),
            LineCol { line: 2, column: 7 }
        );
        assert_eq!(
            source.line_col(Span::new(999, 1000)),
            LineCol { line: 2, column: 8 }
        );
    }

    #[test]
    fn a_span_outside_or_inside_a_character_is_made_whole() {
        let source = Source::inline("x", "aé");
        assert_eq!(source.slice(Span::new(2, 2)), "é");
        assert_eq!(source.slice(Span::new(7, 9)), "");
        assert_eq!(source.slice(Span::new(2, 1)), "");
    }
}
