//! What IKE, which agrees on ESP states, and the kernel, which carries them, both speak of.

use std::fmt;

use zeroize::Zeroizing;

/// Which way a state or policy carries packets, seen from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// AES-256-GCM key material of an ESP state: 32 octets of key and 4 of salt (RFC 4106 §8.1). Wiped when dropped; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EspKey(pub Zeroizing<[u8; 36]>);

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EspKey(..)")
    }
}
