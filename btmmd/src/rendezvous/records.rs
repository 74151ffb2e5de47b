//! What a machine tells its account, as DNS records (RFC 6281 §3, with one refinement).
//!
//! | name | type | what |
//! |---|---|---|
//! | `<host>` | AAAA | inner address |
//! | `_autotunnel._udp.<host>` | SRV *n* 0 *port* `_autotunnel[-k].<host>` | one per candidate, priority = order of preference |
//! | `_autotunnel[-k].<host>` | A or AAAA | that candidate's outer address |
//! | `_autotunnel._udp.<host>` | TXT | `v=1`, `kinds=mapped,local`, `nat=…`, `version=…` |
//!
//! RFC 6281 has a single target `_autotunnel.<host>`. A machine with several candidates on different ports (a mapped 49152 and a local
//! 4500) would then be ambiguous: two ports and two addresses make four pairs, two of them wrong. So each candidate has a target of its
//! own, with exactly one address: `_autotunnel` for the preferred one, `_autotunnel-2`, `_autotunnel-3` … for the others. A reader of the
//! original form (one target, several addresses) still works: each address is tried with the SRV's port.
//!
//! Reading is strict and bounded: the zone may be hostile. Addresses that can only hurt are left out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::rdata::{A, AAAA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::account::name::{MachineName, ZoneName};

/// Seconds that a reader may keep any of our records.
pub const TTL: u32 = 120;
/// The most candidates written or read.
pub const MAX_CANDIDATES: usize = 16;
/// The longest `nat` or `version` text, in octets.
pub const MAX_TEXT: usize = 64;

/// Why a machine's records could not be made or understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum RecordsError {
    /// The name does not fit into DNS.
    #[error("{0} does not fit into a DNS name")]
    Name(String),
    /// More than one inner address: it is not ours to choose.
    #[error("{0} has more than one AAAA record in the zone")]
    SeveralInner(MachineName),
}

/// How a candidate address came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// A port mapped on the home router.
    Mapped,
    /// An address of the machine itself that the whole internet can reach.
    Public,
    /// An address on the machine's own network.
    Local,
    /// The address a STUN server saw.
    Reflexive,
    /// Another machine of the account that relays.
    Relay,
    /// A kind of a later version.
    Unknown,
}

impl CandidateKind {
    /// The word in the TXT record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Public => "public",
            Self::Local => "local",
            Self::Reflexive => "reflexive",
            Self::Relay => "relay",
            Self::Unknown => "unknown",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Mapped, Self::Public, Self::Local, Self::Reflexive, Self::Relay]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .unwrap_or(Self::Unknown)
    }
}

/// An outer address at which a machine's encapsulation port may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How it was found.
    pub kind: CandidateKind,
    /// Where to send.
    pub address: SocketAddr,
}

/// What one machine publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Whose.
    pub machine: MachineName,
    /// Its address inside the account.
    pub inner: Ipv6Addr,
    /// Where it may be reached, best first; at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// What its router does, in a word or two; may be empty.
    pub nat: String,
    /// The software's version; may be empty.
    pub version: String,
}
