//! The UDP sockets of the encapsulation port: IKE with its non-ESP marker; ESP goes to the kernel without coming here (RFC 3948).

use std::io;
use std::net::{IpAddr, SocketAddr};

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
pub struct EncapSockets {}

impl EncapSockets {
    /// Binds `port` on all addresses and makes the kernel take ESP out of the stream. `port` 0 takes a free port (tests).
    pub fn bind(_port: u16) -> Result<Self, BindError> {
        todo!()
    }

    /// The port that was bound.
    pub fn port(&self) -> u16 {
        todo!()
    }

    /// The next IKE datagram. Keepalives and runts are swallowed. Cancel safe.
    pub async fn recv(&self) -> io::Result<Datagram> {
        todo!()
    }

    /// Sends an IKE message with its marker, from `local` where one is given.
    pub async fn send(&self, _local: Option<IpAddr>, _remote: SocketAddr, _bytes: &[u8]) -> io::Result<()> {
        todo!()
    }

    /// Sends a NAT keepalive: one octet 0xFF (RFC 3948 §2.3).
    pub async fn keepalive(&self, _local: Option<IpAddr>, _remote: SocketAddr) -> io::Result<()> {
        todo!()
    }
}

/// The address of ours that the kernel would send from to `remote`.
pub fn local_for(_remote: SocketAddr) -> io::Result<IpAddr> {
    todo!()
}
