//! What goes into the IKE machine, what comes out, and what it needs from its owner.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::cause::Cause;
use crate::esp::{Direction, EspKey};

/// What happened. Given to [`super::Ike::handle`] with the time.
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram came in on the encapsulation port; the non-ESP marker is already removed.
    Datagram {
        /// Our address and port it was sent to.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// The time that `poll_timeout` named has come. Harmless when it has not.
    Timeout,
    /// Raise a tunnel. Answered, sooner or later, by [`Command::Up`] or [`Command::Failed`] for this peer; at once by `Up` when one is up already.
    /// While one is being raised, further candidates are added to it.
    Initiate {
        /// The peer's fully qualified name, which its certificate must carry.
        peer: String,
        /// The peer's inner address, which its certificate must carry.
        inner: Ipv6Addr,
        /// Where it may be reached, best first.
        candidates: Vec<SocketAddr>,
    },
    /// Take the tunnel down, or stop raising it. The ESP states go at once; the peer is told by DELETE.
    Close {
        /// The peer's name.
        peer: String,
    },
    /// Whether there may be tunnels at all; true until told otherwise. With false every tunnel is closed, every attempt fails, and a peer that
    /// begins one is not answered, as if nobody were here.
    Admit(bool),
    /// Whom [`Credentials::verify_peer`] believes has changed: every peer is judged again. The states of those who are refused go at once,
    /// answer or no answer.
    TrustChanged,
    /// The kernel says that this inbound state has passed its soft lifetime.
    RekeyChild {
        /// SPI of our inbound state.
        spi_in: u32,
    },
    /// Renew the keys of the IKE SA now.
    RekeyIke {
        /// The peer's name.
        peer: String,
    },
    /// The kernel removed this inbound state at its hard lifetime, or somebody else did.
    ChildExpired {
        /// SPI of our inbound state.
        spi_in: u32,
    },
    /// Ask the peer for a sign of life; answered by [`Command::Alive`], or by [`Command::Down`] when it stays silent.
    Probe {
        /// The peer's name.
        peer: String,
    },
    /// Somebody is about to use the tunnel, if there is one: unless the peer gave a sign of life lately, it is asked for one.
    Confirm {
        /// The peer's name.
        peer: String,
    },
    /// The kernel's counters show that packets arrived on this state since the last time: no need to probe the peer.
    Traffic {
        /// SPI of our inbound state.
        spi_in: u32,
    },
    /// The kernel saw authentic packets of this state come from another address or port (XFRM MAPPING). Treated as a hint: the new place is probed
    /// and followed only when an IKE message is authenticated from there.
    Moved {
        /// SPI of our inbound state.
        spi_in: u32,
        /// Where the packets come from now.
        remote: SocketAddr,
    },
    /// Where else a peer that is up may be, by the rendezvous; replaces what was told before. It is asked there too when it does not answer where it
    /// was, and when our own network changed. Forgotten with the tunnel.
    Places {
        /// The peer's name.
        peer: String,
        /// Outer addresses, best first; the first 16 count.
        places: Vec<SocketAddr>,
    },
    /// Our own addresses or default route changed: every peer is probed from whatever source address the kernel now picks, at all places where it may
    /// be, and told of it by that.
    NetworkChanged,
    /// A signature that [`Credentials::sign`] did not have is made, or has failed.
    Signed,
    /// Our own outer addresses with the encapsulation port, for NAT detection; replaces what was told before. Without any, peers will believe that we
    /// are behind a NAT, which costs nothing but keepalives.
    Addresses(Vec<SocketAddr>),
}

