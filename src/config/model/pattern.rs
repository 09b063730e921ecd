//! Regular expressions, read and compiled.

use std::hash::{Hash, Hasher};

use regex::Regex;

/// An expression. Two are equal when their texts are.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As written.
    pub text: String,
    /// Compiled; of a match anchored on both sides, of a rewrite as written.
    pub regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
