//! The members' side: one kept TLS connection to the base, made when needed, shared by all requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_proto::rr::{Name, Record, RecordType};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{RendezvousError, SharedServer, framed, now, receive, send};
use crate::account::name::{MachineName, ZoneName};
use crate::rendezvous::client::{Client, Exchange, Reply};
use crate::rendezvous::tsig::TsigSecret;

/// For a whole request, connecting included.
const REQUEST: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// The next address is tried beside the one that hesitates (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
const ALPN: &[u8] = b"dot";

/// How to reach the base.
#[derive(Clone)]
pub enum Base {
    /// Over TLS.
    Tls {
        /// `address:port` or `host:port`, best first.
        addresses: Vec<String>,
        /// The name in the base's certificate.
        server_name: ServerName<'static>,
        /// Roots and versions; ALPN `dot` is set here.
        tls: Arc<ClientConfig>,
    },
    /// This machine is the base. The same signed bytes, without a network.
    Local(SharedServer),
}

struct Call {
    id: u16,
    request: Vec<u8>,
    replies: mpsc::UnboundedSender<Vec<u8>>,
}

type Calls = mpsc::UnboundedSender<Call>;

/// Signed requests to the base.
pub struct DotClient {
    base: Base,
    client: Client,
    ids: AtomicU16,
    connection: Mutex<Option<Calls>>,
    /// Held while connecting, so that requests share what comes of it.
    connecting: tokio::sync::Mutex<()>,
    given_up: Notify,
}

impl DotClient {
    /// Connects when first asked something.
    pub fn new(base: Base, machine: &MachineName, zone: &ZoneName, secret: TsigSecret) -> Result<Self, RendezvousError> {
        let base = match base {
            Base::Tls { addresses, server_name, tls } => {
                let mut tls = (*tls).clone();
                tls.alpn_protocols = vec![ALPN.to_vec()];
                Base::Tls { addresses, server_name, tls: Arc::new(tls) }
            }
            local @ Base::Local(_) => local,
        };
        let client = Client::new(machine, zone, secret)?;
        let (connection, connecting, given_up) = Default::default();
        Ok(Self { base, client, ids: AtomicU16::new(1), connection, connecting, given_up })
    }

