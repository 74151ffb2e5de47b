//! What tickets are given: how long, renewable for how long, which options.

use std::time::Duration;

use super::error::{ErrorCode, Refusal};
use super::options::Flags;

/// What tickets are given.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The longest life of a ticket.
    pub ticket_life: Duration,
    /// How long a ticket can be renewed, counted from when it is given; and how late it may start.
    pub renew_life: Duration,
    /// Allowed difference between clocks (RFC 4120 §8.2: 5 minutes).
    pub skew: Duration,
    /// Options that are granted to those who ask.
    pub grants: Flags,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ticket_life: Duration::from_secs(10 * 3600),
            renew_life: Duration::from_secs(7 * 86_400),
            skew: Duration::from_secs(300),
            grants: Flags::FORWARDABLE.with(Flags::PROXIABLE).with(Flags::RENEWABLE).with(Flags::MAY_POSTDATE),
        }
    }
}

/// Times of a ticket, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the client proved itself.
    pub auth: u64,
    /// From when it is valid.
    pub start: u64,
    /// Until when.
    pub end: u64,
    /// Until when it can be renewed.
    pub renew_till: Option<u64>,
}

/// What a request says of times. 0 stands for "as long as possible" (RFC 4120 §5.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// KDC options.
    pub options: Flags,
    /// `from`.
    pub from: Option<u64>,
    /// `till`.
    pub till: u64,
    /// `rtime`.
    pub rtime: Option<u64>,
}

/// What the ticket that pays for another one allows at most. An AS exchange has none.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// Its flags.
    pub flags: Flags,
    /// Its times.
    pub times: Times,
}

impl Policy {
    /// Times and the flags that go with them (`renewable`, `postdated`, `invalid`), for a new ticket.
    pub fn times(&self, wanted: &Wanted, under: Option<&Ceiling>, now: u64) -> Result<(Times, Flags), Refusal> {
        let (start, mut flags) = self.start(wanted, under, now)?;
        let auth = under.map_or(now, |ceiling| ceiling.times.auth);
        let till = unbounded(wanted.till);
        let end = till.min(start.saturating_add(self.ticket_life.as_secs())).min(under.map_or(u64::MAX, |ceiling| ceiling.times.end));
        if end <= start {
            return Err(Refusal::new(ErrorCode::KDC_ERR_NEVER_VALID, "the ticket would end before it begins"));
        }
        let may_renew = self.grants.has(Flags::RENEWABLE) && under.is_none_or(|ceiling| ceiling.flags.has(Flags::RENEWABLE));
        let rtime = if wanted.options.has(Flags::RENEWABLE) {
            Some(unbounded(wanted.rtime.unwrap_or(0)))
        } else if wanted.options.has(Flags::RENEWABLE_OK) && till > end {
            Some(till)
        } else {
            None
        };
        // From now, whenever it starts: no ticket outlives the keys that are kept for it.
        let limit =
            now.saturating_add(self.renew_life.as_secs()).min(under.and_then(|ceiling| ceiling.times.renew_till).unwrap_or(u64::MAX));
        let renew_till = rtime.filter(|_| may_renew).map(|rtime| rtime.min(limit)).filter(|till| *till > end);
        flags = flags.with_if(renew_till.is_some(), Flags::RENEWABLE);
        Ok((Times { auth, start, end, renew_till }, flags))
    }

    fn start(&self, wanted: &Wanted, under: Option<&Ceiling>, now: u64) -> Result<(u64, Flags), Refusal> {
        let later = wanted.from.filter(|from| *from > now.saturating_add(self.skew.as_secs()));
        match later {
            None => Ok((now, Flags::default())),
            Some(from) => {
                let allowed = self.grants.has(Flags::MAY_POSTDATE)
                    && wanted.options.has(Flags::POSTDATED)
                    && under.is_none_or(|ceiling| ceiling.flags.has(Flags::MAY_POSTDATE));
                if !allowed || from > now.saturating_add(self.renew_life.as_secs()) {
                    return Err(Refusal::new(ErrorCode::KDC_ERR_CANNOT_POSTDATE, "the ticket may not begin so late"));
                }
                Ok((from, Flags::POSTDATED.with(Flags::INVALID)))
            }
        }
    }

    /// The times of a ticket renewed: as long as before, from now.
    pub fn renewed(&self, old: &Ceiling, now: u64) -> Result<Times, Refusal> {
        let renew_till = old.times.renew_till.filter(|_| old.flags.has(Flags::RENEWABLE));
        let Some(renew_till) = renew_till else {
            return Err(Refusal::new(ErrorCode::KDC_ERR_BADOPTION, "the ticket is not renewable"));
        };
        if renew_till <= now {
            return Err(Refusal::new(ErrorCode::KRB_AP_ERR_TKT_EXPIRED, "the ticket can no longer be renewed"));
        }
        let life = old.times.end.saturating_sub(old.times.start).min(self.ticket_life.as_secs());
        Ok(Times { start: now, end: renew_till.min(now.saturating_add(life)), ..old.times })
    }

