//! Port mapping through the home router, so that peers can reach this machine's encapsulation port from outside.
//!
//! ```text
//!             Gateway, Answer, Refused, Timeout               Send, Changed, Released
//! netwatch ──────────────────────────────────► mapping.rs ──────────────────────────────► driver.rs, engine
//!                                          (Mapper, pure)
//! ```
//!
//! NAT-PMP (RFC 6886) is asked first, and UPnP where nobody speaks it. PCP will be a further [`Method`]: the [`Mapper`] asks in the nouns of
//! this file, and only [`driver`] knows how a request looks on the wire.
mod address;
mod command;
pub mod driver;
mod epoch;
mod in_flight;
mod lease;
mod mapping;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

pub use address::is_public;
pub use command::{Command, Config, Input};
pub use mapping::Mapper;

/// The lifetime asked of the router (RFC 6886 §3.3).
pub const LIFETIME: Duration = Duration::from_secs(7200);

/// The transport protocol of a mapped port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP: the encapsulation port.
    Udp,
    /// TCP: the rendezvous port of a base.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// A port of this machine that peers should reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// UDP or TCP.
    pub transport: Transport,
    /// The port this machine listens on; also the external port asked for.
    pub number: u16,
}

/// The IPv4 default route as seen by this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// The router.
    pub address: Ipv4Addr,
    /// This machine's address towards it.
    pub local: Ipv4Addr,
}

/// How a mapping was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device, WANIPConnection or WANPPPConnection.
    Upnp,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// Where a [`Port`] can be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// This machine's own address is public: nothing to map.
    Public(SocketAddrV4),
    /// The router forwards.
    Mapped {
        /// The router's address and port. The port may differ from the one asked for.
        external: SocketAddrV4,
        /// As granted; renewed at half of it.
        lifetime: Duration,
        /// Who granted it.
        method: Method,
    },
    /// Not reachable by mapping, and why.
    None(Cause),
}

impl Mapping {
    /// The address to publish, if there is one.
    pub fn external(&self) -> Option<SocketAddrV4> {
        match self {
            Self::Public(address) => Some(*address),
            Self::Mapped { external, .. } => Some(*external),
            Self::None(_) => None,
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(address) => write!(f, "{address} (own public address)"),
            Self::Mapped { external, method, .. } => write!(f, "{external} (mapped by {method})"),
            Self::None(cause) => cause.fmt(f),
        }
    }
}

/// Why there is no mapping, in words for the owner of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The router has not had time to answer yet.
    #[error("asking the router {0}")]
    Asking(Ipv4Addr),
    /// This machine has no IPv4 default route.
    #[error("no default route")]
    NoRoute,
    /// Silence, or a closed port.
    #[error("no answer: neither NAT-PMP nor UPnP is enabled on the router {0}")]
    NoAnswer(Ipv4Addr),
    /// It told its address, but silence followed a mapping request.
    #[error("the router {0} answers, but not to requests for a mapping")]
    Ignored(Ipv4Addr),
    /// The router's own outer address is not public.
    #[error("Double NAT: the router {router} itself has a private address ({external})")]
    DoubleNat {
        /// The router.
        router: Ipv4Addr,
        /// What it reports as its outer address.
        external: Ipv4Addr,
    },
    /// The router answered no.
    #[error("the router {router} refused: {refusal}")]
    Refused {
        /// The router.
        router: Ipv4Addr,
        /// Its reason.
        refusal: Refusal,
    },
    /// The request could not be sent.
    #[error("cannot ask the router {router}: {reason}")]
    CannotAsk {
        /// The router.
        router: Ipv4Addr,
        /// The system's reason.
        reason: String,
    },
    /// The daemon has given its mappings back.
    #[error("released")]
    Released,
}

/// Result codes of RFC 6886 §3.5, and what UPnP says in their sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 1.
    #[error("it does not speak this version of NAT-PMP")]
    UnsupportedVersion,
    /// 2.
    #[error("not authorized: mappings are switched off or not allowed for this port")]
    NotAuthorized,
    /// 3. miniupnpd says so when its outer address is private.
    #[error("it has no public address itself: it is offline, or behind another router (Double NAT)")]
    NetworkFailure,
    /// 4.
    #[error("out of resources: it can keep no more mappings")]
    OutOfResources,
    /// 5.
    #[error("it does not know this request")]
    UnsupportedOpcode,
    /// An error of UPnP without counterpart there (WANIPConnection:2 §2.4, UPnP Device Architecture §3.2.2).
    #[error("by the UPnP error {0}")]
    Upnp(u16),
    /// Any other.
    #[error("for a reason that is not in the book")]
    Other,
}

/// What is asked of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Its outer address.
    ExternalAddress,
    /// Forward `external` to `port` of this machine for `lifetime` seconds; a `lifetime` of 0 gives the mapping back.
    Map {
        /// The port here.
        port: Port,
        /// The outer port asked for; another may be granted.
        external: u16,
        /// Seconds.
        lifetime: u32,
    },
}

/// What the router said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Seconds since the router's mapping table began (RFC 6886 §3.6), where the method tells.
    pub epoch: Option<u32>,
    /// The rest.
    pub body: AnswerBody,
}

/// The part of an [`Answer`] that depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// Reply to [`Request::ExternalAddress`].
    ExternalAddress(Ipv4Addr),
    /// Reply to [`Request::Map`].
    Mapped {
        /// The port here.
        port: Port,
        /// The outer port granted.
        external: u16,
        /// Seconds granted; 0 confirms a release.
        lifetime: u32,
    },
}
