//! PKINIT: a key and its certificate in place of a password (RFC 4556), with key derivations that both sides name (RFC 8636), freshness
//! (RFC 8070) and clients that do not say who they are (RFC 8062).
//!
//! - [`kdc`]: a request judged and answered. [`trust`]: whom the KDC believes. [`error`]: why not, and how clients are told.
//! - [`mechanism`]: its place in the KDC's table.
//! - [`client`]: a request made, and the KDC's reply checked.
//! - `asn1`: the messages. [`cms`]: what signs them. [`algorithm`], [`sign`], `certificate`: with which keys. `der`, `oid`: their octets.
//! - `group`, `kdf`: the key agreement. [`freshness`]: proof that a request was made just now.
//!
//! # What stock clients send
//!
//! MIT krb5 1.20.1 (Debian 12), tried with `kinit -X X509_user_identity=FILE:…`:
//!
//! | client key | its signature |
//! |---|---|
//! | ECDSA P-256 | ECDSA with SHA-256, under the name sha256WithRSAEncryption; good here, as the key in the certificate decides |
//! | RSA | PKCS #1 v1.5 with SHA-256 |
//! | Ed25519 | none: it sends octets that were never written. Its check of a KDC with an Ed25519 key fails too |
//!
//! So a machine whose users have stock clients needs the default kind of key, ECDSA P-256. It agrees in MODP group 14 (16 if asked to),
//! offers SHA-256, SHA-1 and SHA-512 key derivations, sends no DH nonce, and SHA-1 as its only checksum.

pub mod algorithm;
pub(crate) mod asn1;
mod certificate;
pub mod client;
pub mod cms;
mod der;
pub mod error;
pub mod freshness;
mod group;
pub mod kdc;
mod kdf;
pub mod mechanism;
mod oid;
#[cfg(test)]
mod rig;
pub mod sign;
pub mod trust;

pub use client::{KdcTrust, PkinitClientError, PkinitQuestion, PkinitReply, PkinitResult};
pub use der::DerError;
pub use error::{PkinitError, Refused};
pub use kdc::{PkinitAnswer, PkinitKdc, PkinitRequest, Who};
pub use mechanism::Pkinit;
pub use sign::Signatory;
pub use trust::Believers;
