//! What the engine is told, and what it wants done.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use super::Member;
use crate::account::name::MachineName;

/// Why there is no tunnel. One line for people by `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `btmm off`.
    SwitchedOff,
    /// The roster has no such machine.
    NoSuchMachine,
    /// The rendezvous has no addresses for it.
    NotAdvertised,
    /// Nothing came back from any of these.
    NoAnswer(Vec<SocketAddr>),
    /// No packet for the idle time.
    Idle,
    /// It was taken off the roster.
    Removed,
    /// IKE says why.
    Ike(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => f.write_str("btmm is off: `btmm on` turns it on"),
            Self::NoSuchMachine => f.write_str("no machine of this account has that name or address"),
            Self::NotAdvertised => f.write_str("it is not online: it has published no address"),
            Self::NoAnswer(tried) => {
                f.write_str("no answer from ")?;
                for (index, address) in tried.iter().enumerate() {
                    write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(": is it on, and does its router still forward the port?")
            }
            Self::Idle => f.write_str("idle"),
            Self::Removed => f.write_str("it was removed from the account"),
            Self::Ike(cause) => f.write_str(cause),
        }
    }
}

/// What the engine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The machines of the account, ourselves left out.
    Roster(Vec<Member>),
    /// `btmm on` and `btmm off`.
    Switch(bool),
    /// Somebody wants to reach a peer.
    Want {
        /// Whom.
        peer: MachineName,
    },
    /// A peer proved by certificate to be of this account before the roster told of it.
    Introduced(Member),
    /// A packet waits for this inner address.
    Packet {
        /// Inner destination address.
        destination: Ipv6Addr,
    },
    /// The rendezvous knows where a peer is; empty when it has gone.
    Advertised {
        /// Whom.
        peer: MachineName,
        /// Outer addresses, best first.
        candidates: Vec<SocketAddr>,
    },
    /// IKE has a child SA with the peer, whoever began it.
    TunnelUp {
        /// Whom.
        peer: MachineName,
    },
    /// An established tunnel ended.
    TunnelDown {
        /// Whom.
        peer: MachineName,
        /// Why.
        cause: Cause,
    },
    /// A tunnel could not be set up.
    TunnelFailed {
        /// Whom.
        peer: MachineName,
        /// Why.
        cause: Cause,
    },
    /// How many packets the peer's states have carried so far, both ways.
    Usage {
        /// Whom.
        peer: MachineName,
        /// Packets since the states were installed.
        packets: u64,
    },
    /// The time of [`super::Engine::poll_timeout`] has come.
    Timeout,
}

/// What the engine wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Install the peer's policies: through IPsec or not at all.
    AddPeer {
        /// Whom.
        peer: MachineName,
        /// Its inner address.
        inner: Ipv6Addr,
        /// Its number, the kernel's reqid.
        number: u32,
    },
    /// Remove them.
    RemovePeer {
        /// Whom.
        peer: MachineName,
        /// Its inner address.
        inner: Ipv6Addr,
    },
    /// Begin IKE with the peer.
    Initiate {
        /// Whom.
        peer: MachineName,
        /// Its inner address.
        inner: Ipv6Addr,
        /// Outer addresses, best first; never empty.
        candidates: Vec<SocketAddr>,
    },
    /// End IKE with the peer and tell it so.
    Close {
        /// Whom.
        peer: MachineName,
    },
    /// Somebody is about to use a tunnel that is up: let IKE make sure that the peer still has its end of it.
    Confirm {
        /// Whom.
        peer: MachineName,
    },
    /// Tell IKE where else a peer that is up may be: see [`super::Peer::candidates`].
    Places {
        /// Whom.
        peer: MachineName,
    },
    /// Ask the rendezvous now.
    RefreshDirectory,
    /// Whether packets for this address may use the tunnel (or go to the waiting room).
    Ready {
        /// The peer's inner address.
        inner: Ipv6Addr,
        /// Whether its states are in place.
        ready: bool,
    },
    /// Send on what waited for this address.
    ReleaseHeld {
        /// The peer's inner address.
        inner: Ipv6Addr,
    },
    /// Give up what waited for this address.
    DiscardHeld {
        /// The inner address.
        inner: Ipv6Addr,
        /// Why.
        cause: Cause,
    },
    /// Answer the look-ups that wait for this peer.
    NameUp {
        /// Whom.
        peer: MachineName,
    },
    /// Fail the look-ups that wait for this peer.
    NameFailed {
        /// Whom.
        peer: MachineName,
        /// Why.
        cause: Cause,
    },
    /// Report [`Input::Usage`] of the peer.
    MeasureUsage {
        /// Whom.
        peer: MachineName,
    },
}
