//! Requests in streams: each message after its length in four octets (RFC 4120 §7.2.2).
//!
//! Connections are bounded in number, and nobody is turned away: the one that has been silent for longest makes room. Whoever asks is
//! answered within milliseconds, so that one is idle, or never meant to ask.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
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
            Ok((stream, remote)) => {
                let permit = admission.admit(remote.ip());
                connections.spawn(connection(stream, remote, desk.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "the KDC cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(mut stream: TcpStream, remote: SocketAddr, desk: Desk, permit: Permit) {
    tokio::select! {
        ended = converse(&mut stream, remote, &desk, &permit) => if let Err(error) = ended {
            tracing::trace!(%remote, %error, "a connection to the KDC ended");
        },
        () = permit.leave.notified() => {
            tracing::debug!(%remote, made_room = permit.admission.made_room(), "a silent connection to the KDC was closed for another one");
        }
    }
}

async fn converse(stream: &mut TcpStream, remote: SocketAddr, desk: &Desk, permit: &Permit) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let Some(request) = timeout(IDLE, receive(stream)).await?? else { return Ok(()) };
        permit.heard();
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

/// The connections of a thread. All peers share one prefix, so each address counts for itself.
#[derive(Clone, Default)]
pub(super) struct Admission(Arc<Mutex<Seats>>);

#[derive(Default)]
struct Seats {
    /// Who was silent for longest comes first.
    taken: Vec<Seat>,
    next: u64,
    /// Connections closed for another one.
    made_room: u64,
}

struct Seat {
    number: u64,
    address: IpAddr,
    leave: Arc<Notify>,
}

/// A connection's place, until it is dropped.
pub(super) struct Permit {
    admission: Admission,
    number: u64,
    /// When another connection needs the place.
    leave: Arc<Notify>,
}

impl Seats {
    /// Who makes room for a connection from `address`, if that is needed.
    fn in_the_way(&self, address: IpAddr) -> Option<usize> {
        let own = |seat: &Seat| seat.address == address;
        if self.taken.iter().filter(|seat| own(seat)).count() >= MAX_PER_ADDRESS {
            return self.taken.iter().position(own);
        }
        (self.taken.len() >= MAX_CONNECTIONS).then_some(0)
    }

    fn take_out(&mut self, number: u64) -> Option<Seat> {
        let place = self.taken.iter().position(|seat| seat.number == number)?;
        Some(self.taken.remove(place))
    }
}

impl Admission {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, address: IpAddr) -> Permit {
        let mut seats = self.seats();
        if let Some(place) = seats.in_the_way(address) {
            seats.taken.remove(place).leave.notify_one();
            seats.made_room = seats.made_room.saturating_add(1);
        }
        let (number, leave) = (seats.next, Arc::new(Notify::new()));
        seats.next = number.wrapping_add(1);
        seats.taken.push(Seat { number, address, leave: leave.clone() });
        Permit { admission: self.clone(), number, leave }
    }

    /// How many connections were closed for another one.
    fn made_room(&self) -> u64 {
        self.seats().made_room
    }
}

impl Permit {
    /// Notes that a request came.
    fn heard(&self) {
        let mut seats = self.admission.seats();
        if let Some(seat) = seats.take_out(self.number) {
            seats.taken.push(seat);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.seats().take_out(self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn must_leave(permit: &Permit) -> bool {
        permit.leave.notified().now_or_never().is_some()
    }

    #[test]
    fn who_was_silent_for_longest_makes_room_for_the_same_address() {
        let admission = Admission::default();
        let [one, other]: [IpAddr; 2] = ["fd00::1", "fd00::2"].map(|address| address.parse().unwrap());
        let neighbour = admission.admit(other);
        let permits: Vec<Permit> = (0..MAX_PER_ADDRESS).map(|_| admission.admit(one)).collect();
        permits[0].heard();
        let late = admission.admit(one);
        assert_eq!(permits.iter().map(must_leave).collect::<Vec<_>>(), (0..MAX_PER_ADDRESS).map(|n| n == 1).collect::<Vec<_>>());
        assert!(!must_leave(&neighbour) && !must_leave(&late));
        assert_eq!(admission.made_room(), 1);
    }

    #[test]
    fn who_was_silent_for_longest_makes_room_when_all_places_are_taken() {
        let admission = Admission::default();
        let address = |number: usize| IpAddr::V4(u32::try_from(number).unwrap().into());
        let permits: Vec<Permit> = (0..MAX_CONNECTIONS).map(|number| admission.admit(address(number))).collect();
        let late = admission.admit(address(MAX_CONNECTIONS));
        assert!(must_leave(&permits[0]) && !must_leave(&permits[1]));
        assert_eq!(admission.seats().taken.len(), MAX_CONNECTIONS);
        drop((permits, late));
        assert!(admission.seats().taken.is_empty());
    }
}
