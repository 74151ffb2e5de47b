//! What can go wrong in the kernel, with the object it went wrong with.

use std::io;

use super::port::{PolicyId, SaId};

/// What an operation was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A netlink socket, by what it is for.
    Socket(&'static str),
    /// An ESP state.
    Sa(SaId),
    /// The policies of one peer.
    Policy(PolicyId),
    /// A policy of the never-in-clear guard, in words.
    Guard(&'static str),
    /// All states or all policies, in a dump.
    Table(&'static str),
    /// An interface, by name.
    Interface(String),
    /// An address, route or rule, in words.
    Route(String),
}

/// A refused or failed change or question.
#[derive(Debug, thiserror::Error)]
pub enum XfrmError {
    /// The kernel said no.
    #[error("{action} {object}: {why}")]
    Refused {
        /// What was tried: `install`, `remove`, …
        action: &'static str,
        /// On what.
        object: Object,
        /// The kernel's answer, in words that say what to do where that is known.
        why: String,
        /// The kernel's error number, positive.
        errno: i32,
    },
    /// The netlink socket failed, or the task behind it is gone.
    #[error("{action} {object}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: Object,
        /// The cause.
        source: io::Error,
    },
    /// A specification that no kernel could carry out; nothing was sent.
    #[error("{object}: {why}")]
    Misuse {
        /// Which object.
        object: Object,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(what) => write!(f, "the netlink socket for {what}"),
            Self::Sa(id) => write!(f, "the ESP state {:#010x} to {}", id.spi, id.destination),
            Self::Policy(id) => write!(f, "the policies between {} and {}", id.inner_local, id.inner_remote),
            Self::Guard(what) => write!(f, "the guard's {what}"),
            Self::Table(what) => write!(f, "the kernel's {what}"),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Route(what) => f.write_str(what),
        }
    }
}
