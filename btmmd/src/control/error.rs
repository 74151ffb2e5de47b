//! What the daemon answers when it will not or cannot do what was asked.

use serde::{Deserialize, Serialize};

/// Exit codes of `btmm`, the same for every command. Where there are several failures the greatest tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitClass {
    /// Done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line or one of its values was wrong; nothing was tried.
    Usage = 2,
    /// btmmd is not running.
    NotRunning = 3,
    /// The caller may not do this.
    NotPermitted = 4,
    /// The other machine does not answer.
    Unreachable = 5,
}

/// A refusal or failure, as a varlink error: `org.btmm.Control.<variant>` with the fields as its parameters.
///
/// Every variant names the object it is about, and its `Display` is one line fit for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ControlError {
    /// The caller's user may not make this call.
    #[error("{method} is not permitted to user {uid}: {message}")]
    #[serde(rename = "org.btmm.Control.NotPermitted")]
    NotPermitted {
        /// The method that was called.
        method: String,
        /// The caller's user id.
        uid: u32,
        /// What would be needed.
        message: String,
    },
    /// An argument has a value that can never be right.
    #[error("{argument}: {message}")]
    #[serde(rename = "org.btmm.Control.BadArgument")]
    BadArgument {
        /// The argument's name.
        argument: String,
        /// What is wrong with it and what is allowed.
        message: String,
    },
    /// The account has no machine of this name.
    #[error("no machine {machine:?} in {zone}; you have: {}", list(known))]
    #[serde(rename = "org.btmm.Control.NoSuchMachine")]
    NoSuchMachine {
        /// The name that was asked for.
        machine: String,
        /// The account's zone.
        zone: String,
        /// The machines there are.
        known: Vec<String>,
    },
    /// This machine is in no account yet.
    #[error("this machine is in no account: use \"btmm join CODE\", or \"btmm account create NAME --serve\" on a home base")]
    #[serde(rename = "org.btmm.Control.NoAccount")]
    NoAccount {},
    /// This machine is in an account already.
    #[error("this machine is already {machine} in account {account}")]
    #[serde(rename = "org.btmm.Control.AccountExists")]
    AccountExists {
        /// The account.
        account: String,
        /// The machine's name in it, fully qualified.
        machine: String,
    },
    /// Only the account's home base can do this.
    #[error("{method} must be run on the home base of account {account}")]
    #[serde(rename = "org.btmm.Control.NotBase")]
    NotBase {
        /// The method that was called.
        method: String,
        /// The account.
        account: String,
    },
    /// btmm is switched off.
    #[error("btmm is off: switch it on with \"btmm on\"")]
    #[serde(rename = "org.btmm.Control.SwitchedOff")]
    SwitchedOff {},
    /// A ticket that cannot be had by this machine's certificate. Another proof may get it.
    #[error("{ticket}: {message}")]
    #[serde(rename = "org.btmm.Control.TicketRefused")]
    TicketRefused {
        /// What it is for, such as `host@imac`.
        ticket: String,
        /// Why not.
        message: String,
    },
    /// The other machine did not answer.
    #[error("{machine} does not answer: {message}")]
    #[serde(rename = "org.btmm.Control.Unreachable")]
    Unreachable {
        /// The machine.
        machine: String,
        /// The cause as far as it is known.
        message: String,
    },
    /// Anything else that was tried and failed.
    #[error("{object}: {message}")]
    #[serde(rename = "org.btmm.Control.Failed")]
    Failed {
        /// What it is about: a file, an interface, a machine, an address.
        object: String,
        /// What happened.
        message: String,
    },
}

impl ControlError {
    /// The exit code that tells a script what kind of failure this is.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::NotPermitted { .. } => ExitClass::NotPermitted,
            Self::BadArgument { .. } | Self::NoSuchMachine { .. } => ExitClass::Usage,
            Self::Unreachable { .. } => ExitClass::Unreachable,
            Self::NoAccount {} | Self::AccountExists { .. } | Self::NotBase { .. } => ExitClass::Failed,
            Self::SwitchedOff {} | Self::TicketRefused { .. } | Self::Failed { .. } => ExitClass::Failed,
        }
    }

    /// A failure of `object`, told by `cause`.
    pub fn failed(object: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Failed { object: object.into(), message: cause.to_string() }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
