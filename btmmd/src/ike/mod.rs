//! IKEv2 (RFC 7296): every IKE SA of this machine, as pure state machines.
//!
//! [`Ike`] takes an [`Input`] and the time, queues [`Command`]s and says when it wants to be called again. It owns no socket, no clock and no
//! kernel state. UDP encapsulation always; certificates and RFC 7427 signatures both ways; one child SA per peer, whose traffic selectors are
//! exactly the two certificates' inner addresses.
//!
//! ```text
//!   Initiate ─► Dial ─► Opening ──SA_INIT──► Authenticating ──IKE_AUTH──┐
//!                       (one per candidate)                             ├─► Established ──► Closing
//!   SA_INIT request ─► HalfOpen ───────────────────────IKE_AUTH─────────┘    │       ▲
//!                                                                            └─rekey─┘
//! ```
//!
//! What the caller may rely on:
//! - At most one tunnel per peer is *up*. `Down` comes once for each tunnel that was up. `Up` comes again, without a `Down` between, when the peer
//!   restarted and its new tunnel took over, and in answer to an `Initiate` for a peer that is up. Every `Initiate` for a peer that is not up is
//!   answered by `Up` or `Failed`.
//! - For a peer there is at most one outbound state in the kernel at any time, save between an `InstallSa` of the new one and the `RemoveSa` of
//!   the old one that directly follows it.
//! - Every `InstallSa` is followed, in the end, by one `RemoveSa` for the same state (as moved). No key is installed twice.
//! - All lists are bounded, and no input panics.
pub mod cause;
pub mod codec;
pub mod config;
pub mod crypto;
pub mod driver;
pub mod port;
pub mod status;

mod answered;
mod auth;
mod authenticating;
mod channel;
mod child;
mod closing;
mod cookie;
mod dial;
mod dispatch;
mod election;
mod established;
mod half_open;
mod init;
mod nat;
mod parts;
mod rekey_child;
mod rekey_ike;
mod suite;
mod table;
mod timer;
mod turn;
mod upkeep;

#[cfg(test)]
mod tests;

pub use cause::{Cause, Reason};
pub use config::IkeConfig;
pub use port::{ChildSa, Command, CredentialError, Credentials, Input, PeerIdentity, SaRef, SignatureAlgorithm};
pub use status::{SaCounts, SaStatus};
pub use table::Ike;
