//! The KDC on the network: UDP and TCP on the addresses it is told, by threads of its own.
//!
//! Each thread has its own sockets (`SO_REUSEPORT`) and its own small event loop, so that neither a lock nor the rest of the daemon stands
//! between requests, and public key arithmetic keeps nobody else waiting. Sockets are bound to one address each: a reply comes from the
//! address that was asked.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use super::kdc::event::{Event, Source};
use super::kdc::{Answer, Kdc};
use crate::clock;
use crate::entropy::SystemEntropy;

/// The port of Kerberos.
pub const PORT: u16 = 88;
/// The largest reply that is sent in a datagram, as with stock KDCs. Tunnels and home networks carry its fragments.
pub const MAX_DATAGRAM: usize = 4096;
/// Room for requests that arrive while one is being answered.
const RECEIVE_BUFFER: usize = 1 << 20;
const BACKLOG: i32 = 256;

/// Is told every event, on the thread that answered.
pub type Audit = Arc<dyn Fn(&Event) + Send + Sync>;

/// Why the KDC cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// An address cannot be had.
    #[error("{transport} {address}: {cause}")]
    Address {
        /// `TCP` or `UDP`.
        transport: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        #[source]
        cause: io::Error,
    },
    /// A reply from a wildcard socket could come from an address that was not asked.
    #[error("{0}: list the addresses to listen on one by one")]
    Wildcard(SocketAddr),
    /// A thread cannot be started.
    #[error("thread of the KDC: {0}")]
    Thread(#[source] io::Error),
}

/// A KDC that listens. Dropping it closes all sockets and ends all threads.
pub struct Driver {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all tasks of a thread share.
#[derive(Clone)]
struct Desk {
    kdc: Arc<Kdc>,
    audit: Audit,
}

impl Desk {
    fn answer(&self, request: &[u8], source: Source) -> Vec<u8> {
        let Answer { reply, events } = self.kdc.answer(request, source, clock::wall(), &mut SystemEntropy);
        events.iter().for_each(|event| (self.audit)(event));
        reply
    }
}

/// The sockets of one thread.
#[derive(Default)]
struct Sockets {
    datagrams: Vec<std::net::UdpSocket>,
    streams: Vec<std::net::TcpListener>,
}

impl Driver {
    /// Listens on all `addresses` with `threads` threads. A port 0 is chosen by the system, the same for UDP and TCP.
    pub fn start(kdc: Arc<Kdc>, addresses: &[SocketAddr], threads: usize, audit: Audit) -> Result<Self, DriverError> {
        // Registering sockets needs a runtime; the threads make their own from these.
        let mut bound: Vec<Sockets> = Vec::new();
        let mut addresses = addresses.to_vec();
        for _ in 0..threads.max(1) {
            bound.push(bind(&mut addresses)?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut driver = Self { addresses, stop, threads: Vec::new() };
        for sockets in bound {
            let desk = Desk { kdc: kdc.clone(), audit: audit.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DriverError::Thread)?;
            let mut stopped = stopped.clone();
            let thread = std::thread::Builder::new().name("lkdc".to_owned()).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(sockets, desk) => {}
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                    }
                });
            });
            driver.threads.push(thread.map_err(DriverError::Thread)?);
        }
        Ok(driver)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the KDC ended in a panic");
            }
        }
    }
}

async fn serve(sockets: Sockets, desk: Desk) {
    let admission = tcp::Admission::default();
    let mut tasks = tokio::task::JoinSet::new();
    for socket in sockets.datagrams {
        match UdpSocket::from_std(socket) {
            Ok(socket) => drop(tasks.spawn(udp::serve(socket, desk.clone()))),
            Err(error) => tracing::error!(%error, "a UDP socket of the KDC is not served"),
        }
    }
    for listener in sockets.streams {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(tasks.spawn(tcp::serve(listener, desk.clone(), admission.clone()))),
            Err(error) => tracing::error!(%error, "a TCP socket of the KDC is not served"),
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Binds every address once more; fills in ports that the system chose.
fn bind(addresses: &mut [SocketAddr]) -> Result<Sockets, DriverError> {
    let mut sockets = Sockets::default();
    for address in addresses {
        if address.ip().is_unspecified() {
            return Err(DriverError::Wildcard(*address));
        }
        let refused = |transport, address: &SocketAddr, cause| DriverError::Address { transport, address: *address, cause };
        let datagrams = datagram_socket(*address).map_err(|cause| refused("UDP", address, cause))?;
        *address = datagrams.local_addr().map_err(|cause| refused("UDP", address, cause))?;
        let streams = stream_socket(*address).map_err(|cause| refused("TCP", address, cause))?;
        sockets.datagrams.push(datagrams);
        sockets.streams.push(streams);
    }
    Ok(sockets)
}

fn datagram_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    Ok(fd.into())
}

fn stream_socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket};
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests;
