//! A machine's key on a PKCS#11 token: a smart card, a USB key, SoftHSM2.
//!
//! [`uri`] says which key it is. `desk` is the thread that has the token: whoever wants a signature asks there, and a token that was taken
//! away is looked for until it is back. `session` is the only door to the token itself.

mod desk;
mod session;
pub mod uri;

pub use desk::Token;
pub use uri::{TokenUri, UriError};

/// What can be wrong with a token. One line, naming token, key or file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The shared object is not there or does not start.
    #[error("the PKCS#11 module {module} cannot be used: {why}")]
    Module {
        /// Its path.
        module: String,
        /// The system's or the module's word.
        why: String,
    },
    /// It is not plugged in, or was never there.
    #[error("there is no token {token}: plug it in, or look at the names that \"p11tool --list-tokens\" shows")]
    NoToken {
        /// What the URI says of it.
        token: String,
    },
    /// No PIN could be read.
    #[error("no PIN for the token {token}: {why}")]
    NoPin {
        /// The token.
        token: String,
        /// Why not.
        why: String,
    },
    /// The PIN is wrong.
    #[error(
        "the token {token} refuses the PIN in {file}: it is not tried again, since tokens lock themselves; correct it and restart btmmd"
    )]
    WrongPin {
        /// The token.
        token: String,
        /// Where the PIN was read.
        file: String,
    },
    /// One more wrong PIN would lock it, or it is locked.
    #[error("the token {token} {state}: no PIN is tried; log in with the token's own tool first")]
    Locked {
        /// The token.
        token: String,
        /// `is locked` or `locks itself at the next wrong PIN`.
        state: &'static str,
    },
    /// No such key pair.
    #[error("the token {token} has no key pair {key}")]
    NoKey {
        /// The token.
        token: String,
        /// What the URI says of the key.
        key: String,
    },
    /// An RSA key, another curve.
    #[error("the key {key} on the token {token} is not ECDSA P-256, the kind that tunnels are made with")]
    Kind {
        /// The token.
        token: String,
        /// What the URI says of the key.
        key: String,
    },
    /// A P-256 key, but not that of this machine's certificate.
    #[error("the key {key} on the token {token} is not the one that this machine joined its account with")]
    OtherKey {
        /// The token.
        token: String,
        /// What the URI says of the key.
        key: String,
    },
    /// Anything else that it did not do.
    #[error("the token {token} could not {action}: {why}")]
    Refused {
        /// The token.
        token: String,
        /// What was tried.
        action: &'static str,
        /// The module's word.
        why: String,
    },
}

impl TokenError {
    /// Whether trying again by itself could do harm.
    fn is_final(&self) -> bool {
        matches!(self, Self::WrongPin { .. } | Self::Locked { .. })
    }
}
