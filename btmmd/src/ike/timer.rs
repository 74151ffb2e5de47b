//! Every timer of the machine.

use std::time::Instant;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next candidate of a peer being dialled gets its IKE_SA_INIT.
    NextCandidate,
    /// Raising a tunnel is given up.
    DialDeadline,
    /// A request went unanswered and is sent again, or given up.
    Retransmit,
    /// An answered IKE_SA_INIT was not followed by IKE_AUTH.
    HalfOpenExpiry,
    /// Nothing was heard of a peer: probe it.
    Liveness,
    /// A NAT in front of us wants to see traffic.
    Keepalive,
    /// The child's keys have been used long enough, or a rekey is tried again.
    ChildRekey,
    /// The IKE SA's keys have been used long enough.
    IkeRekey,
    /// A retired inbound state has seen its last packet.
    Linger,
    /// Two IKE SAs to one peer: use and keep the one, close the other.
    Settle,
    /// A successor that the peer made and never used, or a closed SA that only answers retransmissions, is forgotten.
    Forget,
}

impl Timer {
    /// For logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NextCandidate => "next candidate",
            Self::DialDeadline => "dial deadline",
            Self::Retransmit => "retransmit",
            Self::HalfOpenExpiry => "half-open expiry",
            Self::Liveness => "liveness",
            Self::Keepalive => "keepalive",
            Self::ChildRekey => "child rekey",
            Self::IkeRekey => "IKE rekey",
            Self::Linger => "linger",
            Self::Settle => "settle",
            Self::Forget => "forget",
        }
    }
}

/// A timer and its time; the earliest of many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earliest(Option<(Instant, Timer)>);

impl Earliest {
    /// Counts in a timer that is set.
    pub fn at(mut self, when: Instant, timer: Timer) -> Self {
        if self.0.is_none_or(|(earliest, _)| when < earliest) {
            self.0 = Some((when, timer));
        }
        self
    }

    /// Counts in a timer that may be set.
    pub fn maybe(self, when: Option<Instant>, timer: Timer) -> Self {
        match when {
            Some(when) => self.at(when, timer),
            None => self,
        }
    }

    /// Counts in what another part needs.
    pub fn and(self, other: Self) -> Self {
        match other.0 {
            Some((when, timer)) => self.at(when, timer),
            None => self,
        }
    }

    /// The winner.
    pub fn get(self) -> Option<(Instant, Timer)> {
        self.0
    }
}
