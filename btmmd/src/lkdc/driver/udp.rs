//! Requests in datagrams (RFC 4120 §7.2.1).

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::{Desk, MAX_DATAGRAM};
use crate::clock;
use crate::lkdc::asn1::MAX_MESSAGE;
use crate::lkdc::kdc::event::{Source, Transport};

/// After this long other tasks of the thread have their turn: a datagram can be cheap, or a certificate's signature.
const TURN: Duration = Duration::from_millis(2);
/// Pause after the system could not receive.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the task is dropped.
pub(super) async fn serve(socket: UdpSocket, desk: Desk) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "the KDC cannot receive");
            tokio::time::sleep(PAUSE).await;
        }
        let over = clock::monotonic() + TURN;
        while clock::monotonic() < over {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, remote)) => answer(&socket, &desk, buffer.get(..length).unwrap_or_default(), remote),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A sender that is gone tells so by ICMP: nothing to do about it.
                Err(error) => tracing::trace!(%error, "nothing received"),
            }
        }
        tokio::task::yield_now().await;
    }
}

fn answer(socket: &UdpSocket, desk: &Desk, request: &[u8], remote: std::net::SocketAddr) {
    let mut reply = desk.answer(request, Source { address: remote, transport: Transport::Udp });
    if reply.len() > MAX_DATAGRAM {
        reply = desk.kdc.too_big(clock::wall());
    }
    if reply.is_empty() {
        return;
    }
    if let Err(error) = socket.try_send_to(&reply, remote) {
        tracing::debug!(%remote, %error, "reply not sent");
    }
}
