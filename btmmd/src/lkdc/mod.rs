//! The local KDC: every machine is a Kerberos realm of its own (RFC 4120), named by its own key, and understood by stock clients.
//!
//! Protocol is functions `(request, now, state) -> (reply, events)`; sockets are in `driver.rs`, files in `linux.rs`.
//!
//! - [`asn1`]: messages as octets, bounded. [`name`]: realms and principals. [`crypto`]: encryption types, key agreement.

pub mod asn1;
pub mod crypto;
pub mod name;
