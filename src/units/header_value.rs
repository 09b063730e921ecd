//! Short values of header fields, cut from a block that a thread shares among them.
//!
//! A value of its own costs two allocations: its bytes, and a counter as soon as it is copied, which an id is, for the log
//! and for another attempt. A slice of a block has both already.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderValue;

/// Bytes of a block; so many stay as long as one value of it does.
const BLOCK: usize = 2048;

thread_local! {
    static REST: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A value with these bytes; `None` if they are none (RFC 9110 §5.5).
pub fn short_value(bytes: &[u8]) -> Option<HeaderValue> {
    if bytes.len() > BLOCK / 8 {
        return HeaderValue::from_bytes(bytes).ok();
    }
    let slice = REST.try_with(|rest| {
        let mut rest = rest.borrow_mut();
        if rest.capacity() < bytes.len() {
            *rest = BytesMut::with_capacity(BLOCK);
        }
        rest.extend_from_slice(bytes);
        rest.split().freeze()
    });
    match slice {
        Ok(slice) => HeaderValue::from_maybe_shared(slice).ok(),
        // A thread that ends has no block anymore.
        Err(_) => HeaderValue::from_bytes(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_what_they_were() {
        let text = |n: usize| format!("{n:0width$}", width = n % 300);
        let values: Vec<_> = (0..1000).map(|n| short_value(text(n).as_bytes())).collect();
        for (n, value) in values.iter().enumerate() {
            assert_eq!(value.as_ref().unwrap(), &text(n));
        }
    }

    #[test]
    fn what_is_no_value_is_none() {
        assert_eq!(short_value(b"a\r\nb"), None);
        assert_eq!(short_value(b"a\0b"), None);
        assert_eq!(short_value(&[b'\n'; 500]), None);
        assert_eq!(short_value(b""), Some(HeaderValue::from_static("")));
    }
}
