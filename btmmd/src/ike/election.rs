//! Which IKE SA serves a peer: coming in, duplicates, successors, the end.
//!
//! Two ends that dial each other at the same time end up with two IKE SAs. As with simultaneous rekeying (RFC 7296 §2.8), the one made with the lowest
//! of the four nonces goes, closed by the end that began it. What a peer had before it restarted goes without a word when it says INITIAL_CONTACT.

use std::time::{Duration, Instant};

use super::cause::{Cause, Reason};
use super::closing::Closing;
use super::codec::Exchange;
use super::established::Established;
use super::half_open::Admission;
use super::port::Command;
use super::table::{Ike, Sa};
use super::turn::Turn;

/// A successor whose rival took over is forgotten after this, unless it is deleted before.
const ORPHAN_FOR: Duration = Duration::from_secs(20);

/// The tunnel to one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Own SPI of the IKE SA that serves it.
    pub current: u64,
    /// When packets go over it, if they still go over a duplicate.
    pub carry_at: Option<Instant>,
}

impl Ike {
    /// A peer has proven itself to us as responder.
    pub(super) fn admit(&mut self, admission: Admission, now: Instant) {
        let Admission { mut established, initial_contact, message_id, answer } = admission;
        let rivals = self.rivals(&established.peer.name);
        let started = established.origin.started;
        let mut stale = Vec::new();
        if initial_contact {
            // A later IKE_SA_INIT of the same peer was admitted before: this one is from before its restart.
            if rivals.iter().filter_map(|spi| self.established(*spi)).any(|rival| !rival.origin.ours && rival.origin.started > started) {
                return;
            }
            stale.extend(
                rivals.iter().filter_map(|spi| self.established(*spi)).filter(|rival| is_stale(rival, started)).map(Established::own_spi),
            );
        }
        let mut t = Turn { core: &mut self.core, now };
        established.install_in(&mut t);
        let (spi, name) = (established.own_spi(), established.peer.name.clone());
        let replaced = self.links.get(&name).is_some_and(|link| stale.contains(&link.current));
        if replaced {
            self.links.remove(&name);
        }
        self.put(Sa::Established(established));
        self.elect(spi, &name, now);
        for old in stale {
            if let Some(mut old) = self.take_established(old) {
                let mut t = Turn { core: &mut self.core, now };
                old.remove_children(&mut t);
                let spi = old.own_spi();
                let closing = Closing::quietly(old.channel, &mut t);
                self.put(Sa::Closing(Box::new(closing)));
                self.forget_successors(spi);
            }
        }
        if let Some(Sa::Established(established)) = self.sas.get_mut(&spi) {
            established.channel.respond(Exchange::AUTH, message_id, &answer, &mut Turn { core: &mut self.core, now });
        }
    }

    /// A peer that we dialled has proven itself.
    pub(super) fn come_in(&mut self, mut established: Box<Established>, now: Instant) {
        let mut t = Turn { core: &mut self.core, now };
        established.install_in(&mut t);
        let (spi, name) = (established.own_spi(), established.peer.name.clone());
        self.put(Sa::Established(established));
        self.elect(spi, &name, now);
    }

    /// Established IKE SAs to a peer, without successors that wait for their turn.
    fn rivals(&self, peer: &str) -> Vec<u64> {
        let serves = |sa: &Sa| matches!(sa, Sa::Established(sa) if sa.peer.name == peer && sa.successor_of.is_none());
        self.sas.iter().filter(|(_, sa)| serves(sa)).map(|(spi, _)| *spi).collect()
    }

