//! `btmm passwd`: what is asked for and how the answers read.

use super::args::Passwd;
use super::words::printable;
use crate::control::error::ControlError;
use crate::control::secrets::{PasswordChange, PasswordChanged};

/// What is to be done.
pub fn wanted(args: &Passwd) -> PasswordChange {
    match args {
        Passwd { remove: true, .. } => PasswordChange::Remove,
        Passwd { totp: true, .. } => PasswordChange::Totp,
        Passwd { no_totp: true, .. } => PasswordChange::NoTotp,
        _ => PasswordChange::Set,
    }
}

/// What was done.
pub fn done(change: PasswordChange, reply: &PasswordChanged) -> String {
    let (user, principal) = (printable(&reply.user), printable(&reply.principal));
    match change {
        PasswordChange::Set => format!("{user} now gets tickets with this password, as {principal}\n"),
        PasswordChange::Remove if reply.changed => format!("{user} has no password here any more\n"),
        PasswordChange::Remove => format!("{user} had no password here\n"),
        PasswordChange::NoTotp if reply.changed => format!("{user} now gets tickets with the password alone\n"),
        PasswordChange::NoTotp => format!("{user} had no second factor here\n"),
        PasswordChange::TotpConfirm => format!("{user} now gets tickets with the password and a one-time code\n"),
        PasswordChange::Totp => format!("{}\n", reply.uri.as_ref().map_or("", |uri| uri.reveal())),
    }
}

/// What a person should know of a new second factor, on standard error.
pub fn totp_note(reply: &PasswordChanged) -> String {
    format!(
        "Give this line to an authenticator (it is shown this once), for example with qrencode -t ansiutf8. Until the first code was right \
         nothing changes for {}.\n",
        printable(&reply.user)
    )
}

/// Whether another code may do.
pub fn is_wrong_code(error: &ControlError) -> bool {
    matches!(error, ControlError::BadArgument { argument, .. } if argument == "code")
}
