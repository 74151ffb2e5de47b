//! A call as the event loop sees it: decoded, authorised, with a typed way to answer.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::error::ControlError;
use super::messages::{AccountCreate, AccountStatus, Invitation, Join, Machines, Metrics, Pong, Reloaded, Status, Switched};
use super::secrets::{HeldTickets, Keytab, Passwd, PasswordChanged, RealmTickets, ServiceKeys, TicketWanted};
use super::services::{Require, Services};

/// Where the answer goes. Dropping it answers `Failed`; `is_closed` tells that the caller has hung up.
pub type Answer<T> = oneshot::Sender<Result<T, ControlError>>;

/// Who is calling, by the kernel's word at connect time (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Process, when the kernel tells.
    pub pid: Option<i32>,
    /// Whether this user may change things: root or the daemon's own user.
    pub may_change: bool,
}

/// One authorised call. The event loop takes these from the channel that it gave to the server.
#[derive(Debug)]
pub struct ControlRequest {
    /// For the audit log; whether the caller may make this call has been checked.
    pub caller: Caller,
    /// What is asked and where the answer goes.
    pub call: Call,
}

/// What is asked, and where the answer goes. Answers may come later and in any order: other callers are not held up.
#[derive(Debug)]
pub enum Call {
    /// Everything there is to tell.
    Status(Answer<Status>),
    /// The account's machines.
    Machines(Answer<Machines>),
    /// Probe a machine once, over its tunnel, making that first if need be. The server repeats and numbers probes.
    Ping(String, Answer<Pong>),
    /// Switch on.
    On(Answer<Switched>),
    /// Switch off.
    Off(Answer<Switched>),
    /// Make an account with this machine as its home base.
    AccountCreate(AccountCreate, Answer<AccountStatus>),
    /// Make an invitation.
    Invite(Answer<Invitation>),
    /// Join an account.
    Join(Join, Answer<AccountStatus>),
    /// Change a password. Whether this caller may change this user's is not yet checked.
    Passwd(Passwd, Answer<PasswordChanged>),
    /// Give out the keys of services.
    Keytab(Keytab, Answer<ServiceKeys>),
    /// Tell what services ask of those who want tickets for them.
    Services(Answer<Services>),
    /// Set what one asks.
    Require(Require, Answer<Services>),
    /// Get a ticket, making the tunnel first if need be. Whether this caller may have it is not yet checked.
    Ticket(TicketWanted, Answer<RealmTickets>),
    /// Tell what tickets are held, now and whenever they change. Whether this caller may have them is not yet checked.
    Tickets(Answer<watch::Receiver<Arc<HeldTickets>>>),
    /// Read the configuration file again.
    Reload(Answer<Reloaded>),
    /// Metrics for Prometheus.
    Metrics(Answer<Metrics>),
}
