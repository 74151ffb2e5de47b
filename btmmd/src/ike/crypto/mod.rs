//! The cryptography of IKE, on aws-lc-rs.
/// Key-exchange groups (IANA IKEv2 transform type 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Curve25519, group 31 (RFC 8031).
    X25519,
    /// 256-bit random ECP group, group 19 (RFC 5903).
    P256,
}
