//! How a packet is read, wherever it lies.

/// A packet. Offsets count from where the hook says the packet begins.
pub trait Bytes {
    /// `N` octets at an offset, or nothing when the packet ends before.
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]>;

    /// A number of two octets.
    #[inline(always)]
    fn read_u16(&self, at: u32) -> Option<u16> {
        Some(u16::from_be_bytes(self.read(at)?))
    }

    /// A number of eight octets.
    #[inline(always)]
    fn read_u64(&self, at: u32) -> Option<u64> {
        Some(u64::from_be_bytes(self.read(at)?))
    }
}

impl Bytes for [u8] {
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let start = at as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}
