//! Accounts: names, keys, certificates, invitations, the roster.
//!
//! - [`name`], [`prefix`]: what machines, zones and inner addresses look like.
//! - [`key`], [`tsig`]: secrets; each belongs to one machine.
//! - [`certificate`]: the sharing certificate, checked.
//! - [`identity`]: everything a joined machine knows.
pub mod authority;
pub mod certificate;
pub mod identity;
pub mod key;
pub mod name;
pub mod prefix;
pub mod public_key;
pub mod tsig;
