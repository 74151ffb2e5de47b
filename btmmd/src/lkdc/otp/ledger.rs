//! Which codes were used, so that none is good twice, and who guesses.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::OtpError;
use super::totp::{WINDOW, step};
use crate::lkdc::name::Principal;

/// Wrong codes in a row that a user may give before having to wait.
pub const FREE_TRIES: u32 = 5;
/// The first wait. Each further wrong code doubles it, up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Which codes were used: what has to outlive the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// What is known of nobody in particular: no step up to this one is good.
    pub floor: u64,
    /// The step of the code that each user used last, by principal.
    pub last: BTreeMap<String, u64>,
}

impl Used {
    /// Nothing is known of what happened before `start`: no code that could have been used by then is good any more.
    pub fn since(start: SystemTime) -> Self {
        Self { floor: step(start).saturating_add(WINDOW), last: BTreeMap::new() }
    }

    fn is_good(&self, user: &str, step: u64) -> bool {
        let after = |used: u64| step > used || is_of_a_wrong_clock(used, step);
        after(self.floor) && self.last.get(user).is_none_or(|last| after(*last))
    }
}

/// A good code is of one step around now at most, and so was every one before it: what is further on was written down while this machine's
/// clock was ahead, and must not keep its users out until then.
fn is_of_a_wrong_clock(used: u64, good: u64) -> bool {
    used > good.saturating_add(2 * WINDOW)
}

/// Puts down which codes were used, for the next start. Its error, in words, keeps a code from being good.
pub type Keep = Box<dyn Fn(&Used) -> Result<(), String> + Send + Sync>;

/// What happened to codes so far. Only users who have a token and gave the right password are written down, so it does not grow by strangers.
#[derive(Default)]
pub struct Ledger {
    used: Mutex<Used>,
    guesses: Mutex<HashMap<String, Guesses>>,
    keep: Option<Keep>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Guesses {
    wrong: u32,
    wait_until: Option<SystemTime>,
}

impl Ledger {
    /// Nothing happened yet, and what will is forgotten with it.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of before goes on, and each code is put down by `keep` before it is good for anything.
    pub fn kept(used: Used, keep: Keep) -> Self {
        Self { used: Mutex::new(used), guesses: Mutex::default(), keep: Some(keep) }
    }

    /// Whether `user` must wait after too many wrong codes.
    pub fn must_wait(&self, user: &Principal, now: SystemTime) -> bool {
        let guesses = hold(&self.guesses).get(&user.to_string()).copied().unwrap_or_default();
        guesses.wait_until.is_some_and(|until| now < until)
    }

    /// Takes note that the code of `step` is used. Waits for the disk where it is kept there.
    ///
    /// # Errors
    /// [`OtpError::Used`] when it, or a later one, was used before; [`OtpError::NotKept`] when after a restart nobody would know. The code is
    /// not good then.
    pub fn claim(&self, user: &Principal, step: u64) -> Result<(), OtpError> {
        let name = user.to_string();
        let mut used = hold(&self.used);
        if !used.is_good(&name, step) {
            return Err(OtpError::Used);
        }
        let mut next = used.clone();
        next.last.insert(name.clone(), step);
        if let Some(keep) = &self.keep {
            keep(&next).map_err(OtpError::NotKept)?;
        }
        *used = next;
        drop(used);
        hold(&self.guesses).remove(&name);
        Ok(())
    }

    /// Takes note of a wrong code that came with the right password.
    pub fn wrong(&self, user: &Principal, now: SystemTime) {
        let mut users = hold(&self.guesses);
        let guesses = users.entry(user.to_string()).or_default();
        guesses.wrong = guesses.wrong.saturating_add(1);
        if let Some(more) = guesses.wrong.checked_sub(FREE_TRIES) {
            let wait = FIRST_WAIT.saturating_mul(1 << more.min(8)).min(LONGEST_WAIT);
            guesses.wait_until = Some(now + wait);
        }
    }
}

/// What is held is changed in one assignment or counted up: a panic elsewhere leaves nothing half done.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("used", &self.used).field("guesses", &self.guesses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_step_is_good_once_and_none_before_it_again() {
        let (ledger, alice, bob) = (Ledger::new(), Principal::user("alice"), Principal::user("bob"));
        assert_eq!(ledger.claim(&alice, 100), Ok(()));
        assert_eq!(ledger.claim(&alice, 100), Err(OtpError::Used));
        assert_eq!(ledger.claim(&alice, 99), Err(OtpError::Used));
        assert_eq!(ledger.claim(&bob, 100), Ok(()));
        assert_eq!(ledger.claim(&alice, 101), Ok(()));
    }

    #[test]
    fn what_may_have_been_used_before_a_start_is_not_good_after_it() {
        let ledger = Ledger::kept(Used::since(at(3000)), Box::new(|_| Ok(())));
        let alice = Principal::user("alice");
        assert_eq!(ledger.claim(&alice, 100), Err(OtpError::Used));
        assert_eq!(ledger.claim(&alice, 101), Err(OtpError::Used));
        assert_eq!(ledger.claim(&alice, 102), Ok(()));
    }

    #[test]
    fn what_was_written_down_by_a_clock_that_was_ahead_keeps_nobody_out() {
        let alice = Principal::user("alice");
        for used in [Used::since(at(900_000)), Used { floor: 0, last: BTreeMap::from([(alice.to_string(), 30_000)]) }] {
            let ledger = Ledger::kept(used, Box::new(|_| Ok(())));
            assert_eq!(ledger.claim(&alice, 100), Ok(()));
            assert_eq!(ledger.claim(&alice, 100), Err(OtpError::Used), "but is forgotten with the first code");
        }
    }

    #[test]
    fn a_code_that_cannot_be_put_down_is_not_good_and_not_used_up() {
        static FULL: AtomicBool = AtomicBool::new(true);
        let keep = |used: &Used| {
            assert_eq!(used.last.values().collect::<Vec<_>>(), [&100]);
            if FULL.load(Ordering::Relaxed) { Err("no space".to_owned()) } else { Ok(()) }
        };
        let (ledger, alice) = (Ledger::kept(Used::default(), Box::new(keep)), Principal::user("alice"));
        assert_eq!(ledger.claim(&alice, 100), Err(OtpError::NotKept("no space".to_owned())));
        FULL.store(false, Ordering::Relaxed);
        assert_eq!(ledger.claim(&alice, 100), Ok(()));
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
        assert_eq!(ledger.claim(&alice, 99), Ok(()));
        ledger.wrong(&alice, at(3000));
        assert!(!ledger.must_wait(&alice, at(3000)));
    }
}
