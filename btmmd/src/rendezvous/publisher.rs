//! When this machine's records go into the zone.
//!
//! ```text
//!            advertise                 due                     granted
//!  nothing ────────────► waiting ──────────────► sent ──────────────────────► registered
//!                          ▲  ▲                    │                              │
//!                          │  └─ 1 s × 3ⁿ ≤ 900 s ─┘ failed                       │
//!                          └──────────── changed (1 s), 80–85 % of the lease, zone lost us, woken
//! ```
//!
//! Whatever asks for haste, updates are [`GAP`] apart.

use std::time::{Duration, Instant};

use super::records::Advertisement;

/// Changes within this time are sent as one.
pub const MERGE: Duration = Duration::from_secs(1);
/// Between an update and one that is hurried.
const GAP: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(900);

/// What happens to the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Publish this from now on.
    Advertise(Advertisement),
    /// The update that was sent is in the zone, for this long.
    Granted(Duration),
    /// The update that was sent is not in the zone. Why, in words.
    Failed(String),
    /// The zone was read, and this machine is not in it, or not as it should be.
    Missing,
    /// The machine woke or its network changed: the lease may be gone, and what failed may work now.
    Hurry,
    /// The zone can be read again: what failed may work now.
    Reachable,
    /// [`Publisher::poll_timeout`] is due.
    Timeout,
}

/// What the publisher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send an update with this and answer with [`Input::Granted`] or [`Input::Failed`].
    Send(Advertisement),
    /// Tell: the records are in the zone for this long.
    Published(Duration),
    /// Tell: they are not.
    Failed {
        /// In words.
        cause: String,
        /// Until the next try.
        retry_in: Duration,
    },
}

/// Keeps one machine registered.
#[derive(Debug)]
pub struct Publisher {
    first_delay: Duration,
    seed: u64,
    wanted: Option<Advertisement>,
    sent: Option<Advertisement>,
    sent_at: Option<Instant>,
    registered: bool,
    failures: u32,
    due: Option<(Instant, &'static str)>,
}

impl Publisher {
    /// `first_delay`: the first registration waits a random part of it (RFC 9664 wants 3 s after boot). `seed` makes the randomness.
    pub fn new(first_delay: Duration, seed: u64) -> Self {
        Self { first_delay, seed, wanted: None, sent: None, sent_at: None, registered: false, failures: 0, due: None }
    }

    /// When [`Input::Timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due
    }

    /// What is to be in the zone.
    pub fn wanted(&self) -> Option<&Advertisement> {
        self.wanted.as_ref()
    }

    /// True when the zone may hold records of ours, so that a goodbye is due.
    pub fn may_be_listed(&self) -> bool {
        self.registered || self.sent.is_some()
    }

    /// Does one thing.
    pub fn handle(&mut self, input: Input, now: Instant) -> Option<Command> {
        match input {
            Input::Advertise(advertisement) => self.advertise(advertisement, now),
            Input::Granted(lease) => return self.granted(lease, now),
            Input::Failed(cause) => return self.failed(cause, now),
            Input::Missing if self.registered => self.hurry("the zone lost our records", now),
            Input::Missing => {}
            Input::Hurry => self.hurry("our network changed", now),
            Input::Reachable => self.base_is_back(now),
            Input::Timeout => return self.timeout(now),
        }
        None
    }

    fn advertise(&mut self, advertisement: Advertisement, now: Instant) {
        if self.wanted.as_ref() == Some(&advertisement) {
            return;
        }
        let first = self.wanted.replace(advertisement).is_none();
        if self.sent.is_some() {
            return; // looked at again when the answer comes
        }
        let due = if first {
            let part = self.random(1000);
            (now + self.first_delay * part / 1000, "the first registration")
        } else {
            (now + MERGE, "our addresses changed")
        };
        // An earlier appointment stands, so that a stream of changes cannot put it off for ever.
        self.due_by(due);
    }

