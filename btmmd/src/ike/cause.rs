//! Why a tunnel failed or ended: a reason for programs, a sentence for people.

use std::fmt;

/// The kind of cause. Stable: programs may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No candidate address was given.
    NoCandidates,
    /// No candidate answered IKE_SA_INIT, or IKE_AUTH went unanswered.
    NoAnswer,
    /// An established peer stopped answering.
    PeerSilent,
    /// The peer closed the tunnel.
    PeerClosed,
    /// We closed the tunnel.
    Closed,
    /// The peer's certificate or signature was refused, or it refused ours.
    AuthenticationFailed,
    /// The peer is not in the account any more, or by another key, or its certificate has run out.
    NotBelieved,
    /// The peer proved to be somebody else than asked for.
    WrongPeer,
    /// No common algorithms.
    NoProposalChosen,
    /// The peer's traffic selectors are not the two certificates' addresses.
    TrafficSelectors,
    /// The last child SA expired before it could be renewed.
    Expired,
    /// The peer came back with a new IKE SA and declared all older ones void (INITIAL_CONTACT).
    PeerRestarted,
    /// The peer broke the protocol.
    Protocol,
    /// Our own key or certificate could not be used.
    OwnCredentials,
    /// The peer says that its own key cannot be used at the moment.
    PeerCredentials,
}

/// A [`Reason`] and the sentence that explains this instance of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The kind.
    pub reason: Reason,
    /// One line for people; names addresses and peers, never keys.
    pub text: String,
}

impl Cause {
    /// A cause with its sentence.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
