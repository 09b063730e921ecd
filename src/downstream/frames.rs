//! HTTP/2 frames that cost us work and bring nothing, counted as they come.
//!
//! Path: [`super::io`] shows every read of an HTTP/2 connection; over the limit the connection is told to end. The h2
//! library bounds memory: what it must answer is answered before it reads on, header blocks have a size and a number of
//! frames. It does not bound work: a client may ask for PINGs, settings and resets for ever. Here each such frame takes
//! from a bucket that fills with time (compare CVE-2019-9512, -9515, -9518, CVE-2023-44487). PINGs between messages are
//! free, for clients measure with them; so is the reset of a stream that was given time to be answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::protocol::Offence;

/// Frames without use that may come at once, and how many more per second.
const IDLE_FRAMES: Bucket = Bucket::new(1000, 50);

/// Streams that may be reset young at once, and how many more per second. Envoy ends a connection after 500.
const YOUNG_RESETS: Bucket = Bucket::new(500, 100);

/// Younger than one or two of these is young.
const MARK: Duration = Duration::from_millis(500);

const PREFACE: u64 = 24;
const HEADER: usize = 9;

/// The counter of one connection.
#[derive(Debug)]
pub struct Frames {
    /// Bytes to pass over before the next frame.
    skip: u64,
    header: [u8; HEADER],
    have: usize,
    idle: Bucket,
    resets: Bucket,
    /// The highest stream opened by the mark before last, by the last one, and so far.
    opened: [u32; 3],
    marked: Option<Instant>,
    substance: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            idle: IDLE_FRAMES,
            resets: YOUNG_RESETS,
            opened: [0; 3],
            marked: None,
            substance: false,
        }
    }
}

impl Frames {
    /// The kind of the last frame that began.
    pub fn last_kind(&self) -> u8 {
        self.header[3]
    }

    /// Reads on; what was done too often.
    pub fn read(&mut self, mut bytes: &[u8]) -> Option<Offence> {
        let mut offence = None;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = usize::try_from(self.skip).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.skip -= step as u64;
                bytes = bytes.get(step..).unwrap_or_default();
                continue;
            }
            let step = (HEADER - self.have).min(bytes.len());
            let (piece, rest) = bytes.split_at(step);
            for (place, byte) in self.header.iter_mut().skip(self.have).zip(piece) {
                *place = *byte;
            }
            (self.have, bytes) = (self.have + step, rest);
            if self.have == HEADER {
                self.have = 0;
                offence = self.frame().or(offence);
            }
        }
        offence
    }

    /// Notes that so many bytes were sent: more than the answer to a frame without use means a message.
    pub fn wrote(&mut self, bytes: usize) {
        self.substance |= bytes > 64;
    }

    fn frame(&mut self) -> Option<Offence> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.skip = length.into();
        match kind {
            // Without data and without ending its stream.
            0 if length == 0 && flags & 1 == 0 => self.idle(),
            0 | 9 => {
                self.substance = true;
                None
            }
            1 => {
                self.opened(stream);
                None
            }
            3 => self.reset(stream),
            // WINDOW_UPDATE comes with what we send.
            8 => None,
            6 if std::mem::take(&mut self.substance) => None,
            _ => self.idle(),
        }
    }

    fn idle(&mut self) -> Option<Offence> {
        (!self.idle.take(Instant::now())).then_some(Offence::FrameFlood)
    }

    fn opened(&mut self, stream: u32) {
        self.substance = true;
        self.grow_older(Instant::now());
        let [.., newest] = &mut self.opened;
        *newest = (*newest).max(stream);
    }

    fn reset(&mut self, stream: u32) -> Option<Offence> {
        let now = Instant::now();
        self.grow_older(now);
        let young = stream > self.opened[0];
        (young && !self.resets.take(now)).then_some(Offence::RapidReset)
    }

    /// Sets a mark when one is due. Whatever was opened after the last mark was opened within its time, for the next
    /// stream after that sets another one.
    fn grow_older(&mut self, now: Instant) {
        let age = now.saturating_duration_since(*self.marked.get_or_insert(now));
        if age >= MARK {
            let [_, last, newest] = self.opened;
            let old = if age >= MARK * 2 { newest } else { last };
            self.opened = [old, newest, newest];
            self.marked = Some(now);
        }
    }
}

/// Fills with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    most: u32,
    per_second: u32,
    filled: Option<Instant>,
}

impl Bucket {
    const fn new(most: u32, per_second: u32) -> Self {
        Self {
            left: most,
            most,
            per_second,
            filled: None,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let filled = *self.filled.get_or_insert(now);
        let seconds = now.saturating_duration_since(filled).as_secs();
        if seconds > 0 {
            let more = u64::from(self.per_second).saturating_mul(seconds);
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.most);
            self.filled = Some(now);
        }
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(vec![0; payload]);
        bytes
    }

    fn begun() -> Frames {
        let mut frames = Frames::default();
        assert_eq!(frames.read(&[0; 24]), None);
        frames
    }

    /// How many of `bytes` are taken in a row.
    fn taken(frames: &mut Frames, mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
        let found = (0..10_000).find(|n| frames.read(&bytes(*n)).is_some());
        found.unwrap_or(u32::MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_use_are_bounded() {
        for (what, bytes) in [
            ("PING", frame(6, 0, 8)),
            ("SETTINGS", frame(4, 0, 6)),
            ("PRIORITY", frame(2, 1, 5)),
            ("empty DATA", frame(0, 1, 0)),
            ("unknown", frame(77, 1, 3)),
        ] {
            let frames = &mut begun();
            assert_eq!(taken(frames, |_| bytes.clone()), 1000, "{what}");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(taken(frames, |_| bytes.clone()), 100, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_between_messages_are_free() {
        let frames = &mut begun();
        let both = [frame(6, 0, 8), frame(0, 1, 100)].concat();
        assert_eq!(taken(frames, |_| both.clone()), u32::MAX);
        assert_eq!(taken(frames, |_| frame(8, 0, 4)), u32::MAX, "WINDOW_UPDATE");
    }

    #[tokio::test(start_paused = true)]
    async fn resets_of_young_streams_are_bounded_and_others_are_not() {
        let open = |n: u32| frame(1, 2 * n + 1, 10);
        let reset = |n: u32| frame(3, 2 * n + 1, 4);
        let frames = &mut begun();
        let rapid = |n| [open(n), reset(n)].concat();
        assert_eq!(taken(frames, rapid), 500);
        let frames = &mut begun();
        for n in 0..2_000 {
            assert_eq!(frames.read(&open(n)), None);
            if n % 100 == 99 {
                tokio::time::advance(Duration::from_secs(2)).await;
                for n in n - 99..=n {
                    assert_eq!(frames.read(&reset(n)), None, "{n}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_network_may_cut_anywhere() {
        let mut frames = Frames::default();
        let mut bytes = vec![0; 24];
        for n in 0..600 {
            bytes.extend(frame(1, 2 * n + 1, 300));
            bytes.extend(frame(3, 2 * n + 1, 4));
        }
        let found = bytes.chunks(7).find_map(|piece| frames.read(piece));
        assert_eq!(found, Some(Offence::RapidReset));
    }
}
