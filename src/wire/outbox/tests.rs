//! Over real sockets, whose other ends are looked at without waiting.

use std::io::Read;
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::yield_now;

use super::*;

/// A stream and the other end, which does not block.
async fn pair() -> (Batched, StdTcpStream) {
    let (ours, theirs) = streams().await;
    (Batched::new(ours), theirs.into_std().unwrap())
}

async fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (ours.unwrap(), theirs.unwrap().0)
}

/// What has arrived; loopback delivers within the send.
fn arrived(mut stream: &StdTcpStream) -> String {
    let mut bytes = [0; 256];
    match stream.read(&mut bytes) {
        Ok(read) => String::from_utf8_lossy(&bytes[..read]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => String::new(),
        Err(error) => error.to_string(),
    }
}

/// Runs `test` on a thread whose outbox is carried.
fn carried(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(tokio::spawn(carry()));
        yield_now().await;
        test.await;
    });
}

#[test]
fn small_messages_leave_when_all_who_are_ready_had_a_turn() {
    carried(async {
        let (mut one, from_one) = pair().await;
        let (mut other, from_other) = pair().await;
        one.write_all(b"a head").await.unwrap();
        one.flush().await.unwrap();
        other.write_all(b"another").await.unwrap();
        one.write_all(b" and a body").await.unwrap();
        assert_eq!(
            (arrived(&from_one), arrived(&from_other)),
            ("".into(), "".into())
        );
        yield_now().await;
        assert_eq!(arrived(&from_one), "a head and a body");
        assert_eq!(arrived(&from_other), "another");
    });
}

#[tokio::test]
async fn where_nobody_carries_they_leave_at_once() {
    let (mut stream, peer) = pair().await;
    stream.write_all(b"now").await.unwrap();
    assert_eq!(arrived(&peer), "now");
}

#[test]
fn a_long_message_overtakes_none_before_it() {
    carried(async {
        let (mut stream, mut peer) = pair().await;
        stream.write_all(b"first").await.unwrap();
        stream.write_all(&[b'x'; SMALL + 1]).await.unwrap();
        let mut both = [0; 5 + SMALL + 1];
        peer.read_exact(&mut both).unwrap();
        assert!(both.starts_with(b"firstxxx"));
    });
}

#[test]
fn a_full_outbox_is_emptied_at_once() {
    carried(async {
        let (mut stream, peer) = pair().await;
        let (mut other, _peer) = pair().await;
        stream.write_all(b"first").await.unwrap();
        for _ in 0..=FULL / SMALL {
            other.write_all(&[b'x'; SMALL]).await.unwrap();
        }
        assert_eq!(arrived(&peer), "first");
    });
}

#[test]
fn what_the_socket_does_not_take_follows_in_order() {
    carried(async {
        let (ours, mut theirs) = streams().await;
        for stream in [&ours, &theirs].map(socket2::SockRef::from) {
            stream.set_tcp_nodelay(true).unwrap();
            stream.set_send_buffer_size(32 * 1024).unwrap();
            stream.set_recv_buffer_size(32 * 1024).unwrap();
        }
        let mut stream = Batched::new(ours);
        let outgoing = Arc::clone(&stream.outgoing);
        let sent: Vec<u8> = (0..1_000_000_u32)
            .map(|it| (it ^ (it >> 8)).to_le_bytes()[0])
            .collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            let mut left = sent.as_slice();
            // Of every length around the limit.
            for length in (1..2 * SMALL).step_by(7).cycle() {
                let (now, later) = left.split_at(length.min(left.len()));
                stream.write_all(now).await.unwrap();
                stream.flush().await.unwrap();
                left = later;
                if left.is_empty() {
                    return stream.shutdown().await.unwrap();
                }
            }
        });
        let mut read = Vec::with_capacity(expected.len());
        let mut not_taken = 0;
        loop {
            not_taken += usize::from(!outgoing.sending.lock().rest.is_empty());
            if (&mut theirs)
                .take(999)
                .read_to_end(&mut read)
                .await
                .unwrap()
                == 0
            {
                break;
            }
        }
        assert!(read == expected);
        assert!(not_taken > 0);
        writing.await.unwrap();
    });
}

#[test]
fn a_broken_stream_wakes_its_owner_and_tells_it_next_time() {
    carried(async {
        let (mut stream, peer) = pair().await;
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        stream.write_all(b"to nobody").await.unwrap();
        let told = poll_fn(|cx| {
            stream.outgoing.sending.lock().owned_by(cx.waker());
            Pin::new(&mut stream).poll_write(cx, b"again")
        });
        let mut told = pin!(told);
        // Taken in, as one cannot know yet.
        assert!(matches!((&mut told).now_or_never(), Some(Ok(5))));
        yield_now().await;
        assert!(told.await.is_err());
    });
}

#[test]
fn a_shutdown_comes_after_what_was_posted() {
    carried(async {
        let (mut stream, mut peer) = pair().await;
        stream.write_all(b"good bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "good bye");
    });
}

#[test]
fn who_lets_go_of_a_stream_has_sent_what_it_posted() {
    carried(async {
        let (mut stream, mut peer) = pair().await;
        stream.write_all(b"good bye").await.unwrap();
        drop(stream);
        assert_eq!(arrived(&peer), "");
        yield_now().await;
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(all, "good bye");
    });
}

#[test]
fn the_carriers_end_sends_what_is_left() {
    let peer = {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            drop(tokio::spawn(carry()));
            yield_now().await;
            let (mut stream, peer) = pair().await;
            stream.write_all(b"left").await.unwrap();
            std::mem::forget(stream);
            peer.shutdown(Shutdown::Write).unwrap();
            peer
        })
    };
    assert_eq!(arrived(&peer), "left");
}
