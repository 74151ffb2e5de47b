//! How many connections the base holds at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::account::invitations::network;

/// The most connections in all.
const MAX_CONNECTIONS: usize = 1024;
/// The most connections from one IPv4 address or IPv6 /64. A household behind one address has a handful of machines.
const MAX_PER_SOURCE: usize = 64;

/// Counts connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Admission {
    /// Admits a connection from `source` until the permit is dropped.
    pub(super) fn admit(&self, source: IpAddr) -> Option<Permit> {
        let source = network(source);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.total >= MAX_CONNECTIONS || from_source >= MAX_PER_SOURCE {
            return None;
        }
        counts.total += 1;
        counts.by_source.insert(source, from_source + 1);
        Some(Permit { admission: self.clone(), source })
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Admission,
    source: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(count) = counts.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_source_and_in_all() {
        let admission = Admission::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mut permits: Vec<Permit> = (0..MAX_PER_SOURCE).map(|_| admission.admit(one).unwrap()).collect();
        assert!(admission.admit(one).is_none());
        permits.pop();
        permits.push(admission.admit(one).unwrap());
        for number in 0.. {
            match admission.admit(IpAddr::V4(number.into())) {
                Some(permit) => permits.push(permit),
                None => break,
            }
        }
        assert_eq!(permits.len(), MAX_CONNECTIONS);
        permits.clear();
        assert!(admission.0.lock().unwrap().by_source.is_empty());
        assert!(admission.admit(one).is_some());
    }
}
