//! The router's clock, by which it tells that it has forgotten everything (RFC 6886 §3.6).

use std::time::{Duration, Instant};

/// The last epoch seen and when.
#[derive(Debug, Default)]
pub struct Epoch {
    last: Option<(u32, Instant)>,
}

impl Epoch {
    /// Notes the epoch of an answer; `true` when the router has lost its mappings since the answer before.
    ///
    /// The router's clock may run slow by an eighth and be late by two seconds.
    pub fn note(&mut self, seconds: u32, now: Instant) -> bool {
        let lost = self.last.is_some_and(|(before, at)| {
            let elapsed = now.saturating_duration_since(at);
            let expected = Duration::from_secs(before.into()) + elapsed * 7 / 8;
            Duration::from_secs(seconds.into()) + Duration::from_secs(2) < expected
        });
        self.last = Some((seconds, now));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_clock_is_forgiven_and_a_restart_is_not() {
        let start = Instant::now();
        let mut epoch = Epoch::default();
        assert!(!epoch.note(1000, start), "the first answer proves nothing");
        assert!(!epoch.note(1873, start + Duration::from_secs(1000)), "1875 expected, two seconds of grace");
        assert!(!epoch.note(1873, start + Duration::from_secs(1001)));
        assert!(epoch.note(5, start + Duration::from_secs(1100)));
        assert!(!epoch.note(15, start + Duration::from_secs(1110)), "said once");
    }
}
