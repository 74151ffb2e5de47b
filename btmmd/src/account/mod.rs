//! Accounts: names, keys, certificates, invitations, the roster.
//!
//! - [`name`], [`prefix`]: what machines, zones and inner addresses look like.
//! - [`key`], [`tsig`]: secrets; each belongs to one machine. [`public_key`]: their public halves.
//! - [`token`]: a key on a smart card.
//! - [`authority`]: the account's CA, which issues certificates. [`certificate`]: whom a machine believes.
//! - [`invite`], [`invitations`]: the one-line code, and the base's book of codes given out.
//! - [`roster`]: the signed list of machines.
//! - [`identity`]: everything a joined machine knows.
pub mod authority;
pub mod base;
pub mod certificate;
pub mod credentials;
pub mod driver;
pub mod enrol;
pub mod identity;
pub mod invitations;
pub mod invite;
pub mod join;
pub mod key;
pub mod layout;
pub(crate) mod linux;
pub mod name;
mod octets;
pub mod prefix;
pub mod public_key;
pub mod roster;
pub mod tls;
pub mod token;
pub mod tsig;

use std::path::Path;

pub use base::{AccountOptions, Base, SharedBase, create};
pub use driver::{Member, join, serve_base};
pub use identity::Identity;

/// Has this machine, which is in no account yet, use the key on a token; a missing one is made there. May take seconds.
pub fn use_token(state_dir: &Path, uri: &token::TokenUri) -> Result<(), layout::StateError> {
    linux::use_token(state_dir, uri)
}

/// The newest roster that this machine keeps in `state_dir`, checked again. `None` before the first.
pub fn known_roster(state_dir: &Path, trust: &certificate::AccountTrust) -> Result<Option<roster::Roster>, layout::StateError> {
    linux::read_roster(state_dir, trust)
}
