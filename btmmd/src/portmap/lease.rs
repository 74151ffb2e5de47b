//! A mapping the router has granted, for a time.

use std::time::{Duration, Instant};

/// However short the grant, the router is not asked more often.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(2);

/// One granted mapping.
#[derive(Debug)]
pub(super) struct Lease {
    /// The outer port.
    pub external: u16,
    pub granted: Duration,
    pub expires: Instant,
    /// `None` while the renewal is on its way, or a retry is planned.
    pub renew: Option<Instant>,
}

impl Lease {
    /// Granted now, for `lifetime` seconds; to be renewed halfway (RFC 6886 §3.3).
    pub fn new(external: u16, lifetime: u32, now: Instant) -> Self {
        let granted = Duration::from_secs(lifetime.into());
        let mut lease = Self { external, granted, expires: now + granted, renew: None };
        lease.renew = Some(now + lease.half_of_rest(now));
        lease
    }

    /// How long to wait before asking again.
    pub fn half_of_rest(&self, now: Instant) -> Duration {
        (self.expires.saturating_duration_since(now) / 2).max(SHORTEST_RENEWAL)
    }
}
