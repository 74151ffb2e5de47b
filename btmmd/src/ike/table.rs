//! All IKE SAs, by the SPI we chose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::answered::Answered;
use super::authenticating::Authenticating;
use super::cause::{Cause, Reason};
use super::channel::{PLACES_MAX, Path};
use super::closing::{Closed, Closing};
use super::config::IkeConfig;
use super::cookie::CookieJar;
use super::dial::Dial;
use super::election::Link;
use super::established::{Established, Intent};
use super::half_open::HalfOpen;
use super::init::Opening;
use super::port::{Command, Credentials, Input};
use super::status::{SaCounts, SaStatus};
use super::timer::{Earliest, Timer};
use super::turn::{Core, Effect, Turn};
use crate::entropy::Entropy;

/// Rounds of timers that one input may let come due.
const CATCH_UP_MAX: usize = 4;

/// An IKE SA in one of its states.
pub(super) enum Sa {
    Opening(Box<Opening>),
    HalfOpen(Box<HalfOpen>),
    Authenticating(Box<Authenticating>),
    Established(Box<Established>),
    Closing(Box<Closing>),
}

/// Every IKE SA of this machine.
pub struct Ike {
    pub(super) core: Core,
    pub(super) sas: BTreeMap<u64, Sa>,
    pub(super) dials: BTreeMap<String, Dial>,
    pub(super) links: BTreeMap<String, Link>,
    pub(super) cookies: CookieJar,
    pub(super) answered: Answered,
    pub(super) hinted: Option<Instant>,
    /// Whether peers may begin tunnels.
    pub(super) admits: bool,
}

impl Ike {
    /// A machine without SAs.
    pub fn new(config: IkeConfig, credentials: Box<dyn Credentials>, entropy: Box<dyn Entropy>) -> Self {
        Self {
            core: Core::new(config, credentials, entropy),
            sas: BTreeMap::new(),
            dials: BTreeMap::new(),
            links: BTreeMap::new(),
            cookies: CookieJar::default(),
            answered: Answered::default(),
            hinted: None,
            admits: true,
        }
    }

