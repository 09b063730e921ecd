//! `listeners.*.normalize`

/// `listeners.*.normalize`: what not every app reads alike in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normalize {
    /// `encoded_slash`: `%2F` and `%5C`. Default `keep`.
    pub encoded_slash: EncodedSlash,
    /// `double_slash`: `//`. Default `merge`.
    pub double_slash: DoubleSlash,
    /// `dot_segments`: `.` and `..`, however spelled, and `\`. Default `resolve`.
    pub dot_segments: DotSegments,
}

/// `normalize.encoded_slash`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodedSlash {
    /// `keep`: part of its segment.
    #[default]
    Keep,
    /// `decode`: a slash.
    Decode,
    /// `reject`: answered 400.
    Reject,
}

/// `normalize.double_slash`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoubleSlash {
    /// `keep`: an empty segment between two slashes.
    Keep,
    /// `merge`: one slash.
    #[default]
    Merge,
    /// `reject`: answered 400.
    Reject,
}

/// `normalize.dot_segments`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DotSegments {
    /// `keep`: segments like others.
    Keep,
    /// `resolve`: the directory they stand for.
    #[default]
    Resolve,
    /// `reject`: answered 400.
    Reject,
}