    /// Records of `kind` at `name`; none when there are none.
    pub async fn query(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, RendezvousError> {
        Ok(self.exchange(|client, id, wall| client.query(name, kind, id, wall)).await?.answers)
    }

    /// The zone's serial.
    pub async fn serial(&self) -> Result<u32, RendezvousError> {
        serial_of(&self.exchange(|client, id, wall| client.serial(id, wall)).await?)
    }

    /// The whole zone and its serial.
    pub async fn transfer(&self) -> Result<(u32, Vec<Record>), RendezvousError> {
        let reply = self.exchange(|client, id, wall| client.transfer(id, wall)).await?;
        Ok((serial_of(&reply)?, reply.answers))
    }

    /// Changes the zone; gives the lease granted.
    pub async fn update(&self, changes: &[Record], lease: Duration) -> Result<Duration, RendezvousError> {
        let asked = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        let reply = self.exchange(|client, id, wall| client.update(changes, asked, id, wall)).await?;
        // A server without leases (RFC 9664 §4.2) keeps the records until told otherwise; refreshing them does no harm.
        Ok(Duration::from_secs(reply.lease.unwrap_or(asked).max(1).into()))
    }

    /// Gives the connection up, also one that is being made: after a change of network or a sleep it may only look alive. What is
    /// waiting for an answer asks again on a new one.
    pub fn reset(&self) {
        *self.kept() = None;
        self.given_up.notify_waiters();
    }

    async fn exchange(&self, make: impl Fn(&Client, u16, u64) -> Exchange) -> Result<Reply, RendezvousError> {
        let make = || make(&self.client, self.ids.fetch_add(1, Ordering::Relaxed), now().wall);
        if let Base::Local(server) = &self.base {
            let mut exchange = make();
            for message in server.handle(&exchange.request).messages {
                if let Some(reply) = exchange.accept(&message, now().wall)? {
                    return Ok(reply);
                }
            }
            return Err(RendezvousError::Closed);
        }
        let attempt = async {
            // A kept connection may have been closed by the other end while idle: that alone is worth a second try, and safe, because
            // an update replaces rather than appends.
            match self.exchange_once(make()).await {
                Err(RendezvousError::Closed) => self.exchange_once(make()).await,
                result => result,
            }
        };
        match timeout(REQUEST, attempt).await {
            Ok(result) => result,
            Err(_) => {
                *self.kept() = None;
                Err(RendezvousError::Timeout(REQUEST.as_secs()))
            }
        }
    }

    async fn exchange_once(&self, mut exchange: Exchange) -> Result<Reply, RendezvousError> {
        let given_up = self.given_up.notified();
        let answered = async {
            let calls = self.connected().await?;
            let (replies, mut messages) = mpsc::unbounded_channel();
            let call = Call { id: exchange.id, request: exchange.request.clone(), replies };
            if calls.send(call).is_ok() {
                while let Some(message) = messages.recv().await {
                    if let Some(reply) = exchange.accept(&message, now().wall)? {
                        return Ok(reply);
                    }
                }
            }
            let mut kept = self.kept();
            if kept.as_ref().is_some_and(|kept| kept.same_channel(&calls)) {
                *kept = None;
            }
            Err(RendezvousError::Closed)
        };
        tokio::select! {
            result = answered => result,
            () = given_up => Err(RendezvousError::Closed),
        }
    }

    async fn connected(&self) -> Result<Calls, RendezvousError> {
        let _alone = self.connecting.lock().await;
        if let Some(calls) = self.kept().as_ref().filter(|calls| !calls.is_closed()) {
            return Ok(calls.clone());
        }
        let Base::Tls { addresses, server_name, tls } = &self.base else { return Err(RendezvousError::Closed) };
        let stream = connect(addresses, server_name, tls).await?;
        let (calls, incoming) = mpsc::unbounded_channel();
        tokio::spawn(converse(stream, incoming));
        *self.kept() = Some(calls.clone());
        Ok(calls)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Calls>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serial_of(reply: &Reply) -> Result<u32, RendezvousError> {
    reply.serial().ok_or(RendezvousError::Answer(crate::rendezvous::client::ClientError::Malformed))
}

/// Carries requests out and replies back, many at a time, until either end is gone.
async fn converse(stream: TlsStream<TcpStream>, mut calls: mpsc::UnboundedReceiver<Call>) {
    let mut stream = framed(stream);
    let mut waiting: HashMap<u16, mpsc::UnboundedSender<Vec<u8>>> = HashMap::new();
    loop {
        tokio::select! {
            call = calls.recv() => {
                let Some(call) = call else { return };
                waiting.retain(|_, replies| !replies.is_closed());
                waiting.insert(call.id, call.replies);
                if !matches!(timeout(REQUEST, send(&mut stream, vec![call.request])).await, Ok(Ok(()))) {
                    return;
                }
            }
            message = receive(&mut stream) => {
                let Some(message) = message else { return };
                let id = message.first_chunk().map(|id| u16::from_be_bytes(*id));
                if let Some(replies) = id.and_then(|id| waiting.get(&id)) {
                    let _ = replies.send(message); // who no longer waits does not mind
                }
            }
        }
    }
}

/// Tries all addresses, each a little after the one before; the first to finish its TLS handshake wins.
async fn connect(
    addresses: &[String],
    name: &ServerName<'static>,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, RendezvousError> {
    let mut resolved = Vec::new();
    let mut reasons = Vec::new();
    for address in addresses {
        match timeout(CONNECT, tokio::net::lookup_host(address)).await {
            Ok(Ok(found)) => resolved.extend(found),
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!("{address}: the name is not resolved in time")),
        }
    }
    let attempts = resolved.into_iter().enumerate().map(|(order, address)| async move {
        sleep(STAGGER * u32::try_from(order).unwrap_or(u32::MAX)).await;
        connect_one(address, name.clone(), tls.clone()).await.map_err(|reason| format!("{address}: {reason}"))
    });
    let mut attempts: FuturesUnordered<_> = attempts.collect();
    while let Some(result) = attempts.next().await {
        match result {
            Ok(stream) => return Ok(stream),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(RendezvousError::Connect(if reasons.is_empty() { "no address is known".to_owned() } else { reasons.join("; ") }))
}

async fn connect_one(address: SocketAddr, name: ServerName<'static>, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, String> {
    let handshake = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| error.to_string())?;
        if stream.get_ref().1.alpn_protocol() == Some(ALPN) { Ok(stream) } else { Err("speaks TLS, but not DNS".to_owned()) }
    };
    timeout(CONNECT, handshake).await.unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT.as_secs())))
}
