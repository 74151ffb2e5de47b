//! The client's side of Kerberos (RFC 4120): initial tickets, tickets for services, and the keeper that has them ready.
//!
//! Machines take `(answer, now, entropy)` and give the next request or a [`Grant`]; `driver` carries octets.
//!
//! - [`wish`]: what is asked for, and the secrets to prove who asks. [`request`]: requests as octets, also in bulk.
//! - [`as_exchange`]: initial tickets, by password, certificate or one-time code, inside FAST or not. `proof`: the mechanisms.
//!   [`certificate`]: the one that needs no secret.
//! - [`tgs_exchange`]: tickets from tickets; renewal; user to user.
//! - [`reply`]: whether an answer is one to what was asked. [`refusal`]: why a KDC says no.
//! - [`notes`]: what is kept beside an initial ticket: how it was earned.
//! - [`keeper`]: has tickets ready for reachable peers.
//! - [`clock`]: the KDC's clock. [`delivery`]: datagrams, streams, and when to try again.

pub mod as_exchange;
pub mod certificate;
pub mod clock;
pub mod delivery;
pub mod driver;
pub mod error;
pub mod grant;
pub mod keeper;
pub mod notes;
mod offers;
mod proof;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod tgs_exchange;
pub mod wish;

pub use as_exchange::AsExchange;
pub use certificate::Certificate;
pub use clock::ClockOffset;
pub use error::ClientError;
pub use grant::Grant;
pub use notes::Notes;
pub use request::TgsWish;
pub use tgs_exchange::TgsExchange;
pub use wish::{Secrets, Wish};

/// What an exchange does next.
#[derive(Debug)]
pub enum Next {
    /// Send this to the KDC, and hand over its answer.
    Send(Vec<u8>),
    /// The ticket is there.
    Done(Box<Grant>),
}

#[cfg(test)]
mod tests;