    fn due_by(&mut self, due: (Instant, &'static str)) {
        self.due = Some(self.due.filter(|earlier| earlier.0 < due.0).unwrap_or(due));
    }

    fn hurry(&mut self, why: &'static str, now: Instant) {
        if self.wanted.is_some() && self.sent.is_none() {
            self.due_by((self.sent_at.map_or(now, |sent| (sent + GAP).max(now)), why));
        }
    }

    /// The back-off begins anew, also for an update under way, which may still fail of what is over now.
    fn base_is_back(&mut self, now: Instant) {
        if self.failures > 0 {
            self.hurry("the base is back", now);
        }
        self.failures = 0;
    }

    fn timeout(&mut self, now: Instant) -> Option<Command> {
        if self.sent.is_some() || self.due?.0 > now {
            return None;
        }
        self.due = None;
        self.sent = self.wanted.clone();
        self.sent_at = self.sent.as_ref().map(|_| now);
        self.sent.clone().map(Command::Send)
    }

    fn granted(&mut self, lease: Duration, now: Instant) -> Option<Command> {
        let sent = self.sent.take()?;
        self.registered = true;
        self.failures = 0;
        let percent = 800 + self.random(50);
        self.due = Some(if self.wanted.as_ref() == Some(&sent) {
            (now + lease * percent / 1000, "our lease wants refreshing")
        } else {
            (now + MERGE, "our addresses changed")
        });
        Some(Command::Published(lease))
    }

    fn failed(&mut self, cause: String, now: Instant) -> Option<Command> {
        self.sent.take()?;
        let retry_in = FIRST_RETRY.saturating_mul(3_u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.due = Some((now + retry_in, "the last registration failed"));
        Some(Command::Failed { cause, retry_in })
    }

    /// Below `limit`; good enough to spread machines out (splitmix64).
    fn random(&mut self, limit: u32) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(limit.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::samples::imac;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn registered(lease: Duration, now: Instant) -> Publisher {
        let mut publisher = Publisher::new(Duration::ZERO, 1);
        assert_eq!(publisher.handle(Input::Advertise(imac("a")), now), None);
        assert_eq!(publisher.handle(Input::Timeout, now), Some(Command::Send(imac("a"))));
        assert_eq!(publisher.handle(Input::Granted(lease), now), Some(Command::Published(lease)));
        publisher
    }

    #[test]
    fn the_first_registration_waits_a_random_part_of_three_seconds() {
        let now = Instant::now();
        let delays: Vec<_> = (0..50)
            .map(|seed| {
                let mut publisher = Publisher::new(seconds(3), seed);
                publisher.handle(Input::Advertise(imac("a")), now);
                publisher.poll_timeout().unwrap().0 - now
            })
            .collect();
        assert!(delays.iter().all(|delay| *delay < seconds(3)));
        assert!(delays.iter().any(|delay| *delay < seconds(1)) && delays.iter().any(|delay| *delay > seconds(2)));
    }

    #[test]
    fn a_lease_is_refreshed_between_80_and_85_percent() {
        let now = Instant::now();
        for _ in 0..20 {
            let due = registered(seconds(1000), now).poll_timeout().unwrap().0 - now;
            assert!((seconds(800)..=seconds(850)).contains(&due), "{due:?}");
        }
    }

    #[test]
    fn changes_within_a_second_are_sent_as_one() {
        let now = Instant::now();
        let mut publisher = registered(seconds(1000), now);
        for (milliseconds, version) in [(0, "b"), (400, "c"), (900, "d")] {
            publisher.handle(Input::Advertise(imac(version)), now + Duration::from_millis(milliseconds));
        }
        assert_eq!(publisher.poll_timeout().unwrap().0, now + seconds(1));
        assert_eq!(publisher.handle(Input::Timeout, now + seconds(1)), Some(Command::Send(imac("d"))));
        assert_eq!(publisher.handle(Input::Timeout, now + seconds(2)), None);
    }

    #[test]
    fn what_changes_while_an_update_is_under_way_is_sent_after_it() {
        let now = Instant::now();
        let mut publisher = registered(seconds(1000), now);
        let now = now + GAP;
        publisher.handle(Input::Hurry, now);
        assert_eq!(publisher.handle(Input::Timeout, now), Some(Command::Send(imac("a"))));
        publisher.handle(Input::Advertise(imac("b")), now);
        assert_eq!(publisher.poll_timeout(), None);
        publisher.handle(Input::Granted(seconds(1000)), now);
        assert_eq!(publisher.handle(Input::Timeout, now + MERGE), Some(Command::Send(imac("b"))));
    }

    #[test]
    fn retries_grow_threefold_up_to_a_quarter_of_an_hour() {
        let mut now = Instant::now();
        let mut publisher = Publisher::new(Duration::ZERO, 1);
        publisher.handle(Input::Advertise(imac("a")), now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(publisher.handle(Input::Timeout, now).is_some());
            let Some(Command::Failed { retry_in, cause }) = publisher.handle(Input::Failed("no route".to_owned()), now) else { panic!() };
            assert_eq!(cause, "no route");
            waits.push(retry_in.as_secs());
            now += retry_in;
        }
        assert_eq!(waits, [1, 3, 9, 27, 81, 243, 729, 900, 900]);
        publisher.handle(Input::Hurry, now);
        assert_eq!(publisher.poll_timeout().unwrap().0, now);
    }

    #[test]
    fn a_zone_that_lost_us_is_told_again_but_not_before_we_ever_registered() {
        let now = Instant::now();
        let mut publisher = registered(seconds(1000), now);
        publisher.handle(Input::Missing, now + seconds(30));
        assert_eq!(publisher.poll_timeout().unwrap().0, now + seconds(30));
        let mut fresh = Publisher::new(seconds(3), 1);
        fresh.handle(Input::Missing, now);
        assert_eq!(fresh.poll_timeout(), None);
        assert!(!fresh.may_be_listed() && publisher.may_be_listed());
    }
    /// A publisher that failed until it waits a quarter of an hour, and when it last did.
    fn backed_off(start: Instant) -> (Publisher, Instant) {
        let (mut publisher, mut now) = (Publisher::new(Duration::ZERO, 1), start);
        publisher.handle(Input::Advertise(imac("a")), now);
        loop {
            assert!(publisher.handle(Input::Timeout, now).is_some());
            let Some(Command::Failed { retry_in, .. }) = publisher.handle(Input::Failed("no route".to_owned()), now) else { panic!() };
            if retry_in == LAST_RETRY {
                return (publisher, now);
            }
            now += retry_in;
        }
    }

    #[test]
    fn a_base_that_is_back_is_told_at_once_and_not_after_the_back_off() {
        let (mut publisher, now) = backed_off(Instant::now());
        let back = now + seconds(5);
        publisher.handle(Input::Reachable, back);
        assert_eq!(publisher.handle(Input::Timeout, back), Some(Command::Send(imac("a"))));
        let failed = publisher.handle(Input::Failed("reset".to_owned()), back);
        assert_eq!(failed, Some(Command::Failed { cause: "reset".to_owned(), retry_in: FIRST_RETRY }), "the back-off begins anew");
    }

    #[test]
    fn an_update_that_was_under_way_when_the_base_came_back_is_soon_tried_again() {
        let (mut publisher, now) = backed_off(Instant::now());
        let now = now + LAST_RETRY;
        assert!(publisher.handle(Input::Timeout, now).is_some());
        publisher.handle(Input::Reachable, now + seconds(2));
        publisher.handle(Input::Failed("no answer".to_owned()), now + seconds(10));
        assert_eq!(publisher.poll_timeout().unwrap().0, now + seconds(11));
    }

    #[test]
    fn no_stream_of_haste_makes_more_than_an_update_a_second() {
        for haste in [Input::Reachable, Input::Hurry, Input::Missing] {
            for answer in [Input::Granted(seconds(7200)), Input::Failed("no route".to_owned())] {
                let start = Instant::now();
                let mut publisher = registered(seconds(7200), start);
                let (mut now, mut sent) = (start, 0);
                while now < start + seconds(100) {
                    now += Duration::from_millis(10);
                    publisher.handle(haste.clone(), now);
                    if publisher.handle(Input::Timeout, now).is_some() {
                        sent += 1;
                        publisher.handle(answer.clone(), now);
                    }
                }
                assert!(sent <= 100, "{haste:?}, {answer:?}: {sent}");
            }
        }
    }

    #[test]
    fn a_base_that_is_back_is_not_told_what_it_was_told() {
        let now = Instant::now();
        let mut publisher = registered(seconds(1000), now);
        let due = publisher.poll_timeout();
        publisher.handle(Input::Reachable, now + seconds(30));
        assert_eq!(publisher.poll_timeout(), due);
    }
}
