//! Where HTTP/1 messages begin and end, read beside hyper, for what hyper does not tell.
//!
//! Path: [`super::io`] shows every read → an offence is noted in [`super::state`] with the number of the request it is in →
//! `proxy::forward` asks before it routes that request. hyper drops a `Content-Length` beside `Transfer-Encoding`, folds
//! equal lengths into one and takes LF for CR LF: all of which other servers may read differently (RFC 9112 §2.2, §6.3,
//! §11.2). Of a head only line ends and the lines that begin with `c` or `t` are looked at; bodies are skipped by their
//! length. Nothing is copied but a line that the network has cut. Where this reading loses its way, the next request is
//! refused: to disagree with hyper can cost a request, never an offence.

use crate::telemetry::protocol::Offence;

/// Kept of a line that comes in pieces. No length or coding is longer; the others are not looked at.
const LINE: usize = 128;

/// The reader of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    at: At,
    cut: Cut,
    /// Heads begun.
    heads: u32,
    coded: bool,
    length: Option<u64>,
    offence: Option<(u32, Offence)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a request line.
    #[default]
    Start,
    Field,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Lost,
}

/// A line of which the end has not come.
#[derive(Debug, Default)]
struct Cut {
    text: Vec<u8>,
    /// Whether anything of it has come, and the last byte.
    last: Option<u8>,
    /// Whether more has come than is kept.
    more: bool,
}

struct Line<'a> {
    /// Without its end.
    text: &'a [u8],
    /// Whether CR stood before LF.
    proper: bool,
}

impl Framing {
    /// Reads on; the first offence, once it is found, with the number of the request it is in, from 1.
    pub fn read(&mut self, mut bytes: &[u8]) -> Option<(u32, Offence)> {
        // The connection ends with the first; or HTTP has ended, and what comes is no business of ours.
        while !bytes.is_empty() && self.offence.is_none() {
            bytes = match self.at {
                At::Lost => break,
                At::Body(left) => self.skip(bytes, left, At::Body, At::Start),
                At::Chunk(left) => self.skip(bytes, left, At::Chunk, At::ChunkEnd),
                At::Start | At::Field | At::ChunkSize | At::ChunkEnd | At::Trailer => {
                    self.lines(bytes)
                }
            };
        }
        self.offence
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, at: fn(u64) -> At, then: At) -> &'a [u8] {
        let step = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - step as u64;
        self.at = if left == 0 { then } else { at(left) };
        bytes.get(step..).unwrap_or_default()
    }

    /// Takes the lines that are there, and the part of the last one; gives what is no line.
    fn lines<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut begin = 0;
        for end in LineEnds::of(bytes) {
            self.whole(bytes.get(begin..end).unwrap_or_default());
            begin = end + 1;
            let body = matches!(self.at, At::Body(_) | At::Chunk(_) | At::Lost);
            if body || self.offence.is_some() {
                return bytes.get(begin..).unwrap_or_default();
            }
        }
        self.cut.push(bytes.get(begin..).unwrap_or_default());
        &[]
    }

    /// Takes a line whose end has come.
    fn whole(&mut self, line: &[u8]) {
        if self.cut.last.is_none() {
            let proper = line.ends_with(b"\r");
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            self.line(&Line { text, proper });
        } else {
            self.cut.push(line);
            let Cut { text, last, more } = std::mem::take(&mut self.cut);
            let end = text.strip_suffix(b"\r").filter(|_| !more);
            let text = end.unwrap_or(&text);
            let proper = last == Some(b'\r');
            self.line(&Line { text, proper });
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        match self.at {
            At::Start => self.start(line),
            At::Field => self.field(line),
            At::ChunkSize => match chunk_size(line) {
                Some(0) => self.at = At::Trailer,
                Some(size) => self.at = At::Chunk(size),
                None => self.lose(),
            },
            At::ChunkEnd if line.text.is_empty() && line.proper => self.at = At::ChunkSize,
            At::Trailer if line.proper => {
                if line.text.is_empty() {
                    self.at = At::Start;
                }
            }
            At::ChunkEnd | At::Trailer => self.lose(),
            At::Body(_) | At::Chunk(_) | At::Lost => {}
        }
    }

    fn start(&mut self, line: &Line<'_>) {
        // An empty line before a request is passed over (RFC 9112 §2.2).
        if !line.text.is_empty() {
            (self.coded, self.length) = (false, None);
            self.heads = self.heads.wrapping_add(1);
            self.at = At::Field;
            if self.heads == 1 && is_foreign(line.text) {
                self.at = At::Lost;
                return self.offend(1, Offence::NotHttp);
            }
        }
        if !line.proper {
            let number = if line.text.is_empty() {
                self.heads.wrapping_add(1)
            } else {
                self.heads
            };
            self.offend(number, Offence::BareLf);
        }
    }

    fn field(&mut self, line: &Line<'_>) {
        if !line.proper {
            self.offend(self.heads, Offence::BareLf);
        }
        match line.text.first() {
            None => {
                self.at = match (self.coded, self.length) {
                    (true, _) => At::ChunkSize,
                    (false, None | Some(0)) => At::Start,
                    (false, Some(length)) => At::Body(length),
                };
            }
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line.text, b"content-length:") {
                    // What is longer than is kept is refused like what is no number.
                    self.length(if is_whole(line.text) { value } else { b"" });
                }
            }
            Some(b't' | b'T') => {
                if value_of(line.text, b"transfer-encoding:").is_some() {
                    self.coded = true;
                    if self.length.is_some() {
                        self.offend(self.heads, Offence::BothFramings);
                    }
                }
            }
            Some(_) => {}
        }
    }

    fn length(&mut self, value: &[u8]) {
        if self.coded {
            self.offend(self.heads, Offence::BothFramings);
        } else if self.length.is_some() {
            self.offend(self.heads, Offence::SeveralLengths);
        }
        match number(value.trim_ascii()) {
            Some(length) => self.length = Some(length),
            None => {
                self.at = At::Lost;
                self.offend(self.heads, Offence::Length);
            }
        }
    }

    /// The body ends here for hyper, too; if it did not, its next request would be refused.
    fn lose(&mut self) {
        self.at = At::Lost;
        self.offend(self.heads.wrapping_add(1), Offence::Chunk);
    }

    fn offend(&mut self, number: u32, offence: Offence) {
        self.offence.get_or_insert((number, offence));
    }
}

