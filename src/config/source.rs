//! A configuration file's text, and places in it.

use std::path::PathBuf;

/// A byte range of the file. The default (0..0) stands for values that nobody wrote: defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
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
