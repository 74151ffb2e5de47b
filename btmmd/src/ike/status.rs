//! What `btmm status` shows of the IKE machine.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// One IKE SA and its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaStatus {
    /// The peer's name.
    pub peer: String,
    /// The peer's inner address.
    pub inner: Ipv6Addr,
    /// Whether this end sent the first message.
    pub initiator: bool,
    /// IKE SPI of the initiator.
    pub spi_i: u64,
    /// IKE SPI of the responder.
    pub spi_r: u64,
    /// ESP SPI of the inbound child, once there is one.
    pub child_in: Option<u32>,
    /// ESP SPI of the outbound child, once there is one.
    pub child_out: Option<u32>,
    /// Our outer address and port.
    pub local: SocketAddr,
    /// The peer's outer address and port.
    pub remote: SocketAddr,
    /// Whether a NAT stands in front of us.
    pub nat_local: bool,
    /// Whether a NAT stands in front of the peer.
    pub nat_remote: bool,
    /// When this IKE SA came up.
    pub established: Instant,
    /// When the current child was made.
    pub child_established: Option<Instant>,
    /// Names of the algorithms, e.g. `X25519/AES_GCM_16_256/PRF_HMAC_SHA2_256`.
    pub algorithms: String,
    /// The peer's kind of signature.
    pub signature: &'static str,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
}

/// IKE SAs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounts {
    /// Attempts of ours to reach a peer.
    pub dialling: usize,
    /// Attempts of others, not authenticated yet.
    pub half_open: usize,
    /// In use; for a moment also duplicates and successors.
    pub established: usize,
    /// Closed, and only kept to answer repetitions.
    pub closing: usize,
}

impl SaStatus {
    /// How long this IKE SA has been up.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.established)
    }
}
