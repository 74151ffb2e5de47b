//! The cryptography of IKE, on aws-lc-rs.
pub mod aead;
pub mod keys;
pub mod prf;
pub mod share;
pub mod signature;

pub use aead::SkCipher;
pub use keys::{IkeKeys, child_keys};
pub use share::{Group, KeyShare};
