//! One path, one spelling: what a request's path is compared as, and which spelling the app is sent.
//!
//! Path: `proxy::action` asks before the look-up in [`super::table`]. An attacker gains when proxy and app read one path
//! differently: `/public/../admin` would be taken by the rule for `/public` and served as `/admin`. So the path is
//! compared as an app could read it, and when that differs from what came in more than spelling, the app is sent what was
//! compared. What is left and could still be read in two ways (`..;`, `..%2F`) is refused.
//!
//! Source: RFC 3986 §6.2.2 (case, percent-encoding and dot segments). A plain path is looked at once and costs nothing
//! more.

/// What to do with what not every app reads alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normalize {
    /// `%2F` and `%5C`.
    pub encoded_slash: EncodedSlash,
    /// `//`.
    pub double_slash: DoubleSlash,
    /// `.` and `..` as segments, however they are spelled, and `\`.
    pub dot_segments: DotSegments,
}

/// What to do with an encoded slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodedSlash {
    /// It is part of its segment.
    #[default]
    Keep,
    /// It is a slash.
    Decode,
    /// The request is refused.
    Reject,
}

/// What to do with several slashes in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoubleSlash {
    /// Each ends a segment; between them is an empty one.
    Keep,
    /// They count as one.
    #[default]
    Merge,
    /// The request is refused.
    Reject,
}

/// What to do with dot segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DotSegments {
    /// They are segments like others.
    Keep,
    /// They are resolved (RFC 3986 §5.2.4).
    #[default]
    Resolve,
    /// The request is refused.
    Reject,
}

/// A path in its normal form, which differs from how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalized {
    /// What it is compared as.
    pub path: String,
    /// Which spelling the app is sent.
    pub sent: Sent,
}

/// Which spelling the app is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// As it came: only its spelling differs from the normal form.
    AsItCame,
    /// The normal form: an app could read another path out of what came.
    Normal,
}

/// The normal form of `path`; `None` when it is in that form already.
///
/// # Errors
///
/// Why the path is refused, as a sentence for the client.
pub fn normalize(path: &str, rules: Normalize) -> Result<Option<Normalized>, &'static str> {
    if is_plain(path.as_bytes()) {
        return Ok(None);
    }
    let (spelled, read) = respell(path.as_bytes(), rules)?;
    let (merged, resolved) = resolve(&spelled, rules)?;
    let network = rules.double_slash == DoubleSlash::Merge && spelled.starts_with(b"//");
    let sent = if read == Read::Otherwise || resolved || network {
        Sent::Normal
    } else {
        Sent::AsItCame
    };
    // Nothing but whole ASCII characters was taken out or put in.
    let path_now = String::from_utf8(merged).unwrap_or_else(|_| path.to_owned());
    Ok((path_now != path).then_some(Normalized {
        path: path_now,
        sent,
    }))
}

/// Whether `path` holds nothing that [`normalize`] would have to look at.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let special = match byte {
            b'%' | b'\\' | 0x80.. => true,
            b'/' | b'.' => before == b'/',
            _ => false,
        };
        if special {
            return false;
        }
        before = byte;
    }
    true
}

/// Whether the path was changed in more than its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Alike,
    Otherwise,
}

/// Gives every character its normal spelling: unreserved ones bare, all else in `%XX` with capital digits.
fn respell(path: &[u8], rules: Normalize) -> Result<(Vec<u8>, Read), &'static str> {
    let mut out = Vec::with_capacity(path.len() + 8);
    let mut read = Read::Alike;
    let mut bare_percent = None;
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let encoded = triplet(first, after);
        match encoded.unwrap_or(first) {
            b'\\' | b'/' if encoded.is_some() => {
                rest = after.get(2..).unwrap_or_default();
                match rules.encoded_slash {
                    EncodedSlash::Keep => push_encoded(&mut out, encoded.unwrap_or(first)),
                    EncodedSlash::Reject => return Err("the path holds an encoded slash"),
                    EncodedSlash::Decode => {
                        read = Read::Otherwise;
                        out.push(b'/');
                    }
                }
            }
            byte if encoded.is_some() => {
                rest = after.get(2..).unwrap_or_default();
                if is_unreserved(byte) && !would_encode(&out, bare_percent, byte) {
                    out.push(byte);
                } else {
                    push_encoded(&mut out, byte);
                }
            }
            b'\\' => match rules.dot_segments {
                DotSegments::Keep => out.push(b'\\'),
                DotSegments::Reject => return Err("the path holds a backslash"),
                DotSegments::Resolve => {
                    read = Read::Otherwise;
                    out.push(b'/');
                }
            },
            byte @ 0x80.. => push_encoded(&mut out, byte),
            byte => {
                if byte == b'%' {
                    bare_percent = Some(out.len());
                }
                out.push(byte);
            }
        }
    }
    Ok((out, read))
}

/// The byte that `%XX` stands for.
fn triplet(first: u8, after: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match after {
        [high, low, ..] if first == b'%' => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a decoded `byte` would make an encoding out of a `%` that stands for itself: `%%36%31` must not become `%61`.
fn would_encode(out: &[u8], bare_percent: Option<usize>, byte: u8) -> bool {
    byte.is_ascii_hexdigit() && bare_percent.is_some_and(|at| out.len() - at <= 2)
}

fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
}

/// Merges slashes and resolves dot segments; whether there were any of the latter.
fn resolve(path: &[u8], rules: Normalize) -> Result<(Vec<u8>, bool), &'static str> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut resolved = false;
    let mut pieces = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = pieces.next() {
        let last = pieces.peek().is_none();
        if segment.is_empty() && !last {
            match rules.double_slash {
                DoubleSlash::Keep => {}
                DoubleSlash::Merge => continue,
                DoubleSlash::Reject => return Err("the path holds `//`"),
            }
        }
        if rules.dot_segments == DotSegments::Keep {
            segments.push(segment);
            continue;
        }
        if hides_dots(segment) {
            return Err("the path holds a dot segment that not every app reads alike");
        }
        let dots = segment == b"." || segment == b"..";
        if dots && rules.dot_segments == DotSegments::Reject {
            return Err("the path holds a dot segment");
        }
        if dots {
            resolved = true;
            if segment == b".." {
                segments.pop();
            }
            // What ends in a dot segment is a directory.
            if last {
                segments.push(b"");
            }
        } else {
            segments.push(segment);
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok((out, resolved))
}

/// `..;x`, which servlet containers read as `..`, and dots beside an encoded slash, which is a slash for those who decode
/// before they split.
fn hides_dots(segment: &[u8]) -> bool {
    let parameter = |rest: &[u8]| rest.first() == Some(&b';');
    if segment.strip_prefix(b"..").is_some_and(parameter)
        || segment.strip_prefix(b".").is_some_and(parameter)
    {
        return true;
    }
    if !segment.windows(3).any(is_encoded_slash) {
        return false;
    }
    let mut begin = 0;
    let mut at = 0;
    while at <= segment.len() {
        let slash = segment.get(at..at + 3).is_some_and(is_encoded_slash);
        if slash || at == segment.len() {
            let part = segment.get(begin..at).unwrap_or_default();
            let name = part.split(|&byte| byte == b';').next().unwrap_or_default();
            if name == b"." || name == b".." {
                return true;
            }
            begin = at + 3;
            at = begin;
        } else {
            at += 1;
        }
    }
    false
}

fn is_encoded_slash(three: &[u8]) -> bool {
    three == b"%2F" || three == b"%5C"
}

#[cfg(test)]
mod tests;
