//! Speaks to the router: NAT-PMP (RFC 6886) here, UPnP in `upnp`.
//!
//! The `natpmp` crate puts requests together and takes replies apart. Time is the [`Mapper`](super::Mapper)'s: one [`Driver::send`] is one datagram.
mod upnp;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use natpmp::{AsyncUdpSocket, Error as NatpmpError, NATPMP_PORT, NatpmpAsync, Protocol, Response, new_natpmp_async_with};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::{Answer, AnswerBody, Gateway, Input, Method, Port, Refusal, Request, Transport};
use upnp::Upnp;

/// Where routers announce.
const ANNOUNCEMENTS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 1), 5350);

/// Between errors of a socket.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets towards the present router.
#[derive(Default)]
pub struct Driver {
    channel: Option<Channel>,
    upnp: Upnp,
    failed: VecDeque<Input>,
}

impl Driver {
    /// No router yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Executes [`Command::Send`](super::Command::Send). What goes wrong comes back by [`Driver::next`].
    pub async fn send(&mut self, gateway: Gateway, method: Method, request: Request) {
        match method {
            Method::NatPmp => self.send_datagram(gateway, request).await,
            Method::Upnp => self.upnp.ask(gateway, request),
        }
    }

    async fn send_datagram(&mut self, gateway: Gateway, request: Request) {
        let (router, method) = (gateway.address, Method::NatPmp);
        if let Err(error) = check_way(gateway).await {
            return self.failed.push_back(Input::CannotAsk { router, method, reason: error.to_string() });
        }
        if self.channel.as_ref().is_none_or(|channel| channel.gateway != gateway) {
            match Channel::open(gateway).await {
                Ok(channel) => self.channel = Some(channel),
                Err(error) => {
                    self.channel = None;
                    return self.failed.push_back(Input::CannotAsk { router, method, reason: error.to_string() });
                }
            }
        }
        if let Some(channel) = &mut self.channel
            && let Err(error) = channel.send(request).await
        {
            let reason = channel.requests.0.last_error().unwrap_or_else(|| error.to_string());
            self.failed.push_back(Input::CannotAsk { router, method, reason });
        }
    }

    /// What the router says, for [`Mapper::handle`](super::Mapper::handle). Never ends while there is nothing to hear. Cancel safe.
    pub async fn next(&mut self) -> Input {
        if let Some(input) = self.failed.pop_front() {
            return input;
        }
        let heard = async {
            match &self.channel {
                Some(channel) => channel.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            input = heard => input,
            input = self.upnp.next() => input,
        }
    }
}

/// A router that we have left may be out of reach: what is still sent to it must not leave by the new one, for somebody else of that address.
async fn check_way(gateway: Gateway) -> io::Result<()> {
    let way = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    way.connect((gateway.address, NATPMP_PORT)).await?;
    match way.local_addr()?.ip() == IpAddr::V4(gateway.local) {
        true => Ok(()),
        false => Err(io::Error::other(format!("the way to it is not from {} any more", gateway.local))),
    }
}

/// One router.
struct Channel {
    gateway: Gateway,
    speaker: NatpmpAsync<Requests>,
    listener: NatpmpAsync<Requests>,
    requests: Requests,
    /// Absent when another program has the port for itself: a restart is then seen by the mapper's probes.
    announcements: Option<UdpSocket>,
}

impl Channel {
    async fn open(gateway: Gateway) -> io::Result<Self> {
        let socket = UdpSocket::bind((gateway.local, 0)).await?;
        socket.connect((gateway.address, NATPMP_PORT)).await?;
        let requests = Requests(Arc::new(RequestSocket { socket, closed: Notify::new(), error: std::sync::Mutex::new(None) }));
        let announcements =
            announcements(gateway).inspect_err(|error| tracing::debug!(%error, "the router's announcements cannot be heard")).ok();
        Ok(Self {
            gateway,
            speaker: new_natpmp_async_with(requests.clone(), gateway.address),
            listener: new_natpmp_async_with(requests.clone(), gateway.address),
            requests,
            announcements,
        })
    }

    async fn send(&mut self, request: Request) -> Result<(), NatpmpError> {
        match request {
            Request::ExternalAddress => self.speaker.send_public_address_request().await,
            Request::Map { port, external, lifetime } => {
                let protocol = match port.transport {
                    Transport::Udp => Protocol::UDP,
                    Transport::Tcp => Protocol::TCP,
                };
                self.speaker.send_port_mapping_request(protocol, port.number, external, lifetime).await
            }
        }
    }

