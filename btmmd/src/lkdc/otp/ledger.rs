//! Which codes were used, so that none is good twice, and who guesses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::totp::{WINDOW, step};
use crate::lkdc::name::Principal;

/// Wrong codes in a row that a user may give before having to wait.
pub const FREE_TRIES: u32 = 5;
/// The first wait. Each further wrong code doubles it, up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// What happened to codes so far. Only users who have a token and gave the right password are written down, so it does not grow by strangers.
#[derive(Debug, Default)]
pub struct Ledger {
    users: Mutex<HashMap<Vec<String>, Record>>,
    floor: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    last: u64,
    wrong: u32,
    wait_until: Option<SystemTime>,
}

impl Ledger {
    /// Nothing happened yet, nor before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing is known of what happened before `start`: no code that could have been used by then is good any more.
    pub fn since(start: SystemTime) -> Self {
        Self { floor: step(start).saturating_add(WINDOW), ..Self::default() }
    }

    /// Whether `user` must wait after too many wrong codes.
    pub fn must_wait(&self, user: &Principal, now: SystemTime) -> bool {
        self.with(user, |record| record.wait_until.is_some_and(|until| now < until))
    }

    /// Takes note that the code of `step` is used. False when it, or a later one, was used before: then it is not good.
    pub fn claim(&self, user: &Principal, step: u64) -> bool {
        let floor = self.floor;
        self.with(user, |record| {
            if step <= record.last.max(floor) {
                return false;
            }
            *record = Record { last: step, wrong: 0, wait_until: None };
            true
        })
    }

    /// Takes note of a wrong code that came with the right password.
    pub fn wrong(&self, user: &Principal, now: SystemTime) {
        self.with(user, |record| {
            record.wrong = record.wrong.saturating_add(1);
            if let Some(more) = record.wrong.checked_sub(FREE_TRIES) {
                let wait = FIRST_WAIT.saturating_mul(1 << more.min(8)).min(LONGEST_WAIT);
                record.wait_until = Some(now + wait);
            }
        });
    }

    fn with<T>(&self, user: &Principal, act: impl FnOnce(&mut Record) -> T) -> T {
        // A record is changed in one assignment or counted up: a panic elsewhere leaves none half done.
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        act(users.entry(user.components.to_vec()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_is_good_once_and_none_before_it_again() {
        let (ledger, alice, bob) = (Ledger::new(), Principal::user("alice"), Principal::user("bob"));
        assert!(ledger.claim(&alice, 100));
        assert!(!ledger.claim(&alice, 100));
        assert!(!ledger.claim(&alice, 99));
        assert!(ledger.claim(&bob, 100));
        assert!(ledger.claim(&alice, 101));
    }

    #[test]
    fn what_may_have_been_used_before_a_start_is_not_good_after_it() {
        let ledger = Ledger::since(at(3000));
        let alice = Principal::user("alice");
        assert!(!ledger.claim(&alice, 100));
        assert!(!ledger.claim(&alice, 101));
        assert!(ledger.claim(&alice, 102));
    }

    #[test]
    fn guessing_makes_wait_and_a_right_code_ends_it() {
        let (ledger, alice) = (Ledger::new(), Principal::user("alice"));
        for _ in 1..FREE_TRIES {
            ledger.wrong(&alice, at(1000));
        }
        assert!(!ledger.must_wait(&alice, at(1000)));
        ledger.wrong(&alice, at(1000));
        assert!(ledger.must_wait(&alice, at(1029)));
        assert!(!ledger.must_wait(&alice, at(1030)));
        assert!(!ledger.must_wait(&Principal::user("bob"), at(1000)));
        for _ in 0..100 {
            ledger.wrong(&alice, at(2000));
        }
        assert!(ledger.must_wait(&alice, at(2899)));
        assert!(!ledger.must_wait(&alice, at(2900)));
        assert!(ledger.claim(&alice, 99));
        ledger.wrong(&alice, at(3000));
        assert!(!ledger.must_wait(&alice, at(3000)));
    }
}
