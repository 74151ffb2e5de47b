//! When the base is asked again for a certificate that it did not give. Pure.
//!
//! ```text
//!          failed: 1 min, 2, 4 … 1 h, plus up to a quarter
//!  idle ───────────────────────────────────────────────────► waiting ──► due (ask)
//!                                            the base answers  │ ▲
//!                                   something else: within 30 s└─┘
//! ```

use std::time::{Duration, Instant};

use crate::entropy::Entropy;

/// Pause after the first failure; doubled with each further one.
const FIRST: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3600);
/// Within this time the machines of an account come one after another when their base is back.
const RETURN: Duration = Duration::from_secs(30);

/// When the base is asked again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    due: Option<Instant>,
}

impl Retry {
    /// The base gave no certificate.
    pub fn failed(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let pause = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + pause + part(pause / 4, entropy));
    }

    /// It did: nothing is to be asked any more.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The base answers other questions again: it is asked soon, and a further failure counts as the first.
    pub fn base_is_back(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if let Some(due) = self.due {
            self.failures = 0;
            self.due = Some(due.min(now + part(RETURN, entropy)));
        }
    }

    /// When to ask, if at all.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is being asked.
    pub fn begun(&mut self) {
        self.due = None;
    }
}

/// Some part of `time`.
fn part(time: Duration, entropy: &mut dyn Entropy) -> Duration {
    let mut octets = [0; 2];
    entropy.fill(&mut octets);
    time.mul_f64(f64::from(u16::from_be_bytes(octets)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same octet for ever.
    struct Same(u8);

    impl Entropy for Same {
        fn fill(&mut self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    fn minutes(of: Duration) -> u64 {
        of.as_secs() / 60
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_are_lengthened_by_a_quarter_at_most() {
        let now = Instant::now();
        for (octet, expected) in [(0, [1, 2, 4, 8, 16, 32, 60, 60]), (0xff, [1, 2, 5, 10, 20, 40, 75, 75])] {
            let mut retry = Retry::default();
            let pauses = expected.map(|_| {
                retry.failed(now, &mut Same(octet));
                minutes(retry.due().unwrap() - now)
            });
            assert_eq!(pauses, expected);
        }
        let mut long = Retry { failures: u32::MAX, due: None };
        long.failed(now, &mut Same(0));
        assert_eq!(long.due(), Some(now + LONGEST));
    }

    #[test]
    fn a_base_that_is_back_is_asked_within_half_a_minute_and_no_later_than_planned() {
        let now = Instant::now();
        let mut retry = Retry::default();
        retry.base_is_back(now, &mut Same(0xff));
        assert_eq!(retry.due(), None, "nothing was refused, so there is nothing to ask again");
        for _ in 0..9 {
            retry.failed(now, &mut Same(0));
        }
        retry.base_is_back(now, &mut Same(0xff));
        assert_eq!(retry.due(), Some(now + RETURN));
        retry.base_is_back(now + RETURN, &mut Same(0xff));
        assert_eq!(retry.due(), Some(now + RETURN), "news of the base do not put it off");
        retry.begun();
        assert_eq!(retry.due(), None);
        retry.failed(now, &mut Same(0));
        assert_eq!(retry.due(), Some(now + FIRST), "the base was away: that was no refusal");
        retry.succeeded();
        assert_eq!(retry.due(), None);
    }
}
