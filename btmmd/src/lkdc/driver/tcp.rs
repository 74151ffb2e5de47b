//! Requests in streams: each message after its length in four octets (RFC 4120 §7.2.2).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Desk;
use crate::clock;
use crate::lkdc::asn1::MAX_MESSAGE;
use crate::lkdc::kdc::event::{Source, Transport};

/// A connection without a whole request for this long is closed, and so is one that does not take its reply.
const IDLE: Duration = Duration::from_secs(10);
/// Pause after the system could not accept a connection (out of descriptors, mostly).
const PAUSE: Duration = Duration::from_millis(100);
/// Connections of one thread.
const MAX_CONNECTIONS: usize = 256;
/// Of these, from one address.
const MAX_PER_ADDRESS: usize = 32;

/// Accepts and answers until the task is dropped, which ends all connections.
pub(super) async fn serve(listener: TcpListener, desk: Desk, admission: Admission) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, remote)) => match admission.admit(remote.ip()) {
                Some(permit) => drop(connections.spawn(connection(stream, remote, desk.clone(), permit))),
                None => tracing::debug!(%remote, "too many connections to the KDC"),
            },
            Err(error) => {
                tracing::warn!(%error, "the KDC cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(mut stream: TcpStream, remote: SocketAddr, desk: Desk, _permit: Permit) {
    if let Err(error) = converse(&mut stream, remote, &desk).await {
        tracing::trace!(%remote, %error, "a connection to the KDC ended");
    }
}

async fn converse(stream: &mut TcpStream, remote: SocketAddr, desk: &Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let Some(request) = timeout(IDLE, receive(stream)).await?? else { return Ok(()) };
        let reply = match request {
            Message::Whole(request) => desk.answer(&request, Source { address: remote, transport: Transport::Tcp }),
            Message::TooLong => {
                let refusal = desk.kdc.too_long(clock::wall());
                return timeout(IDLE, send(stream, &refusal)).await?;
            }
        };
        if reply.is_empty() {
            return Ok(());
        }
        timeout(IDLE, send(stream, &reply)).await??;
    }
}

enum Message {
    Whole(Vec<u8>),
    /// Longer than any request can be, or with the reserved bit set.
    TooLong,
}

/// The next message; `None` when the stream ends between two.
async fn receive(stream: &mut TcpStream) -> io::Result<Option<Message>> {
    let length = match stream.read_u32().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_MESSAGE {
        return Ok(Some(Message::TooLong));
    }
    // Memory is taken as octets arrive, not as they are promised.
    let mut message = Vec::with_capacity(length.min(4096));
    let limit = u64::try_from(length).unwrap_or(0);
    let got = (&mut *stream).take(limit).read_to_end(&mut message).await?;
    if got == length { Ok(Some(Message::Whole(message))) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn send(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let length = u32::try_from(reply.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(reply.len().saturating_add(4));
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(reply);
    stream.write_all(&message).await
}

/// Counts the connections of a thread. All peers share one prefix, so each address counts for itself.
#[derive(Clone, Default)]
pub(super) struct Admission(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place, until it is dropped.
pub(super) struct Permit {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    fn admit(&self, address: IpAddr) -> Option<Permit> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = counts.values().sum();
        let own = counts.get(&address).copied().unwrap_or(0);
        if total >= MAX_CONNECTIONS || own >= MAX_PER_ADDRESS {
            return None;
        }
        counts.insert(address, own.saturating_add(1));
        Some(Permit { admission: self.clone(), address })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_address_and_in_all() {
        let admission = Admission::default();
        let one: IpAddr = "fd00::1".parse().unwrap();
        let mut permits: Vec<Permit> = (0..MAX_PER_ADDRESS).map(|_| admission.admit(one).unwrap()).collect();
        assert!(admission.admit(one).is_none());
        for number in 0..u32::MAX {
            match admission.admit(IpAddr::V4(number.into())) {
                Some(permit) => permits.push(permit),
                None => break,
            }
        }
        assert_eq!(permits.len(), MAX_CONNECTIONS);
        permits.clear();
        assert!(admission.0.lock().unwrap().is_empty());
        assert!(admission.admit(one).is_some());
    }
}
