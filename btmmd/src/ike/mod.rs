//! IKEv2 (RFC 7296): every IKE SA of this machine, as pure state machines.
//!
//! [`Ike`] takes an [`Input`] and the time, queues [`Command`]s and says when it wants to be called again. It owns no socket, no clock and no
//! kernel state. UDP encapsulation always; certificates and RFC 7427 signatures both ways; one child SA per peer, whose traffic selectors are
//! exactly the two certificates' inner addresses.
//!
//! What the caller may rely on:
//! - At most one tunnel per peer is *up*; `Up` and `Down` alternate for a peer, except that an `Initiate` for a peer that is up is answered by
//!   `Up` again. Every `Initiate` for a peer that is not up is answered by `Up` or `Failed`.
//! - For a peer there is at most one outbound state in the kernel at any time, save between an `InstallSa` of the new one and the `RemoveSa` of
//!   the old one that directly follows it.
//! - Every `InstallSa` is followed, in the end, by one `RemoveSa` for the same state (as moved).
//! - All lists are bounded, and no input panics.
pub mod cause;
pub mod codec;
pub mod config;
pub mod crypto;
pub mod driver;
pub mod port;
pub mod status;

use std::time::Instant;

pub use cause::{Cause, Reason};
pub use config::IkeConfig;
pub use port::{
    ChildSa, Command, CredentialError, Credentials, Direction, Entropy, EspKey, Input, PeerIdentity, SaRef, SignatureAlgorithm,
    SystemEntropy,
};
pub use status::SaStatus;

/// Every IKE SA of this machine.
pub struct Ike {
    _config: IkeConfig,
    _credentials: Box<dyn Credentials>,
    _entropy: Box<dyn Entropy>,
}

impl Ike {
    /// A machine without SAs.
    pub fn new(config: IkeConfig, credentials: Box<dyn Credentials>, entropy: Box<dyn Entropy>) -> Self {
        Self { _config: config, _credentials: credentials, _entropy: entropy }
    }

    /// Takes one input. Never panics; commands are waiting afterwards.
    pub fn handle(&mut self, _input: Input, _now: Instant) {}

    /// The next thing to do, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        None
    }

    /// When [`Input::Timeout`] is due, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// The established IKE SAs, one per peer, by name.
    pub fn status(&self) -> Vec<SaStatus> {
        Vec::new()
    }
}
