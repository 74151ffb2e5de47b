//! Sockets for the [`Announcement`], one for each network and family.
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, trace};

use super::{Announcement, MAX_MESSAGE, PORT, Pace, Reply};
use crate::clock;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Between the two times that it is said unasked (RFC 6762 §8.3).
const AGAIN: Duration = Duration::from_secs(1);
/// Shared answers are put off a little, so that those of others do not collide with them (§6); half of what is allowed, not drawn by lot:
/// only one machine has this name.
const DELAY: Duration = Duration::from_millis(60);

/// A network on which to speak.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The interface's name.
    pub interface: String,
    /// Its number.
    pub index: u32,
    /// Whether IPv6 rather than IPv4.
    pub ipv6: bool,
}

/// Speaks on networks until it is dropped; then says goodbye.
#[derive(Debug)]
pub struct Mdns {
    sockets: Vec<(Arc<UdpSocket>, SocketAddr)>,
    announcement: Announcement,
    _tasks: JoinSet<()>,
}

impl Mdns {
    /// Speaks on each of these networks. One that cannot be used is left out.
    pub fn start(announcement: &Announcement, networks: impl IntoIterator<Item = Network>) -> Self {
        let (mut sockets, mut tasks) = (Vec::new(), JoinSet::new());
        for network in networks {
            match open(&network) {
                Ok(socket) => {
                    let socket = (Arc::new(socket), group(&network));
                    tasks.spawn(speak(socket.clone(), announcement.clone()));
                    sockets.push(socket);
                }
                Err(error) => debug!(interface = %network.interface, ipv6 = network.ipv6, %error, "no multicast DNS"),
            }
        }
        Self { sockets, announcement: announcement.clone(), _tasks: tasks }
    }

    /// On how many networks it speaks.
    pub fn networks(&self) -> usize {
        self.sockets.len()
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        let goodbye = self.announcement.goodbye();
        for (socket, group) in &self.sockets {
            // Nobody waits for it; the record ends by itself in two minutes.
            let _ = socket.try_send_to(&goodbye, *group);
        }
    }
}

async fn speak((socket, group): (Arc<UdpSocket>, SocketAddr), announcement: Announcement) {
    let said = announcement.said();
    for pause in [Duration::ZERO, AGAIN] {
        sleep(pause).await;
        send(&socket, &said, group).await;
    }
    let mut pace = Pace::default();
    pace.said(clock::monotonic());
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let (count, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // The interface went down; whoever watches networks starts us anew.
            Err(error) => return debug!(%error, "multicast DNS ended"),
        };
        match buffer.get(..count).and_then(|message| announcement.answer(message, asker)) {
            Some(Reply::Unicast(octets)) => send(&socket, &octets, asker).await,
            Some(Reply::Multicast(octets)) if pace.may_say(clock::monotonic()) => {
                sleep(DELAY).await;
                send(&socket, &octets, group).await;
                pace.said(clock::monotonic());
            }
            // All have just heard it.
            Some(Reply::Multicast(_)) | None => {}
        }
    }
}

async fn send(socket: &UdpSocket, octets: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(octets, to).await {
        trace!(%to, %error, "multicast DNS not sent");
    }
}

fn group(network: &Network) -> SocketAddr {
    match network.ipv6 {
        true => std::net::SocketAddrV6::new(GROUP_V6, PORT, 0, network.index).into(),
        false => SocketAddr::from((GROUP_V4, PORT)),
    }
}

/// Bound to one interface, so that what is heard there is answered there, and to the group's address: nothing that is sent to the machine's own
/// addresses comes here, neither from beyond the link nor what the machine's own responder, which shares port 5353, is asked.
fn open(network: &Network) -> io::Result<UdpSocket> {
    let family = if network.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket::socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::BindToDevice, &network.interface.clone().into())?;
    if network.ipv6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(group(network)))?;
    let socket = std::net::UdpSocket::from(fd);
    if network.ipv6 {
        socket.join_multicast_v6(&GROUP_V6, network.index)?;
        setsockopt(&socket, sockopt::Ipv6MulticastHops, &255)?;
    } else {
        // The kernel looks for the interface by the address; it is bound to one, so any will do.
        let request = libc::ip_mreqn {
            imr_multiaddr: libc::in_addr { s_addr: u32::from(GROUP_V4).to_be() },
            imr_address: libc::in_addr { s_addr: 0 },
            imr_ifindex: i32::try_from(network.index).unwrap_or(0),
        };
        join_v4(&socket, &request)?;
        socket.set_multicast_ttl_v4(255)?;
    }
    UdpSocket::from_std(socket)
}

/// By the interface's number: std knows only its address.
fn join_v4(socket: &std::net::UdpSocket, request: &libc::ip_mreqn) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::ip_mreqn>()).unwrap_or(0);
    // SAFETY: the pointer and the length are those of a living ip_mreqn, which is what IP_ADD_MEMBERSHIP reads.
    let code = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, std::ptr::from_ref(request).cast(), length)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
