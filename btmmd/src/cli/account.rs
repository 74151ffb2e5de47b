//! `btmm account`, `btmm invite` and `btmm join`: what is asked for and how the answers read.

use super::args::{Create, Join};
use super::words::{printable, relative};
use crate::account::invite::{self, CodeError};
use crate::control::messages::{AccountCreate, AccountStatus, Invitation, InvitationCode, Join as JoinCall};

/// Longest code that is read from a terminal or pipe.
pub const MAX_CODE: usize = 4096;

/// The call for `btmm account create`.
pub fn create(args: &Create) -> AccountCreate {
    AccountCreate {
        name: args.name.clone(),
        zone: args.zone.as_ref().map(ToString::to_string),
        machine: args.machine.as_ref().map(ToString::to_string),
        serve: args.serve,
        key: args.key.clone(),
    }
}

/// The call for `btmm join` with the code as typed, when that can be one: a slip of the hand need not cross the internet.
pub fn join(args: &Join, typed: &str) -> Result<JoinCall, CodeError> {
    let code = typed.trim();
    code.parse::<invite::InvitationCode>()?;
    let machine = args.machine.as_ref().map(ToString::to_string);
    Ok(JoinCall { code: InvitationCode::from(code.to_owned()), machine, key: args.key.clone() })
}

/// After `btmm account create`.
pub fn created(account: &AccountStatus) -> String {
    format!(
        "account {} is made; this machine is {}.{} ({})\nfor each further machine: run \"btmm invite\" here and \"btmm join\" there\n",
        printable(&account.account),
        printable(&account.machine),
        printable(&account.zone),
        account.inner
    )
}

/// After `btmm join`.
pub fn joined(account: &AccountStatus) -> String {
    format!(
        "joined account {}; this machine is {}.{} ({})\n",
        printable(&account.account),
        printable(&account.machine),
        printable(&account.zone),
        account.inner
    )
}

/// `btmm invite`: the code alone on standard output, so that it can be piped.
pub fn invitation(invitation: &Invitation) -> String {
    format!("{}\n", printable(invitation.code.reveal()))
}

/// `btmm invite`: what a person should know, on standard error.
pub fn invitation_note(invitation: &Invitation, now: i64) -> String {
    format!("for one machine, once; it ends {}; on that machine: sudo btmm join\n", relative(invitation.expires, now))
}
