//! The local KDC: every machine is a Kerberos realm of its own (RFC 4120), named by its own key, and understood by stock clients.
//!
//! Protocol is functions `(request, now, state) -> (reply, events)`; sockets are in `driver.rs`, files in `linux.rs`.
//!
//! - [`crypto`]: encryption types, keys, key agreement.
//! - [`asn1`]: messages as octets, bounded. [`name`], [`full_name`]: realms and principals.
//! - [`kdc`]: requests answered. [`driver`]: its sockets.
//! - [`principals`]: who is known here, with keys.
//! - [`fast`]: armor around requests. [`otp`]: one-time codes inside it. [`spake`]: passwords that nobody can guess by listening.
//! - [`discover`]: which machine has which realm, for all who ask.
//! - [`client`]: tickets got from KDCs, and kept ready.
//! - [`keytab`], [`ccache`]: files that all Kerberos programs share. `linux`: how they are locked and replaced.

pub mod asn1;
pub mod ccache;
pub mod client;
pub mod crypto;
pub mod discover;
pub mod driver;
pub mod fast;
pub mod full_name;
pub mod kdc;
pub mod keytab;
mod linux;
pub mod name;
pub mod otp;
pub mod pkinit;
pub mod principals;
pub mod spake;
