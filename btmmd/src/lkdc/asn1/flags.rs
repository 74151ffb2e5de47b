//! Kerberos flags (RFC 4120 §5.2.8): bit 0 is the most significant, at least 32 bits are sent.

use rasn_kerberos::KerberosFlags;

/// The bit string of 32 bits; bit 0 is the most significant.
pub fn flags(bits: u32) -> KerberosFlags {
    KerberosFlags::from_slice(&bits.to_be_bytes())
}

/// The first 32 bits; what a sender left out is zero, what follows is ignored.
pub fn flag_bits(flags: &KerberosFlags) -> u32 {
    flags.iter().by_vals().take(32).zip((0..32_u32).rev()).fold(0, |bits, (set, shift)| bits | u32::from(set) << shift)
}

/// The word with only bit `number` of a Kerberos bit string set.
pub const fn bit(number: u32) -> u32 {
    1 << (31 - number)
}
