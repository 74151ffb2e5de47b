//! The numbers of the IKE machine, all in one place.

use std::time::Duration;

use super::crypto::Group;

/// Times, bounds and policy. `Default` is what the daemon runs with.
#[derive(Clone, Debug)]
pub struct IkeConfig {
    /// Key-exchange groups in order of preference; the first is guessed in IKE_SA_INIT.
    pub groups: Vec<Group>,
    /// Half-open SAs (answered, not yet authenticated) from which on a COOKIE is demanded (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Half-open SAs at most; for one more the oldest of the source that has most of them is forgotten.
    pub half_open_max: usize,
    /// A half-open SA that has not authenticated after this is forgotten.
    pub half_open_lifetime: Duration,
    /// How long a cookie secret is used; the one before it is still accepted.
    pub cookie_rotation: Duration,
    /// Between the first IKE_SA_INIT to one candidate and to the next.
    pub candidate_stagger: Duration,
    /// First retransmission of IKE_SA_INIT: short, for it also opens NATs.
    pub init_retransmit: Duration,
    /// Upper bound of the time between two IKE_SA_INITs to one candidate.
    pub init_retransmit_max: Duration,
    /// Raising a tunnel is given up after this, counted from the last `Initiate`.
    pub dial_timeout: Duration,
    /// First retransmission of every other request; doubles each time.
    pub retransmit: Duration,
    /// Transmissions of a request before the peer counts as silent.
    pub transmissions: u32,
    /// Transmissions of the DELETE that says good-bye.
    pub delete_transmissions: u32,
    /// After this time without a sign of life the peer is probed.
    pub liveness: Duration,
    /// Keepalive to a peer when we are behind a NAT.
    pub keepalive: Duration,
    /// A child SA is renewed after this, less jitter.
    pub child_lifetime: Duration,
    /// The IKE SA is renewed after this, less jitter.
    pub ike_lifetime: Duration,
    /// Up to this part of a lifetime, in percent, is taken off it at random.
    pub jitter_percent: u32,
    /// Kernel's hard limit of a child SA; beyond `child_lifetime`.
    pub child_hard_lifetime: Duration,
    /// A retired inbound child SA stays this long for packets still on the way.
    pub linger: Duration,
    /// After a collision (TEMPORARY_FAILURE) or a duplicate IKE SA, wait this long before acting again.
    pub settle: Duration,
}

impl Default for IkeConfig {
    fn default() -> Self {
        Self {
            groups: vec![Group::X25519],
            cookie_threshold: 8,
            half_open_max: 64,
            half_open_lifetime: Duration::from_secs(15),
            cookie_rotation: Duration::from_secs(60),
            candidate_stagger: Duration::from_millis(250),
            init_retransmit: Duration::from_millis(250),
            init_retransmit_max: Duration::from_secs(2),
            dial_timeout: Duration::from_secs(12),
            retransmit: Duration::from_millis(500),
            transmissions: 7,
            delete_transmissions: 4,
            liveness: Duration::from_secs(30),
            keepalive: Duration::from_secs(20),
            child_lifetime: Duration::from_secs(3600),
            ike_lifetime: Duration::from_secs(4 * 3600),
            jitter_percent: 10,
            child_hard_lifetime: Duration::from_secs(3600 + 600),
            linger: Duration::from_secs(5),
            settle: Duration::from_secs(1),
        }
    }
}
