//! The account's zone: where its machines tell each other their addresses, "private or nothing".
//!
//! One machine of the account, the base, serves a DNS zone over TLS. Each machine publishes its own names there by signed UPDATE and
//! keeps them alive by a lease; each machine reads the others'. Nothing is answered that does not carry a right TSIG.
//!
//! Bytes to bytes, no socket, no clock:
//!
//! - [`records`]: our nouns ([`records::Advertisement`]) to and from DNS records.
//! - [`tsig`]: RFC 8945, the signature on every message. Runs before any other parser sees a byte.
//! - [`lease`]: RFC 9664, the EDNS option.
//! - [`zone`]: the records, their leases, RFC 2136 semantics; [`snapshot`] its form on disk.
//! - [`policy`]: which key may touch which name.
//! - [`server`]: request bytes to reply bytes.
//! - [`client`]: the other end: request bytes out, verified answers in.
//! - [`publisher`]: when to register, refresh, retry, say goodbye.
//! - [`directory`]: when to poll, what every peer's advertisement is, what changed.
//!
//! With sockets: [`driver`] (`SharedServer`, `DotClient`, and `Rendezvous`, the one handle the run loop needs).
pub mod client;
pub mod directory;
pub mod driver;
pub mod lease;
pub mod outline;
pub mod policy;
pub mod publisher;
pub mod records;
#[cfg(test)]
mod samples;
pub mod server;
pub mod snapshot;
pub mod tsig;
pub mod update;
pub mod zone;

use std::time::Instant;

/// Both clocks at one moment: leases run on the first, signatures carry the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub monotonic: Instant,
    /// Seconds since 1970.
    pub wall: u64,
}
