//! What the proxy gives up when its memory runs short.
