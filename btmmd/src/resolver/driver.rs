//! The stub's sockets: UDP, and TCP with its two-octet lengths (RFC 7766).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::bytes::Bytes;
use tokio_util::codec::LengthDelimitedCodec;

use super::stub::{Asker, Input};

/// Connections served at a time; more are closed at once.
const CONNECTIONS: usize = 64;
/// A connection that asks nothing for so long is closed. Longer than a query is held.
const IDLE: Duration = Duration::from_secs(10);
/// Queries and answers waiting between a connection and the loop.
const WAITING: usize = 64;
/// A whole query is far shorter; what is longer is cut, and then malformed.
const QUERY_MAX: usize = 4096;

/// Why the stub does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others must not raise this machine's tunnels.
    #[error("the resolver address {0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("the resolver cannot listen on {address} ({transport}): {source}")]
    System {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// Its reason.
        source: io::Error,
    },
}

enum Event {
    Query(u64, Vec<u8>),
    Closed(u64),
}

/// The sockets of one stub address.
pub struct Driver {
    udp: UdpSocket,
    tcp: TcpListener,
    connections: HashMap<u64, mpsc::Sender<Vec<u8>>>,
    next_connection: u64,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    buffer: Vec<u8>,
}

impl Driver {
    /// Listens on a loopback address. Port 0 takes a free one, the same for UDP and TCP.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        let refused = |transport| move |source| BindError::System { address, transport, source };
        let tcp = TcpListener::bind(address).await.map_err(refused("TCP"))?;
        let bound = tcp.local_addr().map_err(refused("TCP"))?;
        let udp = UdpSocket::bind(bound).await.map_err(refused("UDP"))?;
        let (sender, events) = mpsc::channel(WAITING);
        Ok(Self {
            udp,
            tcp,
            connections: HashMap::new(),
            next_connection: 0,
            events,
            sender,
            tasks: JoinSet::new(),
            buffer: vec![0; QUERY_MAX],
        })
    }

    /// Where the stub listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The next query, for [`Stub::handle`](super::Stub::handle). Cancel safe.
    pub async fn next(&mut self) -> Input {
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut self.buffer) => match received {
                    Ok((length, from)) if from.ip().is_loopback() => {
                        let bytes = self.buffer.get(..length).unwrap_or_default().to_vec();
                        return Input::Query { bytes, from: Asker::Udp(from) };
                    }
                    Ok(_) => {}
                    Err(error) => pause("UDP", &error).await,
                },
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, from)) if from.ip().is_loopback() => self.serve(stream),
                    Ok(_) => {}
                    Err(error) => pause("TCP", &error).await,
                },
                Some(event) = self.events.recv() => match event {
                    Event::Query(connection, bytes) => return Input::Query { bytes, from: Asker::Tcp(connection) },
                    Event::Closed(connection) => {
                        self.connections.remove(&connection);
                    }
                },
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Executes [`Command::Answer`](super::Command::Answer). An asker that has gone away, or does not read, goes without.
    pub fn answer(&mut self, to: Asker, bytes: Vec<u8>) {
        match to {
            Asker::Udp(address) => {
                if let Err(error) = self.udp.try_send_to(&bytes, address) {
                    tracing::debug!(%error, "an answer was not sent");
                }
            }
            Asker::Tcp(connection) => {
                if let Some(answers) = self.connections.get(&connection) {
                    let _ = answers.try_send(bytes);
                }
            }
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        if self.connections.len() >= CONNECTIONS {
            return;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        let (sender, answers) = mpsc::channel(WAITING);
        self.connections.insert(id, sender);
        self.tasks.spawn(serve(stream, id, self.sender.clone(), answers));
    }
}

/// One connection, until it is closed, idle, or broken.
async fn serve(stream: TcpStream, id: u64, events: mpsc::Sender<Event>, mut answers: mpsc::Receiver<Vec<u8>>) {
    let mut frames = LengthDelimitedCodec::builder().length_field_length(2).new_framed(stream);
    loop {
        tokio::select! {
            frame = tokio::time::timeout(IDLE, frames.next()) => match frame {
                Ok(Some(Ok(query))) => {
                    if events.send(Event::Query(id, query.to_vec())).await.is_err() {
                        return;
                    }
                }
                _ => break,
            },
            answer = answers.recv() => {
                let Some(answer) = answer else { return };
                if !matches!(tokio::time::timeout(IDLE, frames.send(Bytes::from(answer))).await, Ok(Ok(()))) {
                    break;
                }
            }
        }
    }
    let _ = events.send(Event::Closed(id)).await;
}

/// Errors of `recv` and `accept` pass, but may return at once for a while (no descriptors left).
async fn pause(transport: &'static str, error: &io::Error) {
    tracing::debug!(%error, transport, "the resolver's socket");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
