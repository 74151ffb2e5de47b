//! Raising a tunnel: candidates in order, one after the other until one answers.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::cause::{Cause, Reason};
use super::init::Wanted;
use super::timer::{Earliest, Timer};
use super::turn::Turn;

/// Candidates of one peer, at most.
const CANDIDATES_MAX: usize = 32;

/// A peer being dialled.
#[derive(Debug)]
pub(super) struct Dial {
    peer: String,
    inner: Ipv6Addr,
    /// All that may still lead somewhere.
    candidates: Vec<SocketAddr>,
    /// Those that have not had their IKE_SA_INIT.
    waiting: VecDeque<SocketAddr>,
    next_at: Instant,
    deadline: Instant,
    /// A leg that was answered; no other is begun while it authenticates.
    answered: bool,
    /// The most telling trouble so far.
    trouble: Option<Cause>,
}

impl Dial {
    /// Nothing is sent before the first [`Dial::next`].
    pub fn new(peer: String, inner: Ipv6Addr, candidates: Vec<SocketAddr>, t: &Turn<'_>) -> Self {
        let deadline = t.now + t.config.dial_timeout;
        let mut dial = Self {
            peer,
            inner,
            candidates: Vec::new(),
            waiting: VecDeque::new(),
            next_at: t.now,
            deadline,
            answered: false,
            trouble: None,
        };
        dial.add(candidates, t);
        dial
    }

    /// More candidates, and more time.
    pub fn add(&mut self, candidates: Vec<SocketAddr>, t: &Turn<'_>) {
        self.deadline = t.now + t.config.dial_timeout;
        for candidate in candidates {
            if self.candidates.len() < CANDIDATES_MAX && !self.candidates.contains(&candidate) {
                self.candidates.push(candidate);
                self.waiting.push_back(candidate);
            }
        }
    }

    /// The inner address wanted.
    pub fn inner(&self) -> Ipv6Addr {
        self.inner
    }

    /// The next candidate, if it is time.
    pub fn next(&mut self, t: &Turn<'_>) -> Option<Wanted> {
        if self.answered || self.next_at > t.now {
            return None;
        }
        let candidate = self.waiting.pop_front()?;
        self.next_at = t.now + t.config.candidate_stagger;
        Some(Wanted { peer: self.peer.clone(), inner: self.inner, candidate })
    }

    /// This leg was answered: the others stop.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// The leg that was answered came to nothing: the other candidates get their chance (again).
    pub fn leg_failed(&mut self, candidate: SocketAddr, why: Cause, t: &Turn<'_>) {
        self.answered = false;
        if why.reason != Reason::NoAnswer {
            self.candidates.retain(|known| *known != candidate);
        }
        self.trouble = Some(why);
        self.waiting = self.candidates.iter().copied().collect();
        self.next_at = t.now;
    }

    /// Remembers trouble that may explain a failure.
    pub fn note(&mut self, why: Cause) {
        self.trouble = Some(why);
    }

    /// Why it is over, if it is.
    pub fn over(&self, now: Instant) -> Option<Cause> {
        if self.candidates.is_empty() {
            let none = || Cause::new(Reason::NoCandidates, format!("no address of {} is known", self.peer));
            return Some(self.trouble.clone().unwrap_or_else(none));
        }
        (self.deadline <= now).then(|| {
            let tried: Vec<_> = self.candidates.iter().map(ToString::to_string).collect();
            let silent = || Cause::new(Reason::NoAnswer, format!("{} did not answer at {}", self.peer, tried.join(", ")));
            self.trouble.clone().unwrap_or_else(silent)
        })
    }

    /// When something is due.
    pub fn earliest(&self) -> Earliest {
        let next = (!self.answered && !self.waiting.is_empty()).then_some(self.next_at);
        Earliest::default().at(self.deadline, Timer::DialDeadline).maybe(next, Timer::NextCandidate)
    }
}