    /// Takes one input. Never panics; commands are waiting afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Datagram { local, remote, bytes } => self.datagram(Path::of(local, remote), &bytes, now),
            Input::Timeout => self.timeout(now),
            Input::Initiate { peer, inner, candidates } => self.initiate(&peer, inner, candidates, now),
            Input::Close { peer } => self.close(&normal(&peer), now),
            Input::Admit(admits) => self.set_admits(admits, now),
            Input::TrustChanged => self.judge_again(now),
            Input::RekeyChild { spi_in } => self.with_child(spi_in, now, |sa, _| sa.intend(Intent::RekeyChild(spi_in))),
            Input::RekeyIke { peer } => self.with_current(&normal(&peer), |sa| sa.intend(Intent::RekeyIke)),
            Input::ChildExpired { spi_in } => self.child_expired(spi_in, now),
            Input::Probe { peer } => self.with_current(&normal(&peer), Established::probe),
            Input::Confirm { peer } => self.confirm(&normal(&peer), now),
            Input::Traffic { spi_in } => self.with_child(spi_in, now, |sa, t| sa.traffic_seen(t)),
            Input::Moved { spi_in, remote } => self.with_child(spi_in, now, |sa, t| sa.peer_seen_at(remote, t)),
            Input::Places { peer, mut places } => {
                places.truncate(PLACES_MAX);
                self.with_current(&normal(&peer), |sa| sa.channel.places = places);
            }
            Input::NetworkChanged => self.network_changed(now),
            Input::Signed => self.signed(now),
            Input::Addresses(addresses) => self.core.addresses = addresses,
        }
        self.settle(now);
        // What was done may have let something else come due, which waited for it.
        for _ in 0..CATCH_UP_MAX {
            if self.poll_timeout().is_none_or(|(when, _)| when > now) {
                break;
            }
            self.timeout(now);
            self.settle(now);
        }
    }

    /// The next thing to do, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.core.commands.pop_front()
    }

    /// When [`Input::Timeout`] is due, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let sas = self.sas.values().fold(Earliest::default(), |earliest, sa| earliest.and(self.earliest_of(sa)));
        let dials = self.dials.values().fold(sas, |earliest, dial| earliest.and(dial.earliest()));
        let links = self.links.values().fold(dials, |earliest, link| earliest.maybe(link.carry_at, Timer::Settle));
        let all = self.core.lingering.iter().fold(links, |earliest, lingering| earliest.at(lingering.until, Timer::Linger));
        all.and(self.answered.earliest()).get().map(|(when, timer)| (when, timer.name()))
    }

    /// The IKE SAs that carry tunnels, one per peer, by name.
    pub fn status(&self) -> Vec<SaStatus> {
        self.links.values().filter_map(|link| self.established(link.current)).map(Established::status).collect()
    }

    /// How many IKE SAs there are in each state.
    pub fn counts(&self) -> SaCounts {
        let mut counts = SaCounts::default();
        for sa in self.sas.values() {
            match sa {
                Sa::Opening(_) | Sa::Authenticating(_) => counts.dialling += 1,
                Sa::HalfOpen(_) => counts.half_open += 1,
                Sa::Established(_) => counts.established += 1,
                Sa::Closing(_) => counts.closing += 1,
            }
        }
        counts
    }

    /// How many peers may not know yet that their tunnel is closed.
    pub fn farewells(&self) -> usize {
        let unconfirmed = |sa: &&Sa| match sa {
            Sa::Closing(closing) => closing.unconfirmed(),
            Sa::Authenticating(authenticating) => authenticating.owes_farewell(),
            Sa::Opening(_) | Sa::HalfOpen(_) | Sa::Established(_) => false,
        };
        self.sas.values().filter(unconfirmed).count()
    }

    fn earliest_of(&self, sa: &Sa) -> Earliest {
        match sa {
            Sa::Opening(opening) => opening.earliest(),
            Sa::HalfOpen(half_open) => half_open.earliest(),
            Sa::Authenticating(authenticating) => authenticating.earliest(),
            Sa::Established(established) => established.earliest(&self.core.config),
            Sa::Closing(closing) => closing.earliest(),
        }
    }

    pub(super) fn established(&self, spi: u64) -> Option<&Established> {
        match self.sas.get(&spi) {
            Some(Sa::Established(established)) => Some(established),
            _ => None,
        }
    }

    pub(super) fn take_established(&mut self, spi: u64) -> Option<Box<Established>> {
        match self.sas.remove(&spi)? {
            Sa::Established(established) => Some(established),
            other => {
                self.sas.insert(spi, other);
                None
            }
        }
    }

    fn with_current(&mut self, peer: &str, change: impl FnOnce(&mut Established)) {
        let Some(link) = self.links.get(peer) else { return };
        if let Some(Sa::Established(current)) = self.sas.get_mut(&link.current) {
            change(current);
        }
    }

    fn with_child(&mut self, spi_in: u32, now: Instant, change: impl FnOnce(&mut Established, &mut Turn<'_>)) {
        let mut t = Turn { core: &mut self.core, now };
        let owner = self.sas.values_mut().find_map(|sa| match sa {
            Sa::Established(sa) if sa.children.iter().any(|child| child.spi_in() == spi_in) => Some(sa),
            _ => None,
        });
        if let Some(owner) = owner {
            change(owner, &mut t);
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.election_timeout(now);
        let due: Vec<u64> = self
            .sas
            .iter()
            .filter(|(_, sa)| self.earliest_of(sa).get().is_some_and(|(when, _)| when <= now))
            .map(|(spi, _)| *spi)
            .collect();
        for spi in due {
            let Some(sa) = self.sas.remove(&spi) else { continue };
            let mut t = Turn { core: &mut self.core, now };
            match sa {
                Sa::Opening(mut opening) => {
                    opening.retry(&mut t);
                    self.put(Sa::Opening(opening));
                }
                Sa::HalfOpen(half_open) if half_open.expired(now) => {}
                Sa::HalfOpen(half_open) => self.put(Sa::HalfOpen(half_open)),
                Sa::Authenticating(authenticating) => {
                    let outcome = authenticating.retry(&mut t);
                    self.authenticated(outcome, now);
                }
                Sa::Established(established) => {
                    let after = established.tick(&mut t);
                    self.after(after);
                }
                Sa::Closing(closing) => {
                    if let Closed::Waiting(closing) = closing.retry(&mut t) {
                        self.put(Sa::Closing(closing));
                    }
                }
            }
        }
        self.answered.expire(now);
        let (done, lingering): (Vec<_>, _) = std::mem::take(&mut self.core.lingering).into_iter().partition(|l| l.until <= now);
        self.core.lingering = lingering;
        self.core.commands.extend(done.into_iter().map(|lingering| Command::RemoveSa(lingering.sa)));
    }

    fn initiate(&mut self, peer: &str, inner: Ipv6Addr, candidates: Vec<SocketAddr>, now: Instant) {
        let peer = normal(peer);
        if self.links.contains_key(&peer) {
            self.confirm(&peer, now);
            return self.tell_up(&peer);
        }
        if !self.admits {
            let why = Cause::new(Reason::Closed, "tunnels are not allowed here");
            return self.core.commands.push_back(Command::Failed { peer, why });
        }
        let t = Turn { core: &mut self.core, now };
        match self.dials.get_mut(&peer).filter(|dial| dial.inner() == inner) {
            Some(dial) => dial.add(candidates, &t),
            None => {
                let dial = Dial::new(peer.clone(), inner, candidates, &t);
                self.dials.insert(peer, dial);
            }
        }
    }

    /// Somebody is about to use the tunnel to this peer.
    fn confirm(&mut self, peer: &str, now: Instant) {
        let mut t = Turn { core: &mut self.core, now };
        if let Some(Sa::Established(current)) = self.links.get(peer).and_then(|link| self.sas.get_mut(&link.current)) {
            current.make_sure(&mut t);
        }
    }

    fn child_expired(&mut self, spi_in: u32, now: Instant) {
        let owner = self.sas.iter().find_map(|(spi, sa)| match sa {
            Sa::Established(sa) if sa.children.iter().any(|child| child.spi_in() == spi_in) => Some(*spi),
            _ => None,
        });
        if let Some(sa) = owner.and_then(|spi| self.take_established(spi)) {
            let after = sa.child_expired(spi_in, &mut Turn { core: &mut self.core, now });
            self.after(after);
        }
    }

    fn network_changed(&mut self, now: Instant) {
        let mut t = Turn { core: &mut self.core, now };
        for sa in self.sas.values_mut() {
            match sa {
                Sa::Established(established) => established.network_changed(&mut t),
                Sa::Authenticating(authenticating) => authenticating.path_in_doubt(&mut t),
                Sa::Opening(_) | Sa::HalfOpen(_) | Sa::Closing(_) => {}
            }
        }
    }

    /// Lets SAs act on each other, dials go on and requests out, until nothing is left to do.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(effect) = self.core.effects.pop_front() {
                self.run(effect, now);
            }
            self.dial(now);
            let mut t = Turn { core: &mut self.core, now };
            for sa in self.sas.values_mut() {
                if let Sa::Established(established) = sa {
                    established.pump(&mut t);
                }
            }
            if self.core.effects.is_empty() {
                return;
            }
        }
    }

    fn dial(&mut self, now: Instant) {
        let over: VecDeque<_> = self.dials.iter().filter_map(|(peer, dial)| dial.over(now).map(|why| (peer.clone(), why))).collect();
        for (peer, why) in over {
            self.give_up_dial(&peer, why);
        }
        let mut t = Turn { core: &mut self.core, now };
        let mut begun = Vec::new();
        for dial in self.dials.values_mut() {
            begun.extend(dial.next(&t).map(|wanted| Opening::start(wanted, &mut t)));
        }
        begun.into_iter().for_each(|opening| self.put(Sa::Opening(Box::new(opening))));
    }

    /// Stops raising a tunnel, and says so.
    pub(super) fn give_up_dial(&mut self, peer: &str, why: Cause) {
        if self.dials.remove(peer).is_some() {
            self.abandon_legs(peer);
            self.core.commands.push_back(Command::Failed { peer: peer.to_owned(), why });
        }
    }

    /// Whatever is still on its way to this peer is to come to nothing.
    fn abandon_legs(&mut self, peer: &str) {
        self.stop_legs(peer, None);
        for sa in self.sas.values_mut() {
            if let Sa::Authenticating(authenticating) = sa
                && authenticating.wanted.peer == peer
            {
                authenticating.abandoned = true;
            }
        }
    }

    /// Forgets unanswered IKE_SA_INITs to a peer, except one.
    pub(super) fn stop_legs(&mut self, peer: &str, except: Option<u64>) {
        self.sas.retain(|spi, sa| !matches!(sa, Sa::Opening(opening) if opening.wanted.peer == peer && Some(*spi) != except));
    }

    fn run(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Add(established) => self.put(Sa::Established(established)),
            Effect::Close(closing) => self.put(Sa::Closing(closing)),
            Effect::Handover { from, to, say_delete } => self.hand_over(from, to, say_delete, now),
            Effect::Judge => self.judge_again(now),
            Effect::Lost { spi, peer, why } => self.lost(spi, &peer, why, now),
            Effect::Answered { peer, spi } => {
                self.stop_legs(&peer, Some(spi));
                if let Some(dial) = self.dials.get_mut(&peer) {
                    dial.answered();
                }
            }
            Effect::Noted { peer, why } => {
                if let Some(dial) = self.dials.get_mut(&peer) {
                    dial.note(why);
                }
            }
            Effect::LegFailed { peer, candidate, why } => {
                let t = Turn { core: &mut self.core, now };
                if let Some(dial) = self.dials.get_mut(&peer) {
                    dial.leg_failed(candidate, why, &t);
                }
            }
        }
    }

    fn set_admits(&mut self, admits: bool, now: Instant) {
        self.admits = admits;
        if admits {
            return;
        }
        self.sas.retain(|_, sa| !matches!(sa, Sa::HalfOpen(_)));
        let peers: BTreeSet<String> = self.dials.keys().chain(self.links.keys()).cloned().collect();
        peers.iter().for_each(|peer| self.close(peer, now));
    }

    fn close(&mut self, peer: &str, now: Instant) {
        self.give_up_dial(peer, Cause::new(Reason::Closed, format!("the attempt to reach {peer} was stopped")));
        self.abandon_legs(peer);
        self.close_links(peer, Cause::new(Reason::Closed, format!("the tunnel to {peer} was closed here")), now);
    }
}

/// Names are compared in lower case, without a trailing dot.
fn normal(peer: &str) -> String {
    peer.trim_end_matches('.').to_ascii_lowercase()
}
