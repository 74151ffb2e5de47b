//! How far a KDC's clock is from ours. Tickets keep the KDC's time; what we sign for a KDC must carry it too.

use std::time::{Duration, SystemTime};

/// The KDC's clock against ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    by: Duration,
    behind: bool,
}

/// Differences below this are the way of the message, and the whole seconds of Kerberos.
const NOTHING: Duration = Duration::from_secs(5);

impl ClockOffset {
    /// The KDC says `theirs` while our clock says `ours`. Some seconds more or less are none.
    pub fn between(theirs: SystemTime, ours: SystemTime) -> Self {
        let offset = match theirs.duration_since(ours) {
            Ok(by) => Self { by, behind: false },
            Err(error) => Self { by: error.duration(), behind: true },
        };
        if offset.by < NOTHING { Self::default() } else { offset }
    }

    /// Whether the clocks agree.
    pub fn is_none(&self) -> bool {
        self.by.is_zero()
    }

    /// What the KDC's clock says when ours says `now`.
    pub fn kdc_time(&self, now: SystemTime) -> SystemTime {
        let shifted = if self.behind { now.checked_sub(self.by) } else { now.checked_add(self.by) };
        shifted.unwrap_or(now)
    }

    /// What our clock says when the KDC's says `theirs`.
    pub fn local_time(&self, theirs: SystemTime) -> SystemTime {
        Self { by: self.by, behind: !self.behind }.kdc_time(theirs)
    }

    /// Seconds and microseconds to add to our clock, as cache files keep them. Nothing when the clocks agree.
    pub fn of_cache(&self) -> Option<(i32, i32)> {
        if self.is_none() {
            return None;
        }
        let seconds = i32::try_from(self.by.as_secs()).ok()?;
        let micros = i32::try_from(self.by.subsec_micros()).ok()?;
        Some(if self.behind { (-seconds, -micros) } else { (seconds, micros) })
    }

    /// What a cache file said.
    pub fn from_cache(offset: Option<(i32, i32)>) -> Self {
        let Some((seconds, micros)) = offset else { return Self::default() };
        let total = i64::from(seconds) * 1_000_000 + i64::from(micros);
        Self { by: Duration::from_micros(total.unsigned_abs()), behind: total < 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_offset_leads_to_the_kdcs_time_in_both_directions() {
        let ours = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for theirs in [ours + Duration::from_secs(3600), ours - Duration::from_millis(3_600_500)] {
            let offset = ClockOffset::between(theirs, ours);
            assert_eq!(offset.kdc_time(ours), theirs);
            assert_eq!(offset.local_time(theirs), ours);
            assert_eq!(ClockOffset::from_cache(offset.of_cache()), offset);
        }
        assert!(ClockOffset::between(ours + Duration::from_secs(4), ours).is_none());
        assert_eq!(ClockOffset::default().of_cache(), None);
    }
}
