//! Passwords and keys on the control socket.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Text that is nobody's but the caller's: wiped after use, and never told by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0.to_string()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Parameters of `Passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwd {
    /// The user; the caller when absent.
    pub user: Option<String>,
    /// What is to be done.
    pub change: PasswordChange,
    /// The new password, for `set`.
    pub password: Option<Secret>,
    /// The present password, when there is one: needed from all but root.
    pub old: Option<Secret>,
    /// For `totp_confirm`: what the authenticator shows.
    pub code: Option<Secret>,
}

/// What is to be done about a user's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// Set it.
    Set,
    /// Forget it, and the second factor with it.
    Remove,
    /// Make a second factor, which takes effect when it is confirmed.
    Totp,
    /// Put the second factor that was made in the place of the one there was.
    TotpConfirm,
    /// Take the second factor away.
    NoTotp,
}

/// Reply of `Passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChanged {
    /// The user.
    pub user: String,
    /// The principal, with its realm.
    pub principal: String,
    /// Whether anything was changed.
    pub changed: bool,
    /// For `totp`: what an authenticator reads, once.
    pub uri: Option<Secret>,
}

/// Parameters of `Keytab`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keytab {
    /// The services; all when empty.
    pub services: Vec<String>,
    /// Whether new keys are made first.
    pub rotate: bool,
}

/// Reply of `Keytab`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKeys {
    /// This machine's realm.
    pub realm: String,
    /// The keytab's octets in base64.
    pub keytab: Secret,
}

/// Parameters of `Ticket`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketWanted {
    /// The service; absent, the ticket with which others are got is enough.
    pub service: Option<String>,
    /// The machine that has it: one label, or in full.
    pub machine: String,
    /// Whose ticket it must be, when it matters: the daemon has only those of the account's user.
    pub user: Option<String>,
}

/// The tickets of one machine's realm, with the keys to use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealmTickets {
    /// The realm.
    pub realm: String,
    /// Its machine's name, in full.
    pub machine: String,
    /// Whether that is this machine itself.
    pub own: bool,
    /// A credential cache file, as kinit would write it, in base64.
    pub cache: Secret,
}

/// Reply of `Tickets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTickets {
    /// The realms of the account. A ticket of another realm is worth nothing any more. Empty while they are not known.
    pub realms: Vec<String>,
    /// What is held.
    pub tickets: Vec<RealmTickets>,
}
