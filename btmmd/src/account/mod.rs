//! Accounts: names, keys, certificates, invitations, the roster.
//!
//! - [`name`], [`prefix`]: what machines, zones and inner addresses look like.
//! - [`key`], [`tsig`]: secrets; each belongs to one machine. [`public_key`]: their public halves.
//! - [`authority`]: the account's CA, which issues certificates. [`certificate`]: whom a machine believes.
//! - [`invite`], [`invitations`]: the one-line code, and the base's book of codes given out.
//! - [`roster`]: the signed list of machines.
//! - [`identity`]: everything a joined machine knows.
pub mod authority;
pub mod certificate;
pub mod identity;
pub mod invitations;
pub mod invite;
pub mod key;
pub mod name;
mod octets;
pub mod prefix;
pub mod public_key;
pub mod roster;
pub mod tsig;
