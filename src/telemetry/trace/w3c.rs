//! `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`.
//!
//! Source: W3C Trace Context §3.2. A later version is read as far as this one goes; what is malformed is no parent.

use super::context::{Flags, Incoming, Remote};
use super::ids::{SpanId, TraceId, number};

/// Length of version 00.
pub const LENGTH: usize = 55;

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// What `value` says; `None` if it is malformed.
pub fn parse(value: &[u8]) -> Option<Incoming> {
    let (head, rest) = value.split_first_chunk::<LENGTH>()?;
    let version = number(&head[..2])?;
    let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
    // What follows may be anything in a later version, but it is a further field.
    let ended = rest.is_empty() || (version > 0 && rest.starts_with(b"-"));
    if version == 0xff || !dashes || !ended {
        return None;
    }
    let flags = u8::try_from(number(&head[53..])?).ok()?;
    let sampled = flags & SAMPLED != 0;
    Some(Incoming {
        remote: Some(Remote {
            trace: TraceId::parse(&head[3..35])?,
            span: SpanId::parse(&head[36..52])?,
        }),
        sampled: Some(sampled),
        flags: Flags {
            sampled,
            random: flags & RANDOM != 0,
            debug: false,
        },
    })
}

/// The value that names `span` of `trace`.
pub fn format(trace: TraceId, span: SpanId, flags: Flags) -> [u8; LENGTH] {
    let mut value = *b"00-                                -                -00";
    value[3..35].copy_from_slice(&trace.hex());
    value[36..52].copy_from_slice(&span.hex());
    value[54] += u8::from(flags.sampled) * SAMPLED + u8::from(flags.random) * RANDOM;
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let read = parse(GOOD.as_bytes()).unwrap();
        let remote = read.remote.unwrap();
        assert_eq!(remote.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(remote.span.to_string(), "00f067aa0ba902b7");
        assert_eq!(read.sampled, Some(true));
        assert_eq!(
            format(remote.trace, remote.span, read.flags),
            GOOD.as_bytes()
        );
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        for (good, sampled) in [
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                true,
            ),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe-what-ever",
                false,
            ),
        ] {
            assert_eq!(
                parse(good.as_bytes()).unwrap().sampled,
                Some(sampled),
                "{good}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(sampled: bool, random: bool) {
            let (trace, span) = (TraceId::random(), SpanId::random());
            let flags = Flags { sampled, random, debug: false };
            let read = parse(&format(trace, span, flags));
            let told = Incoming { remote: Some(Remote { trace, span }), sampled: Some(sampled), flags };
            prop_assert_eq!(read, Some(told));
        }

        #[test]
        fn no_bytes_break_the_reader(value: Vec<u8>, at in 0usize..55, byte: u8) {
            parse(&value);
            let mut near = GOOD.as_bytes().to_vec();
            near[at] = byte;
            if let Some(read) = parse(&near) {
                prop_assert!(read.remote.is_some());
            }
            near.truncate(at);
            prop_assert_eq!(parse(&near), None);
        }
    }
}