impl Cut {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.last = Some(*last);
            let room = LINE.saturating_sub(self.text.len()).min(bytes.len());
            self.more |= room < bytes.len();
            self.text
                .extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
    }
}

/// Where each LF stands, looked for by eights: lines of a head are too short for a search that has to be started for each.
struct LineEnds<'a> {
    eights: std::slice::Iter<'a, [u8; 8]>,
    rest: Option<[u8; 8]>,
    /// Of the eight looked at last, the highest bit of each LF that was not given yet.
    ends: u64,
    /// Where the next eight begins.
    at: usize,
}

impl<'a> LineEnds<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let (eights, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        Self {
            eights: eights.iter(),
            rest: Some(last),
            ends: 0,
            at: 0,
        }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.ends == 0 {
            let eight = match self.eights.next() {
                Some(eight) => *eight,
                None => self.rest.take()?,
            };
            self.ends = line_ends(u64::from_le_bytes(eight));
            self.at += 8;
        }
        let end = self.at - 8 + self.ends.trailing_zeros() as usize / 8;
        self.ends &= self.ends - 1;
        Some(end)
    }
}

/// The highest bit of each byte that is LF, exactly: nothing is carried from byte to byte.
fn line_ends(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const LOW: u64 = ONES * 0x7f;
    let other = bytes ^ (ONES * b'\n' as u64);
    !(((other & LOW) + LOW) | other | LOW)
}

/// Whether a connection's first line has the form of a request line, and neither its target nor its version is HTTP's: whoever
/// begins so, be it with a broken preface of HTTP/2, would not understand an answer either. A long line is left to hyper, for
/// only its beginning is kept.
fn is_foreign(line: &[u8]) -> bool {
    if !is_whole(line) {
        return false;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (_, target, version) = (words.next(), words.next(), words.next());
    let target = target.is_some_and(|it| it != b"*" && !it.iter().any(|it| b"/:".contains(it)));
    target && version.is_some_and(|it| !it.starts_with(b"HTTP/")) && words.next().is_none()
}

/// Whether the line is one that is kept whole, with its CR, however the network cuts it.
fn is_whole(line: &[u8]) -> bool {
    line.len() + 1 < LINE
}

/// What stands behind `name`, which ends with the colon.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

fn chunk_size(line: &Line<'_>) -> Option<u64> {
    let kept = line.text.get(..LINE - 1).unwrap_or(line.text);
    let end = (kept.iter()).position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    let end = end.or_else(|| is_whole(line.text).then_some(line.text.len()))?;
    let digits = std::str::from_utf8(line.text.get(..end)?).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (line.proper && plain).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests;