    /// Whether two clocks agree well enough.
    pub fn agrees(&self, theirs: u64, ours: u64) -> bool {
        theirs.abs_diff(ours) <= self.skew.as_secs()
    }
}

fn unbounded(time: u64) -> u64 {
    if time == 0 { u64::MAX } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const HOUR: u64 = 3600;

    fn wanted(options: Flags, till: u64) -> Wanted {
        Wanted { options, from: None, till, rtime: None }
    }

    #[test]
    fn a_ticket_lasts_as_long_as_asked_but_no_longer_than_policy() {
        let policy = Policy::default();
        let (times, flags) = policy.times(&wanted(Flags::default(), NOW + HOUR), None, NOW).unwrap();
        assert_eq!((times.end, times.renew_till, flags), (NOW + HOUR, None, Flags::default()));
        let (times, _) = policy.times(&wanted(Flags::default(), 0), None, NOW).unwrap();
        assert_eq!(times.end, NOW + 10 * HOUR);
    }

    #[test]
    fn an_end_in_the_past_is_never_valid() {
        let error = Policy::default().times(&wanted(Flags::default(), NOW), None, NOW).unwrap_err();
        assert_eq!(error.code, ErrorCode::KDC_ERR_NEVER_VALID);
    }

    #[test]
    fn a_longer_life_than_policy_becomes_renewable_when_that_will_do() {
        let (times, flags) = Policy::default().times(&wanted(Flags::RENEWABLE_OK, NOW + 24 * HOUR), None, NOW).unwrap();
        assert_eq!((times.end, times.renew_till), (NOW + 10 * HOUR, Some(NOW + 24 * HOUR)));
        assert!(flags.has(Flags::RENEWABLE));
    }

    #[test]
    fn no_ticket_outlives_the_one_that_pays_for_it() {
        let policy = Policy::default();
        let times = Times { auth: NOW - HOUR, start: NOW - HOUR, end: NOW + HOUR, renew_till: Some(NOW + 5 * HOUR) };
        let under = Ceiling { flags: Flags::RENEWABLE, times };
        let asked = Wanted { options: Flags::RENEWABLE, from: None, till: 0, rtime: Some(0) };
        let (got, _) = policy.times(&asked, Some(&under), NOW).unwrap();
        assert_eq!(got, Times { auth: NOW - HOUR, start: NOW, end: NOW + HOUR, renew_till: Some(NOW + 5 * HOUR) });
        let plain = Ceiling { flags: Flags::default(), times: Times { renew_till: None, ..times } };
        assert_eq!(policy.times(&asked, Some(&plain), NOW).unwrap().0.renew_till, None);
    }

    #[test]
    fn renewal_keeps_the_length_and_stops_at_its_limit() {
        let policy = Policy::default();
        let times = Times { auth: NOW - HOUR, start: NOW - HOUR, end: NOW + HOUR, renew_till: Some(NOW + HOUR + 60) };
        let old = Ceiling { flags: Flags::RENEWABLE, times };
        assert_eq!(policy.renewed(&old, NOW).unwrap(), Times { start: NOW, end: NOW + HOUR + 60, ..times });
        let late = policy.renewed(&old, NOW + HOUR + 60).unwrap_err();
        assert_eq!(late.code, ErrorCode::KRB_AP_ERR_TKT_EXPIRED);
        let never = policy.renewed(&Ceiling { flags: Flags::default(), times }, NOW).unwrap_err();
        assert_eq!(never.code, ErrorCode::KDC_ERR_BADOPTION);
    }

    #[test]
    fn a_late_start_needs_to_be_asked_for_and_makes_the_ticket_invalid() {
        let policy = Policy::default();
        let later = Wanted { options: Flags::POSTDATED, from: Some(NOW + HOUR), till: NOW + 3 * HOUR, rtime: None };
        let (times, flags) = policy.times(&later, None, NOW).unwrap();
        assert_eq!((times.start, flags), (NOW + HOUR, Flags::POSTDATED.with(Flags::INVALID)));
        let unasked = Wanted { options: Flags::default(), ..later };
        assert_eq!(policy.times(&unasked, None, NOW).unwrap_err().code, ErrorCode::KDC_ERR_CANNOT_POSTDATE);
    }
}