    /// Decides between the new SA and the current one.
    fn elect(&mut self, new: u64, peer: &str, now: Instant) {
        let Some(link) = self.links.get(peer).copied() else {
            self.links.insert(peer.to_owned(), Link { current: new, carry_at: None });
            self.carry_current(peer, now);
            self.dials.remove(peer);
            self.stop_legs(peer, None);
            self.tell_up(peer);
            return;
        };
        let floor = |spi| self.established(spi).map(|sa| sa.floor.clone());
        let new_wins = floor(new) > floor(link.current);
        let (winner, loser) = if new_wins { (new, link.current) } else { (link.current, new) };
        let settle = self.core.config.settle;
        let places = self.established(link.current).map(|sa| sa.channel.places.clone());
        if let (Some(Sa::Established(winner)), Some(places)) = (self.sas.get_mut(&winner), places) {
            winner.channel.places = places;
        }
        if let Some(Sa::Established(loser)) = self.sas.get_mut(&loser) {
            loser.close_at = Some(now + if loser.origin.ours { settle } else { 10 * settle });
        }
        if new_wins {
            // Its initiator may use it at once; its responder cannot know yet that the answer arrived.
            let ours = self.established(winner).is_some_and(|sa| sa.origin.ours);
            self.links.insert(peer.to_owned(), Link { current: winner, carry_at: (!ours).then_some(now + settle) });
            if ours {
                self.carry_current(peer, now);
            }
        }
    }

    /// Sends packets over the current SA, and over no other.
    fn carry_current(&mut self, peer: &str, now: Instant) {
        let Some(link) = self.links.get_mut(peer) else { return };
        link.carry_at = None;
        let current = link.current;
        let mut t = Turn { core: &mut self.core, now };
        if let Some(Sa::Established(sa)) = self.sas.get_mut(&current) {
            sa.close_at = None;
            sa.carry(&mut t);
        }
        for (spi, sa) in &mut self.sas {
            if let Sa::Established(sa) = sa
                && *spi != current
                && sa.peer.name == peer
            {
                sa.silence(&mut t);
            }
        }
    }

    /// Tells that the tunnel is up, and where.
    pub(super) fn tell_up(&mut self, peer: &str) {
        let Some(sa) = self.links.get(peer).and_then(|link| self.established(link.current)) else { return };
        let (inner, path) = (sa.peer.inner, sa.channel.path);
        self.core.commands.push_back(Command::Up { peer: peer.to_owned(), inner, local: path.local, remote: path.remote });
    }

    /// Does what settles: packets move to the survivor, the duplicate goes.
    pub(super) fn election_timeout(&mut self, now: Instant) {
        let due: Vec<_> =
            self.links.iter().filter(|(_, link)| link.carry_at.is_some_and(|when| when <= now)).map(|(peer, _)| peer.clone()).collect();
        due.iter().for_each(|peer| self.carry_current(peer, now));
        let expired = |sa: &Sa| matches!(sa, Sa::Established(sa) if sa.close_at.is_some_and(|when| when <= now));
        let expired: Vec<_> = self.sas.iter().filter(|(_, sa)| expired(sa)).map(|(spi, _)| *spi).collect();
        for spi in expired {
            let Some(mut sa) = self.take_established(spi) else { continue };
            if self.links.get(&sa.peer.name).is_some_and(|link| link.current == spi) {
                sa.close_at = None;
                self.put(Sa::Established(sa));
                continue;
            }
            let why = Cause::new(Reason::Closed, "a duplicate IKE SA");
            let mut t = Turn { core: &mut self.core, now };
            let after = if sa.successor_of.is_some() { sa.drop_quietly(why, &mut t) } else { sa.close(why, &mut t) };
            self.after(after);
        }
    }

    /// The successor takes over; the old SA only says good-bye.
    pub(super) fn hand_over(&mut self, from: u64, to: u64, say_delete: bool, now: Instant) {
        let Some(mut old) = self.take_established(from) else { return };
        let mut t = Turn { core: &mut self.core, now };
        let Some(Sa::Established(new)) = self.sas.get_mut(&to) else {
            self.put(Sa::Established(old));
            return;
        };
        new.adopt(&mut old, &mut t);
        if let Some(link) = self.links.get_mut(&old.peer.name).filter(|link| link.current == from) {
            link.current = to;
        }
        for sa in self.sas.values_mut() {
            // The other successor of a simultaneous renewal: its initiator deletes it, if it ever hears of it.
            if let Sa::Established(sa) = sa
                && sa.successor_of == Some(from)
            {
                sa.close_at = Some(now + ORPHAN_FOR);
            }
        }
        let closing = if say_delete { Closing::start(old.channel, &mut t) } else { Closing::quietly(old.channel, &mut t) };
        self.put(Sa::Closing(Box::new(closing)));
    }

