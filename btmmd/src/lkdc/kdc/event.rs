//! What the audit log is told: every ticket issued or refused, with the reason.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::error::ErrorCode;
use crate::lkdc::name::Principal;
use crate::lkdc::principals::Strength;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// Who sent a request, as far as the network tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The sender. Inside a tunnel this is a peer's own inner address.
    pub address: SocketAddr,
    /// How it came.
    pub transport: Transport,
}

/// Which exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Initial: the client proves itself.
    As,
    /// By a ticket.
    Tgs,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which exchange.
    pub exchange: Exchange,
    /// Who sent it.
    pub source: Source,
    /// The client, when it could be told.
    pub client: Option<Principal>,
    /// The service asked for, when it could be told.
    pub service: Option<Principal>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A ticket.
    Issued {
        /// How the client proved itself, to whatever ticket this one rests on.
        strengths: Vec<Strength>,
        /// When the ticket ends.
        until: SystemTime,
        /// `renewed`, `validated`, `forwarded`, `proxied`, `user-to-user`, or nothing of these.
        how: &'static str,
    },
    /// The same reply as before, to the same request from the same address.
    Repeated,
    /// Asked for a proof, or for more of it.
    Continued,
    /// Nothing, and why.
    Refused {
        /// The number that the client was told.
        code: ErrorCode,
        /// Why.
        reason: Cow<'static, str>,
    },
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::As => "AS",
            Self::Tgs => "TGS",
        })
    }
}
