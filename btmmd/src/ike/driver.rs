//! The UDP sockets of the encapsulation port: IKE with its non-ESP marker; ESP goes to the kernel without coming here (RFC 3948).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind,
    recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest UDP payload.
const LARGEST: usize = 65_535;
/// Four zero octets before an IKE message (RFC 3948 §2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole of a NAT keepalive (RFC 3948 §2.3).
const KEEPALIVE: [u8; 1] = [0xff];
/// `UDP_ENCAP` of `linux/udp.h`.
const UDP_ENCAP: libc::c_int = 100;
/// `UDP_ENCAP_ESPINUDP` of `linux/udp.h`.
const UDP_ENCAP_ESPINUDP: libc::c_int = 2;

/// An IKE datagram, its non-ESP marker removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The address of ours that it was sent to, and the encapsulation port.
    pub local: SocketAddr,
    /// Where it came from. Never an IPv4-mapped address.
    pub remote: SocketAddr,
    /// The IKE message.
    pub bytes: Vec<u8>,
}

/// Why the encapsulation port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else has it.
    #[error(
        "UDP port {port} ({family}) is taken: another IPsec daemon such as strongSwan or Libreswan may hold it; stop it, or set `port` in btmmd.toml"
    )]
    Taken {
        /// The port.
        port: u16,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The kernel refused something else.
    #[error("UDP port {port} ({family}): {action}: {source}")]
    Refused {
        /// The port.
        port: u16,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// The sockets of the encapsulation port for IPv4 and, where the machine has it, IPv6.
#[derive(Debug)]
pub struct EncapSockets {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    port: u16,
}

impl EncapSockets {
    /// Binds `port` on all addresses and makes the kernel take ESP out of the stream. `port` 0 takes a free port (tests).
    ///
    /// The right to make the kernel take ESP out is not needed where the kernel has no ESP: then only IKE works, and that is left to the
    /// installation of states to tell.
    pub fn bind(port: u16) -> Result<Self, BindError> {
        let v4 = open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let port = v4.local_addr().map_err(refused(port, "IPv4", "ask for the port"))?.port();
        let v6 = match open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(socket) => Some(socket),
            // A machine booted with ipv6.disable=1.
            Err(BindError::Refused { source, .. }) if source.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6, port })
    }

    /// The port that was bound.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next IKE datagram. Keepalives and runts are swallowed. Cancel safe.
    pub async fn recv(&self) -> io::Result<Datagram> {
        match &self.v6 {
            None => receive(&self.v4, self.port).await,
            Some(v6) => tokio::select! {
                datagram = receive(&self.v4, self.port) => datagram,
                datagram = receive(v6, self.port) => datagram,
            },
        }
    }

    /// Sends an IKE message with its marker, from `local` where one is given.
    pub async fn send(&self, local: Option<IpAddr>, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.transmit(local, remote, &[IoSlice::new(&NON_ESP_MARKER), IoSlice::new(bytes)]).await
    }

    /// Sends a NAT keepalive: one octet 0xFF (RFC 3948 §2.3).
    pub async fn keepalive(&self, local: Option<IpAddr>, remote: SocketAddr) -> io::Result<()> {
        self.transmit(local, remote, &[IoSlice::new(&KEEPALIVE)]).await
    }

    async fn transmit(&self, local: Option<IpAddr>, remote: SocketAddr, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let socket = match (remote, &self.v6) {
            (SocketAddr::V4(_), _) => &self.v4,
            (SocketAddr::V6(_), Some(v6)) => v6,
            (SocketAddr::V6(_), None) => return Err(Errno::EAFNOSUPPORT.into()),
        };
        socket.async_io(Interest::WRITABLE, || transmit_now(socket, local, remote, slices)).await
    }
}