    async fn next(&self) -> Input {
        let (router, method) = (self.gateway.address, Method::NatPmp);
        loop {
            let response = tokio::select! {
                response = self.listener.read_response_or_retry() => response,
                () = self.announced() => return Input::Announced { router },
                () = self.requests.0.closed.notified() => return Input::Unreachable { router, method },
            };
            match response {
                Ok(response) => return Input::Answer { router, method, answer: answer(response) },
                Err(error) => {
                    if let Some(refusal) = refusal(&error) {
                        return Input::Refused { router, method, refusal };
                    }
                    // Errors of the socket that say nothing of the router; they may come at any rate.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Ends when the router has announced anything at all: what it means, the mapper finds out by asking.
    async fn announced(&self) {
        let Some(socket) = &self.announcements else { return pending().await };
        let mut bytes = [0; 64];
        loop {
            match socket.recv_from(&mut bytes).await {
                Ok((_, from)) if from.ip() == IpAddr::V4(self.gateway.address) => return,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn answer(response: Response) -> Answer {
    let mapped = |transport, mapping: natpmp::MappingResponse| Answer {
        epoch: Some(mapping.epoch()),
        body: AnswerBody::Mapped {
            port: Port { transport, number: mapping.private_port() },
            external: mapping.public_port(),
            lifetime: u32::try_from(mapping.lifetime().as_secs()).unwrap_or(u32::MAX),
        },
    };
    match response {
        Response::Gateway(gateway) => Answer { epoch: Some(gateway.epoch()), body: AnswerBody::ExternalAddress(*gateway.public_address()) },
        Response::UDP(mapping) => mapped(Transport::Udp, mapping),
        Response::TCP(mapping) => mapped(Transport::Tcp, mapping),
    }
}

fn refusal(error: &NatpmpError) -> Option<Refusal> {
    match error {
        NatpmpError::NATPMP_ERR_UNSUPPORTEDVERSION => Some(Refusal::UnsupportedVersion),
        NatpmpError::NATPMP_ERR_NOTAUTHORIZED => Some(Refusal::NotAuthorized),
        NatpmpError::NATPMP_ERR_NETWORKFAILURE => Some(Refusal::NetworkFailure),
        NatpmpError::NATPMP_ERR_OUTOFRESOURCES => Some(Refusal::OutOfResources),
        NatpmpError::NATPMP_ERR_UNSUPPORTEDOPCODE => Some(Refusal::UnsupportedOpcode),
        NatpmpError::NATPMP_ERR_UNDEFINEDERROR => Some(Refusal::Other),
        _ => None,
    }
}

/// Whether the crate can take these bytes apart: it reads fields without looking at the length.
fn is_whole(bytes: &[u8]) -> bool {
    match *bytes {
        [0, 128, 0, 0, ..] => bytes.len() >= 12,
        [0, 129 | 130, 0, 0, ..] => bytes.len() >= 16,
        [_, _, _, _, ..] => true,
        _ => false,
    }
}

struct RequestSocket {
    socket: UdpSocket,
    closed: Notify,
    error: std::sync::Mutex<Option<String>>,
}

impl RequestSocket {
    fn last_error(&self) -> Option<String> {
        self.error.lock().ok().and_then(|mut error| error.take())
    }
}

/// The connected socket, shared by the crate's sending and receiving halves.
#[derive(Clone)]
struct Requests(Arc<RequestSocket>);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl AsyncUdpSocket for Requests {
    fn connect<'a, 'b, 'c>(&'a self, address: &'b str) -> Boxed<'c, ()>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(self.0.socket.connect(address))
    }

    fn send<'a, 'b, 'c>(&'a self, bytes: &'b [u8]) -> Boxed<'c, usize>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async {
            let mut sent = self.0.socket.send(bytes).await;
            if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused) {
                // Left over from the datagram before, and the socket is good again.
                self.0.closed.notify_one();
                sent = self.0.socket.send(bytes).await;
            }
            sent.inspect_err(|error| {
                if let Ok(mut last) = self.0.error.lock() {
                    *last = Some(error.to_string());
                }
            })
        })
    }

    fn recv<'a, 'b, 'c>(&'a self, bytes: &'b mut [u8]) -> Boxed<'c, usize>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async {
            loop {
                let received = self.0.socket.recv(bytes).await;
                match received {
                    Ok(length) if !bytes.get(..length).is_some_and(is_whole) => {}
                    Ok(length) => return Ok(length),
                    Err(error) => {
                        if error.kind() == io::ErrorKind::ConnectionRefused {
                            self.0.closed.notify_one();
                        }
                        return Err(error);
                    }
                }
            }
        })
    }
}

/// Listens for announcements: of a new address (RFC 6886 §3.2.1) and, as a PCP message, of a restart (RFC 6887 §14.1.3).
fn announcements(gateway: Gateway) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // Other clients on this machine listen there too.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    let [a, b, c, d] = ANNOUNCEMENTS.0.octets();
    socket::bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, ANNOUNCEMENTS.1))?;
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(fd))?;
    socket.join_multicast_v4(ANNOUNCEMENTS.0, gateway.local)?;
    Ok(socket)
}