/// What is to be done, strictly in order; each kernel change is to be complete before the next command runs.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send an IKE message in UDP, after the non-ESP marker.
    Send {
        /// Source address; `None` lets the kernel choose.
        local: Option<IpAddr>,
        /// Destination.
        remote: SocketAddr,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// Send the single octet 0xFF that keeps a NAT's mapping alive (RFC 3948 §2.3), without a marker.
    Keepalive {
        /// Source address; `None` lets the kernel choose.
        local: Option<IpAddr>,
        /// Destination.
        remote: SocketAddr,
    },
    /// Put an ESP state into the kernel. There is never more than one outbound state to a peer: the old one is removed by the next command.
    InstallSa(ChildSa),
    /// Take an ESP state out of the kernel. It may have expired there already.
    RemoveSa(SaRef),
    /// The path to the peer changed: move this state, keeping its counters. Never remove and re-add it with the same key, which would repeat
    /// nonces; a state that cannot be moved is to be removed. When an address changed (not only a port) the machine rekeys the child by itself.
    /// Inbound states are only moved with our own address or the peer's port.
    MoveSa {
        /// The state as installed.
        sa: SaRef,
        /// Our outer address and port from now on.
        local: SocketAddr,
        /// The peer's outer address and port from now on.
        remote: SocketAddr,
    },
    /// The tunnel to this peer is up: its states are installed. Also the answer to an `Initiate` for a peer that is up.
    Up {
        /// The peer's name, from its certificate.
        peer: String,
        /// The peer's inner address, from its certificate.
        inner: Ipv6Addr,
        /// Our outer address and port.
        local: SocketAddr,
        /// The peer's outer address and port.
        remote: SocketAddr,
    },
    /// The tunnel to this peer is gone and its states are removed.
    Down {
        /// The peer's name.
        peer: String,
        /// Why.
        why: Cause,
    },
    /// An `Initiate` came to nothing.
    Failed {
        /// The peer's name.
        peer: String,
        /// Why.
        why: Cause,
    },
    /// The peer gave a sign of life that was asked for.
    Alive {
        /// The peer's name.
        peer: String,
        /// Where it is: its outer address and port.
        remote: SocketAddr,
        /// Round-trip time, from the first transmission of the request to its answer.
        rtt: Duration,
    },
}

/// An ESP state to install: tunnel mode, UDP encapsulation, AES-256-GCM-16, ESN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSa {
    /// The peer's name.
    pub peer: String,
    /// Which way it carries.
    pub direction: Direction,
    /// Security parameter index, host byte order.
    pub spi: u32,
    /// Our outer address and port.
    pub local: SocketAddr,
    /// The peer's outer address and port.
    pub remote: SocketAddr,
    /// Our inner address.
    pub inner_local: Ipv6Addr,
    /// The peer's inner address.
    pub inner_remote: Ipv6Addr,
    /// Key and salt.
    pub key: EspKey,
    /// After this the kernel should send a soft expiry; the machine rekeys a little earlier by itself.
    pub soft_lifetime: Duration,
    /// After this the kernel removes the state, daemon or no daemon.
    pub hard_lifetime: Duration,
}

impl ChildSa {
    /// The identity of this state.
    pub fn sa_ref(&self) -> SaRef {
        SaRef { direction: self.direction, spi: self.spi, local: self.local, remote: self.remote }
    }
}

/// The identity of an installed ESP state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaRef {
    /// Which way it carries.
    pub direction: Direction,
    /// Security parameter index, host byte order.
    pub spi: u32,
    /// Our outer address and port, as last installed or moved.
    pub local: SocketAddr,
    /// The peer's outer address and port, as last installed or moved.
    pub remote: SocketAddr,
}

/// The kinds of signature an account's machines make (RFC 7427, RFC 8420).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA with P-256 and SHA-256; the signature is a DER `Ecdsa-Sig-Value`.
    EcdsaP256Sha256,
    /// Ed25519; 64 raw octets.
    Ed25519,
}

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The fully qualified name, lower case, no trailing dot.
    pub name: String,
    /// The inner address.
    pub inner: Ipv6Addr,
    /// DER SubjectPublicKeyInfo: P-256 or Ed25519.
    pub spki: Vec<u8>,
}

/// Why credentials could not be used: a certificate refused, or a signature not made. One line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub String);

/// This machine's identity and its judgement of others'. Never waits: implementations cache what is slow.
pub trait Credentials: Send {
    /// Our certificate, DER.
    fn certificate(&self) -> &[u8];
    /// Certificates between ours and the account's authority, DER, sent along. Mostly none.
    fn intermediates(&self) -> &[Vec<u8>] {
        &[]
    }
    /// SHA-1 of the authority's SubjectPublicKeyInfo, asked for in CERTREQ (RFC 7296 §3.7) when known.
    fn authority(&self) -> Option<[u8; 20]> {
        None
    }
    /// Our fully qualified name, as in the certificate.
    fn name(&self) -> &str;
    /// Our inner address, as in the certificate.
    fn inner(&self) -> Ipv6Addr;
    /// What [`Credentials::sign`] makes.
    fn algorithm(&self) -> SignatureAlgorithm;
    /// Signs `message` (hashing is part of the algorithm). `None`: the signature is on its way from wherever the key is; [`Input::Signed`]
    /// tells when to ask for the same one again.
    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError>;
    /// Whom this certificate speaks for, if the account's authority vouches for it at this time and the machine is not removed.
    fn verify_peer(&self, certificate: &[u8], intermediates: &[&[u8]]) -> Result<PeerIdentity, CredentialError>;
}