/// The address of ours that the kernel would send from to `remote`.
pub fn local_for(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a UDP socket selects a route and an address and sends nothing.
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn open(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let (port, family) = (address.port(), if address.is_ipv4() { "IPv4" } else { "IPv6" });
    let refused = |action| move |errno: Errno| refused(port, family, action)(errno.into());
    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(domain, SockType::Datagram, flags, None).map_err(refused("open"))?;
    if address.is_ipv4() {
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true).map_err(refused("ask for local addresses"))?;
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true).map_err(refused("restrict to IPv6"))?;
        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true).map_err(refused("ask for local addresses"))?;
    }
    match bind(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(Errno::EADDRINUSE) => return Err(BindError::Taken { port, family }),
        bound => bound.map_err(refused("bind"))?,
    }
    take_esp_out(&fd).map_err(refused("let the kernel take ESP out"))?;
    UdpSocket::from_std(std::net::UdpSocket::from(fd)).map_err(self::refused(port, family, "watch"))
}

/// Makes the kernel decrypt ESP that arrives on the socket. A kernel without ESP in UDP says ENOPROTOOPT; then there is none to take out.
fn take_esp_out(fd: &impl AsFd) -> Result<(), Errno> {
    let value = UDP_ENCAP_ESPINUDP;
    // SAFETY: the value is a valid c_int for the duration of the call and its length is given.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            UDP_ENCAP,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::ENOPROTOOPT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn refused(port: u16, family: &'static str, action: &'static str) -> impl FnOnce(io::Error) -> BindError {
    move |source| BindError::Refused { port, family, action, source }
}

async fn receive(socket: &UdpSocket, port: u16) -> io::Result<Datagram> {
    loop {
        let received = socket.async_io(Interest::READABLE, || receive_now(socket, port)).await;
        match received {
            Ok(Some(datagram)) => return Ok(datagram),
            Ok(None) => (),
            // An ICMP error to something we sent earlier; the machine that sent it has its own timers.
            Err(error) if is_about_a_peer(&error) => (),
            Err(error) => return Err(error),
        }
    }
}

fn is_about_a_peer(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EMSGSIZE | Errno::EPROTO))
}

/// One datagram; `None` for what is not IKE.
fn receive_now(socket: &UdpSocket, port: u16) -> io::Result<Option<Datagram>> {
    let mut buffer = vec![0; LARGEST];
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    });
    let (length, remote) = (message.bytes, message.address.as_ref().and_then(address));
    let (Some(local), Some(remote)) = (local, remote) else { return Ok(None) };
    buffer.truncate(length);
    Ok(ike_message(buffer).map(|bytes| Datagram { local: SocketAddr::new(local, port), remote, bytes }))
}

/// Takes the marker off; `None` for keepalives, for ESP that a kernel without ESP left in the stream, and for runts.
fn ike_message(mut payload: Vec<u8>) -> Option<Vec<u8>> {
    if !payload.starts_with(&NON_ESP_MARKER) || payload.len() == NON_ESP_MARKER.len() {
        return None;
    }
    payload.drain(..NON_ESP_MARKER.len());
    Some(payload)
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::from(SocketAddrV4::from(*address)));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::from(SocketAddrV6::from(*address))))
}

fn transmit_now(socket: &UdpSocket, local: Option<IpAddr>, remote: SocketAddr, slices: &[IoSlice<'_>]) -> io::Result<()> {
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    match (local, remote) {
        (Some(IpAddr::V4(local)), SocketAddr::V4(remote)) => {
            let source = libc::in_addr { s_addr: u32::from(local).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            sendmsg(fd, slices, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&SockaddrIn::from(remote)))
        }
        (Some(IpAddr::V6(local)), SocketAddr::V6(remote)) => {
            let source = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
            sendmsg(fd, slices, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&SockaddrIn6::from(remote)))
        }
        (None, remote) => sendmsg(fd, slices, &[], flags, Some(&SockaddrStorage::from(remote))),
        (Some(_), _) => Err(Errno::EAFNOSUPPORT),
    }?;
    Ok(())
}