    /// An established SA is gone: another one takes its place, or the tunnel is down.
    pub(super) fn lost(&mut self, spi: u64, peer: &str, why: Cause, now: Instant) {
        self.forget_successors(spi);
        for sa in self.sas.values_mut() {
            if let Sa::Established(sa) = sa
                && sa.replaced_by == Some(spi)
            {
                sa.replaced_by = None;
            }
        }
        let Some(link) = self.links.get(peer).copied() else { return };
        if link.current != spi {
            // The duplicate may have carried the packets until now.
            return self.carry_current(peer, now);
        }
        let rivals = self.rivals(peer);
        let heir =
            rivals.into_iter().filter_map(|spi| self.established(spi)).max_by_key(|sa| sa.origin.established).map(Established::own_spi);
        match heir {
            Some(current) => {
                self.links.insert(peer.to_owned(), Link { current, carry_at: None });
                self.carry_current(peer, now);
            }
            None => {
                self.links.remove(peer);
                self.tell_down(peer, why);
            }
        }
    }

    fn forget_successors(&mut self, spi: u64) {
        self.sas.retain(|_, sa| !matches!(sa, Sa::Established(sa) if sa.successor_of == Some(spi)));
    }

    /// Closes every SA to a peer.
    pub(super) fn close_links(&mut self, peer: &str, why: Cause, now: Instant) {
        let was_up = self.links.remove(peer).is_some();
        let all: Vec<_> =
            self.sas.iter().filter(|(_, sa)| matches!(sa, Sa::Established(sa) if sa.peer.name == peer)).map(|(spi, _)| *spi).collect();
        for spi in all {
            if let Some(sa) = self.take_established(spi) {
                let after = sa.close(why.clone(), &mut Turn { core: &mut self.core, now });
                self.after(after);
            }
        }
        if was_up {
            self.tell_down(peer, why);
        }
    }

    /// Closes every SA whose peer would not be let in today.
    pub(super) fn judge_again(&mut self, now: Instant) {
        let credentials = self.core.credentials.as_ref();
        let judged = |sa: &Sa| match sa {
            Sa::Established(sa) => sa.peer.still_believed(credentials).err(),
            _ => None,
        };
        let refused: Vec<_> = self.sas.iter().filter_map(|(spi, sa)| judged(sa).map(|why| (*spi, why))).collect();
        for (spi, why) in refused {
            let Some(sa) = self.take_established(spi) else { continue };
            let why = Cause::new(Reason::NotBelieved, format!("{} is not believed any more: {why}", sa.peer.name));
            let mut t = Turn { core: &mut self.core, now };
            let after = if sa.successor_of.is_some() { sa.drop_quietly(why, &mut t) } else { sa.close(why, &mut t) };
            self.after(after);
        }
    }

    fn tell_down(&mut self, peer: &str, why: Cause) {
        let (gone, lingering): (Vec<_>, _) =
            std::mem::take(&mut self.core.lingering).into_iter().partition(|lingering| lingering.peer == peer);
        self.core.lingering = lingering;
        self.core.commands.extend(gone.into_iter().map(|lingering| Command::RemoveSa(lingering.sa)));
        self.core.commands.push_back(Command::Down { peer: peer.to_owned(), why });
    }
}

/// Whether an SA dates from before the restart that a peer's INITIAL_CONTACT tells of, in an SA whose IKE_SA_INIT arrived at `started`.
///
/// One that we began is stale if it was up before that arrived: had the peer still known it, it would not have gone on dialling. Of those that the
/// peer began, the order of IKE_SA_INITs is the order of its lives.
fn is_stale(rival: &Established, started: u64) -> bool {
    if rival.origin.ours { rival.origin.established < started } else { rival.origin.started < started }
}
