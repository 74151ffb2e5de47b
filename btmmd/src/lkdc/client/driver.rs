//! The sockets of a Kerberos client, and exchanges carried over them to their end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep_until, timeout_at};
use tracing::trace;

use super::delivery::{Act, Delivery, Happened, Then, Transports};
use super::error::ClientError;
use super::{AsExchange, ClockOffset, Grant, Next, Notes, TgsExchange};
use crate::clock;
use crate::entropy::SystemEntropy;
use crate::lkdc::asn1::MAX_MESSAGE;
use crate::lkdc::fast::Armor;

/// After an ICMP error.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// Why no ticket was got.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exchange came to an end without one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No KDC was reached.
    #[error("no KDC answers at {}", list(.0))]
    Unreachable(Vec<SocketAddr>),
    /// Nobody knows where the KDC is.
    #[error("no address of a KDC is known")]
    NoAddress,
}

fn list(addresses: &[SocketAddr]) -> String {
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    listed.join(", ")
}

/// Where a realm's KDCs are, and how to speak to them.
#[derive(Clone, Debug)]
pub struct Kdcs {
    /// In the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Datagrams, streams, or what fits.
    pub transports: Transports,
}

impl Kdcs {
    /// KDCs at these addresses.
    pub fn at(servers: Vec<SocketAddr>) -> Self {
        Self { servers, transports: Transports::Both }
    }

    /// Carries an initial exchange to its end.
    pub async fn initial(&self, mut exchange: AsExchange) -> Result<Ticketed, Error> {
        let first = exchange.start(clock::wall(), &mut SystemEntropy)?;
        let grant = self.carry(first, |answer| exchange.receive(answer, clock::wall(), &mut SystemEntropy)).await?;
        Ok(Ticketed { grant, offset: exchange.offset(), notes: exchange.notes() })
    }

    /// Carries an exchange with a ticket-granting service to its end.
    pub async fn ticket(&self, mut exchange: TgsExchange) -> Result<Ticketed, Error> {
        let first = exchange.start(clock::wall(), &mut SystemEntropy)?;
        let grant = self.carry(first, |answer| exchange.receive(answer, clock::wall(), &mut SystemEntropy)).await?;
        Ok(Ticketed { grant, offset: exchange.offset(), notes: Notes::default() })
    }

    async fn carry(&self, mut request: Vec<u8>, mut receive: impl FnMut(&[u8]) -> Result<Next, ClientError>) -> Result<Grant, Error> {
        loop {
            match receive(&self.ask(&request).await?)? {
                Next::Send(next) => request = next,
                Next::Done(grant) => return Ok(*grant),
            }
        }
    }

    /// Sends one request and waits for its answer.
    pub async fn ask(&self, request: &[u8]) -> Result<Vec<u8>, Error> {
        if self.servers.is_empty() {
            return Err(Error::NoAddress);
        }
        let mut delivery = Delivery::new(&self.servers, self.transports, request.len());
        let mut socket: Option<(SocketAddr, UdpSocket)> = None;
        let mut act = delivery.act(Instant::now());
        loop {
            act = match act {
                Act::GiveUp => return Err(Error::Unreachable(self.servers.clone())),
                Act::Stream(server, until) => {
                    let answer =
                        timeout_at(until.into(), over_stream(server, request)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
                    match answer {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            trace!(%server, %error, "no answer over TCP");
                            match delivery.handle(Happened::Silence, Instant::now()) {
                                Then::Do(act) => act,
                                Then::Done | Then::Ignore => Act::GiveUp,
                            }
                        }
                    }
                }
                Act::Datagram(server, until) => match datagram(&mut socket, server, request, &mut delivery, until).await {
                    Ok(answer) => return Ok(answer),
                    Err(act) => act,
                },
            };
        }
    }
}

/// A ticket, and what was learnt of the KDC's clock on the way.
#[derive(Debug)]
pub struct Ticketed {
    /// The ticket.
    pub grant: Grant,
    /// The KDC's clock against ours.
    pub offset: ClockOffset,
    /// For an initial ticket: how it was earned.
    pub notes: Notes,
}

impl Ticketed {
    /// Armor (RFC 6113) of this ticket, if it is one for the ticket-granting service.
    pub fn armor(&self) -> Result<Armor, Error> {
        Ok(self.grant.armor(self.offset, clock::wall(), &mut SystemEntropy).map_err(ClientError::from)?)
    }
}

/// One datagram and its answer; or what to do next.
async fn datagram(
    kept: &mut Option<(SocketAddr, UdpSocket)>,
    server: SocketAddr,
    request: &[u8],
    delivery: &mut Delivery,
    until: Instant,
) -> Result<Vec<u8>, Act> {
    let mut answer = Vec::with_capacity(MAX_MESSAGE);
    let sent = send(kept, server, request).await;
    loop {
        let heard = match &sent {
            Ok(()) => timeout_at(until.into(), receive(kept.as_ref(), &mut answer)).await,
            Err(_) => Ok(Err(io::ErrorKind::NotConnected.into())),
        };
        let happened = match heard {
            Ok(Ok(())) => Happened::Answer(&answer),
            // Nobody listens there, says the other end: no need to wait, but a pause keeps a KDC that restarts from being given up.
            Ok(Err(error)) => {
                trace!(%server, %error, "no answer over UDP");
                sleep_until((Instant::now() + REFUSED_PAUSE).min(until).into()).await;
                Happened::Silence
            }
            Err(_) => Happened::Silence,
        };
        match delivery.handle(happened, Instant::now()) {
            Then::Done => return Ok(answer),
            Then::Ignore => answer.clear(),
            Then::Do(act) => return Err(act),
        }
    }
}

/// Sends from the socket of before, so that a late answer to an earlier datagram still counts.
async fn send(kept: &mut Option<(SocketAddr, UdpSocket)>, server: SocketAddr, request: &[u8]) -> io::Result<()> {
    if kept.as_ref().is_none_or(|(connected, _)| *connected != server) {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        *kept = Some((server, socket));
    }
    match kept {
        Some((_, socket)) => socket.send(request).await.map(drop),
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

async fn receive(kept: Option<&(SocketAddr, UdpSocket)>, answer: &mut Vec<u8>) -> io::Result<()> {
    match kept {
        Some((_, socket)) => socket.recv_buf(answer).await.map(drop),
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// The request behind its length, and the answer behind its own (RFC 4120 §7.2.2).
async fn over_stream(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u32::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} octets")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
