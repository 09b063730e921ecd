//! The question of gRPC: `grpc.health.v1.Health/Check`.
//!
//! Path: [`super::ask`]. One unary call over HTTP/2 by prior knowledge. Its two messages have a field each, so they are
//! written and read here by hand (gRPC over HTTP/2; GRPC Health Checking Protocol; Protocol Buffers, "Encoding").
//! Whatever is not SERVING is not healthy, and whoever has no health service is told so.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::super::address::Address;
use super::{AGENT, GrpcQuestion, MAX_HEAD, scheme, words};
use crate::policy::failure::{Content, content, grpc_status};
use crate::wire::Wire;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Longest answer, in bytes: what is needed is two.
const MAX_ANSWER: usize = 4 * 1024;

/// Longest text of an endpoint that is repeated, in bytes.
const MAX_TEXT: usize = 80;

/// The flag and the length before a message.
const PREFIX: usize = 5;

/// Asks over `io`.
///
/// # Errors
///
/// Why the endpoint is not well, in a few words.
pub(super) async fn ask(
    io: Wire,
    address: &Address,
    question: &GrpcQuestion,
) -> Result<(), String> {
    let scheme = scheme(&io);
    let no_http2 = |error: hyper::Error| format!("HTTP/2: {}", words(&error));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    let (mut sender, driver) = builder
        .handshake::<_, Full<Bytes>>(TokioIo::new(io))
        .await
        .map_err(no_http2)?;
    // Ends with this check, and closes the connection.
    let _driver = AbortOnDropHandle::new(tokio::spawn(driver));
    let request = question
        .request(address, scheme)
        .ok_or("its address is no host")?;
    let answer = sender.send_request(request).await.map_err(no_http2)?;
    judge(answer, question).await
}

impl GrpcQuestion {
    fn request(&self, address: &Address, scheme: Scheme) -> Option<Request<Full<Bytes>>> {
        let host = self.host.clone();
        let host = host.or_else(|| address.host().parse::<Authority>().ok())?;
        let mut request = Request::new(Full::new(framed(&request_message(&self.service))));
        *request.method_mut() = Method::POST;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(scheme);
        uri.authority = Some(host);
        uri.path_and_query = Some(PathAndQuery::from_static(PATH));
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Some(request)
    }
}

async fn judge(answer: Response<Incoming>, question: &GrpcQuestion) -> Result<(), String> {
    if answer.status() != StatusCode::OK {
        return Err(format!("answered {} in HTTP", answer.status().as_u16()));
    }
    if content(answer.headers()) != Content::Grpc {
        return Err("its answer is not gRPC".into());
    }
    if let Some(code) = grpc_status(answer.headers()) {
        succeeded(code, answer.headers(), question)?;
    }
    let (message, trailers) = read(answer.into_body()).await?;
    if let Some(trailers) = trailers {
        let code = grpc_status(&trailers).ok_or("its answer has no grpc-status")?;
        succeeded(code, &trailers, question)?;
    }
    let message = unframed(&message).ok_or("its answer is no message of gRPC")?;
    match serving_status(message) {
        Some(1) => Ok(()),
        Some(0) => Err("it says UNKNOWN".into()),
        Some(2) => Err("it says NOT_SERVING".into()),
        Some(3) => Err("it says SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("it says {other}, which is no status of health")),
        None => Err("its answer is no message of the health service".into()),
    }
}

fn succeeded(code: u16, fields: &HeaderMap, question: &GrpcQuestion) -> Result<(), String> {
    Err(match code {
        0 => return Ok(()),
        5 => format!("its health service does not know `{}`", question.service),
        12 => "it has no health service (grpc-status 12, UNIMPLEMENTED)".into(),
        code => {
            let told = fields.get("grpc-message").and_then(|it| it.to_str().ok());
            let told = told.unwrap_or_default();
            let told = told.get(..MAX_TEXT).unwrap_or(told);
            let colon = if told.is_empty() { "" } else { ": " };
            format!("answered grpc-status {code}{colon}{told}")
        }
    })
}

async fn read(mut body: Incoming) -> Result<(Bytes, Option<HeaderMap>), String> {
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| words(&error))?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() > MAX_ANSWER => {
                return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
            }
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => return Ok((message.freeze(), frame.into_trailers().ok())),
        }
    }
    Ok((message.freeze(), None))
}

/// `message HealthCheckRequest { string service = 1; }`
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if service.is_empty() {
        return message;
    }
    message.push(1 << 3 | 2);
    let mut length = service.len();
    while length > 0x7f {
        message.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    message.push(length.to_le_bytes()[0]);
    message.extend_from_slice(service.as_bytes());
    message
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The one message, which nobody has asked to be compressed.
fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = bytes.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = prefix else {
        return None;
    };
    (message.len() == u32::from_be_bytes(*length) as usize).then_some(message)
}

/// `message HealthCheckResponse { ServingStatus status = 1; }`. Fields that are not known are skipped; 0 is not written.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (1.., 0) => drop(varint(&mut message)?),
            (1.., 1) => message = message.get(8..)?,
            (1.., 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (1.., 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Ten bytes at most, seven bits each, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_question_is_written_as_protobuf_has_it() {
        assert_eq!(&framed(&request_message(""))[..], [0; 5]);
        assert_eq!(
            &framed(&request_message("ab"))[..],
            b"\0\0\0\0\x04\x0a\x02ab"
        );
        let long = request_message(&"x".repeat(200));
        assert_eq!(long[..3], [0x0a, 0xc8, 1]);
        assert_eq!(long.len(), 203);
    }

    #[test]
    fn the_status_is_found_among_fields_that_are_not_known() {
        assert_eq!(serving_status(b"\x08\x01"), Some(1));
        assert_eq!(serving_status(b""), Some(0), "what is not written is 0");
        assert_eq!(
            serving_status(b"\x08\x01\x08\x02"),
            Some(2),
            "the last one counts"
        );
        let others = b"\x12\x03abc\x18\x80\x01\x25abcd\x29abcdefgh\x08\x01";
        assert_eq!(serving_status(others), Some(1));
        for wrong in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x05ab",
            b"\x00\x01",
            b"\x0b",
            b"\x29ab",
            &[0xff; 11],
        ] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_frame_is_whole_and_not_compressed() {
        assert_eq!(unframed(b"\0\0\0\0\x02\x08\x01"), Some(&b"\x08\x01"[..]));
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x02\x08",
            b"\0\0\0\0\x01\x08\x01",
        ] {
            assert_eq!(unframed(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = serving_status(&bytes);
            let _ = unframed(&bytes);
        }
    }
}
