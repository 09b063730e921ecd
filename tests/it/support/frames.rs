//! An HTTP/2 client that writes whatever frames it is told.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without names from a table (RFC 7541 §6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one byte");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(*text);
        }
    }
    bytes
}

/// A request without a body.
pub fn headers(stream: u32, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// A GET of `path`.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(
        stream,
        &[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", path.as_bytes()),
        ],
    )
}

/// One connection, preface and empty settings sent.
pub struct Frames {
    pub stream: TcpStream,
}

impl Frames {
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// With these settings, as they stand in a frame.
    pub fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream };
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(&frame(SETTINGS, 0, 0, settings));
        frames
    }

    /// Whether the other side takes it.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; an error at the end.
    pub fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The status with which `stream` is answered; `None` when it or the connection is ended instead.
    pub fn status(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.next().ok()?;
            match frame.kind {
                GOAWAY => return None,
                RST_STREAM if frame.stream == stream => return None,
                HEADERS if frame.stream == stream => {
                    let [first, rest @ ..] = &frame.payload[..] else {
                        return None;
                    };
                    // Indexed ones of RFC 7541, appendix A; others as a literal behind the name's index.
                    let known = [200, 204, 206, 304, 400, 404, 500];
                    return match first {
                        0x88..=0x8e => Some(known[usize::from(first - 0x88)]),
                        _ => literal(rest),
                    };
                }
                _ => {}
            }
        }
    }

    /// The error code of the GOAWAY that comes before the end; `None` if it ends without.
    pub fn goaway(&mut self) -> Option<u32> {
        loop {
            let frame = self.next().ok()?;
            if frame.kind == GOAWAY {
                let code = frame.payload.get(4..8)?;
                return Some(u32::from_be_bytes(code.try_into().unwrap()));
            }
        }
    }

    /// Waits for the end, whatever comes before it.
    pub fn ends(&mut self) {
        while self.next().is_ok() {}
    }
}

fn literal(rest: &[u8]) -> Option<u16> {
    // Digits in Huffman code are five bits each from 0 to 2, six from 3 to 9 (RFC 7541, appendix B).
    let length = usize::from(rest.first()? & 0x7f);
    let bytes = rest.get(1..=length)?;
    if rest[0] & 0x80 == 0 {
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |number, bit| number << 1 | bit);
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = number(bits.get(at..at + 5)?);
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            let six = number(bits.get(at..at + 6)?);
            at += 6;
            six.checked_sub(0b01_1001)? + 3
        };
        status = status * 10 + u16::from(digit);
    }
    Some(status)
}
