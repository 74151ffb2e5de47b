//! Who on this machine may have the tickets that the sharing certificate gets: root, the daemon, and the local user that the account's
//! user is here.

use std::sync::Arc;

use nix::unistd::{Uid, User};
use tokio::sync::watch;

use super::daemon::{Daemon, Stage};
use super::event::Event;
use super::register::names;
use crate::control::error::ControlError;
use crate::control::request::{Answer, Caller};
use crate::control::secrets::{HeldTickets, RealmTickets, TicketWanted};

/// Whose tickets they are here.
struct Owner {
    /// The account's user.
    account: String,
    /// The local user that it is; nobody, when it would be root without having been configured so.
    local: Option<String>,
}

impl Owner {
    /// Whether this caller may have them. Asks the system for the caller's name, which may take time.
    fn permits(&self, caller: Caller, method: &str) -> Result<(), ControlError> {
        if caller.may_change {
            return Ok(());
        }
        let name = User::from_uid(Uid::from_raw(caller.uid)).map_err(|error| ControlError::failed("local users", error))?;
        if self.local.is_some() && name.map(|user| user.name) == self.local {
            return Ok(());
        }
        let message = match &self.local {
            Some(local) => format!("{} is local user {local} here; see users under [lkdc] in btmmd.toml", self.account),
            None => format!("{} is no local user here; see users under [lkdc] in btmmd.toml", self.account),
        };
        Err(ControlError::NotPermitted { method: method.to_owned(), uid: caller.uid, message })
    }
}

impl Daemon {
    fn owner(&self) -> Result<Owner, ControlError> {
        let session = self.session()?;
        let names = names(&session.identity, &self.config);
        Ok(Owner { local: names.local(&names.account), account: names.account })
    }

    /// Gets a ticket, when the caller may have it.
    pub(super) fn ticket(&mut self, caller: Caller, wanted: TicketWanted, answer: Answer<RealmTickets>) {
        let owner = match self.owner() {
            Ok(_) if !self.on => return drop(answer.send(Err(ControlError::SwitchedOff {}))),
            Ok(owner) => owner,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Stage::Member(session) = &self.stage else { return };
        let inbox = session.inbox.clone();
        tokio::task::spawn_blocking(move || match owner.permits(caller, "Ticket") {
            // A session that has ended drops the answer, and that tells the caller so.
            Ok(()) => drop(inbox.blocking_send(Event::TicketWanted(caller, wanted, answer))),
            Err(error) => drop(answer.send(Err(error))),
        });
    }

    /// Lets the caller listen to what tickets are held, when it may.
    pub(super) fn tickets(&mut self, caller: Caller, answer: Answer<watch::Receiver<Arc<HeldTickets>>>) {
        let held = self.session().and_then(|session| {
            let none = || ControlError::failed("tickets", "this machine's certificate does not go with its key");
            session.tickets.as_ref().map(super::tickets::Tickets::listen).ok_or_else(none)
        });
        match self.owner().and_then(|owner| Ok((owner, held?))) {
            Err(error) => drop(answer.send(Err(error))),
            Ok((owner, held)) => drop(tokio::task::spawn_blocking(move || {
                drop(answer.send(owner.permits(caller, "Tickets").map(|()| held)));
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller { uid: 0, gid: 0, pid: None, may_change: false };

    fn owner(local: Option<&str>) -> Owner {
        Owner { account: "alice".to_owned(), local: local.map(str::to_owned) }
    }

    #[test]
    fn only_the_account_s_own_local_user_and_who_may_change_things_get_its_tickets() {
        // The one user that is the same everywhere; that uid 0 may change things is told by `may_change` alone.
        assert_eq!(owner(Some("root")).permits(CALLER, "Ticket"), Ok(()));
        let refused = owner(Some("alice")).permits(CALLER, "Ticket").unwrap_err().to_string();
        assert!(refused.contains("Ticket is not permitted to user 0") && refused.contains("local user alice"), "{refused}");
        assert_eq!(owner(Some("alice")).permits(Caller { may_change: true, ..CALLER }, "Ticket"), Ok(()));
    }

    #[test]
    fn a_caller_without_a_name_is_not_the_account_without_a_local_user() {
        let nameless = Caller { uid: 4_000_000_000, ..CALLER };
        assert!(owner(None).permits(nameless, "Tickets").is_err());
        assert!(owner(None).permits(CALLER, "Tickets").is_err());
    }
}
