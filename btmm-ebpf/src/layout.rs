//! Names, sizes and value types of the maps. Every byte is accounted for: no implicit padding.

/// Counts up whenever the layout of any map but the switch changes: the pins live in a folder of that name.
pub const LAYOUT: u32 = 1;

/// Map `switch`: an array of one `u32`; 0 lets through, anything else blocks. Its layout never changes.
pub const SWITCH: &str = "switch";
/// Map `config`: an array of one [`Config`].
pub const CONFIG: &str = "config";
/// Map `inbound_sas`: a preallocated hash of SPIs (as on the wire) to `u32` 1.
pub const INBOUND_SAS: &str = "inbound_sas";
/// Map `ready_peers`: a hash of inner addresses (16 octets) to `u32` 1.
pub const READY_PEERS: &str = "ready_peers";
/// Map `ike_sources`: an LRU hash of [`Source`] to the time its bucket is empty until ([`crate::rate`]).
pub const IKE_SOURCES: &str = "ike_sources";
/// Map `counters`: a per-CPU array of `u64`, by [`crate::verdict::Verdict`].
pub const COUNTERS: &str = "counters";

/// Entries of `inbound_sas`: twice 65,536, so that a full house with every child being rekeyed still fits.
pub const INBOUND_SAS_MAX: u32 = 131_072;
/// Entries of `ready_peers`.
pub const READY_PEERS_MAX: u32 = 16_384;
/// Entries of `ike_sources`; beyond them the least recently seen source starts afresh.
pub const IKE_SOURCES_MAX: u32 = 16_384;

/// The encapsulation port while nothing else is configured (RFC 3948).
pub const DEFAULT_PORT: u16 = 4500;

/// What the programs are told. An array map of one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// UDP encapsulation port; 0 stands for [`DEFAULT_PORT`], so that a map never written to guards rather than ignores.
    pub port: u16,
    /// Explicit padding.
    pub padding: u16,
    /// Interface index of the waiting room's TUN; 0 when there is none.
    pub wait_index: u32,
    /// First 48 bits of the account's prefix in the upper bits, host byte order; 0 when there is no account.
    pub prefix: u64,
    /// Nanoseconds per IKE message of one source, sustained.
    pub ike_interval: u64,
    /// Nanoseconds by which a source may run ahead of that.
    pub ike_tolerance: u64,
}

impl Config {
    /// The port in force.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        if self.port == 0 { DEFAULT_PORT } else { self.port }
    }

    /// Whether an address (its first eight octets, as a number) lies in the account's /48.
    #[inline(always)]
    pub fn is_inner(&self, upper: u64) -> bool {
        self.prefix != 0 && (upper ^ self.prefix) >> 16 == 0
    }
}

/// Whose IKE messages share a bucket: an IPv4 address or an IPv6 /64.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// IPv4: the address and four zeros. IPv6: the first 64 bits.
    pub network: [u8; 8],
    /// 4 or 6.
    pub family: u32,
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is how typed maps are told that any bytes are a value")]
mod user {
    // SAFETY: repr(C), no implicit padding (checked below), and every bit pattern is a valid value.
    unsafe impl aya::Pod for super::Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Source {}
}

const _: () = assert!(size_of::<Config>() == 32);
const _: () = assert!(size_of::<Source>() == 12);
