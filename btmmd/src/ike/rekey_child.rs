//! CREATE_CHILD_SA that renews a child, and the DELETE of the old one (RFC 7296 §1.3.3, §2.8).
//!
//! Without loss: the responder installs only the inbound state and goes on sending with the old child until the initiator, which has installed both,
//! deletes it. Retired inbound states linger for packets still on the way.

use super::auth;
use super::cause::{Cause, Reason};
use super::child::Child;
use super::codec::number::{notify, protocol};
use super::codec::{Delete, Exchange, Notify, Payload};
use super::crypto::{KeyShare, child_keys};
use super::established::{After, Established, Intent, Pending, child, child_mut};
use super::parts::Parts;
use super::suite::{self, Refusal};
use super::turn::Turn;

/// Our request that renews a child, waiting for its answer.
#[derive(Debug)]
pub(super) struct RekeyingChild {
    /// Inbound SPI of the child to be replaced.
    old: u32,
    /// Inbound SPI of the new one.
    spi: u32,
    nonce: Vec<u8>,
    share: KeyShare,
    /// The lesser nonce of the peer's renewal of the same child, made meanwhile (§2.8.1).
    collided: Option<Vec<u8>>,
}

/// An ESP SPI out of a proposal; the reserved ones are refused.
pub(super) fn spi(bytes: &[u8]) -> Option<u32> {
    let spi = u32::from_be_bytes(bytes.try_into().ok()?);
    (spi > 255).then_some(spi)
}

fn plain(kind: u16) -> Vec<Payload> {
    vec![Payload::notify(kind, Vec::new())]
}

impl Established {
    /// Asks for a new child in the place of this one, unless it is on its way out already.
    pub(super) fn begin_child_rekey(&mut self, old: u32, t: &mut Turn<'_>) {
        if !child(&self.children, old).is_some_and(|child| !child.deleting && child.replaced_by.is_none()) {
            return;
        }
        let group = self.channel.group;
        let share = KeyShare::generate(group, t.core.entropy.as_mut());
        let (spi, nonce) = (t.esp_spi(), t.nonce());
        let rekeyed = Notify { protocol: protocol::ESP, spi: old.to_be_bytes().to_vec(), kind: notify::REKEY_SA, data: Vec::new() };
        let mut payloads = vec![
            Payload::Notify(rekeyed),
            Payload::Sa(vec![suite::esp_proposal(1, Some(group), spi)]),
            Payload::Nonce(nonce.clone()),
            Payload::Ke { group: group.number(), data: share.public().to_vec() },
        ];
        payloads.extend(auth::selectors(t.credentials.inner(), self.peer.inner));
        let tries = t.config.transmissions;
        self.channel.request(Exchange::CREATE_CHILD_SA, &payloads, tries, t);
        self.pending = Some(Pending::RekeyChild(RekeyingChild { old, spi, nonce, share, collided: None }));
    }

    /// Answers a CREATE_CHILD_SA request.
    pub(super) fn create_child(&mut self, parts: Parts, t: &mut Turn<'_>) -> Vec<Payload> {
        if let Some(rekeyed) = parts.notify(notify::REKEY_SA).filter(|rekeyed| rekeyed.protocol == protocol::ESP) {
            return match spi(&rekeyed.spi) {
                Some(spi_out) => self.answer_child_rekey(spi_out, &parts, t).unwrap_or_else(|refusal| refusal),
                None => plain(notify::INVALID_SYNTAX),
            };
        }
        if parts.sa.as_ref().and_then(|proposals| proposals.first()).is_some_and(|first| first.protocol == protocol::IKE) {
            return self.answer_ike_rekey(&parts, t).unwrap_or_else(|refusal| refusal);
        }
        // One child per peer.
        plain(notify::NO_ADDITIONAL_SAS)
    }

    fn answer_child_rekey(&mut self, spi_out: u32, parts: &Parts, t: &mut Turn<'_>) -> Result<Vec<Payload>, Vec<Payload>> {
        if self.replaced_by.is_some() || matches!(self.pending, Some(Pending::RekeyIke(_))) {
            return Err(plain(notify::TEMPORARY_FAILURE));
        }
        let Some(at) = self.children.iter().position(|child| child.spi_out() == spi_out) else {
            let spi = spi_out.to_be_bytes().to_vec();
            return Err(vec![Payload::Notify(Notify { protocol: protocol::ESP, spi, kind: notify::CHILD_SA_NOT_FOUND, data: Vec::new() })]);
        };
        if self.children.get(at).is_some_and(|old| old.deleting || old.replaced_by.is_some()) {
            return Err(plain(notify::TEMPORARY_FAILURE));
        }
        let (Some(proposals), Some(ni)) = (&parts.sa, &parts.nonce) else { return Err(plain(notify::INVALID_SYNTAX)) };
        let offered = parts.ke.as_ref().map(|(group, _)| *group);
        let choice = suite::choose_esp(proposals, &t.config.groups, offered).map_err(|refusal| match refusal {
            Refusal::None => plain(notify::NO_PROPOSAL_CHOSEN),
            Refusal::Group(group) => vec![Payload::notify(notify::INVALID_KE_PAYLOAD, group.number().to_be_bytes().to_vec())],
        })?;
        let theirs_spi = spi(&choice.spi).ok_or_else(|| plain(notify::INVALID_SYNTAX))?;
        let own = t.credentials.inner();
        auth::check_selectors(parts, self.peer.inner, own).map_err(|failure| plain(failure.notify))?;
        let share = choice.group.map(|group| KeyShare::generate(group, t.core.entropy.as_mut()));
        let shared = match (&share, &parts.ke) {
            (Some(share), Some((_, theirs))) => share.agree(theirs).ok_or_else(|| plain(notify::INVALID_SYNTAX))?,
            _ => Default::default(),
        };
        let (spi_in, nr) = (t.esp_spi(), t.nonce());
        let (theirs, ours) = child_keys(&self.channel.keys.d, &shared, ni, &nr);
        let floor = ni.clone().min(nr.clone());
        let mut new = Child::new((spi_in, theirs), (theirs_spi, ours), floor.clone(), t);
        new.install_in(&self.ends(t), t);
        self.children.push(new);
        if let Some(old) = self.children.get_mut(at) {
            old.replaced_by = Some(spi_in);
            let old = old.spi_in();
            self.queue.retain(|intent| *intent != Intent::RekeyChild(old));
            if let Some(Pending::RekeyChild(rekeying)) = &mut self.pending
                && rekeying.old == old
            {
                rekeying.collided = Some(floor);
            }
        }
        let mut answer = vec![Payload::Sa(vec![suite::esp_proposal(choice.number, choice.group, spi_in)]), Payload::Nonce(nr)];
        answer.extend(share.map(|share| Payload::Ke { group: share.group().number(), data: share.public().to_vec() }));
        answer.extend(auth::selectors(self.peer.inner, own));
        Ok(answer)
    }

    /// Takes the answer to our request.
    pub(super) fn child_rekeyed(mut self: Box<Self>, rekeying: RekeyingChild, parts: Parts, t: &mut Turn<'_>) -> After {
        if parts.error().is_some() {
            return self.child_rekey_refused(&rekeying, t);
        }
        let Some(mut new) = self.new_child(&rekeying, &parts, t) else {
            // The peer believes in a child that we cannot use.
            self.intend(Intent::DeleteChild(rekeying.spi));
            return self.child_rekey_refused(&rekeying, t);
        };
        let lost = rekeying.collided.as_ref().is_some_and(|theirs| new.floor < *theirs);
        let orphaned = child(&self.children, rekeying.old).is_none() && self.active.is_some();
        if lost || orphaned {
            self.intend(Intent::DeleteChild(rekeying.spi));
            return After::Stays(self);
        }
        new.install_in(&self.ends(t), t);
        let spi = new.spi_in();
        self.children.push(new);
        self.activate(spi, t);
        if let Some(old) = child_mut(&mut self.children, rekeying.old) {
            old.deleting = true;
        }
        // Even if the old one expired here meanwhile: the peer still has its half.
        self.intend(Intent::DeleteChild(rekeying.old));
        After::Stays(self)
    }

    fn new_child(&self, rekeying: &RekeyingChild, parts: &Parts, t: &mut Turn<'_>) -> Option<Child> {
        let nr = parts.nonce.as_ref()?;
        let (group, theirs) = parts.ke.as_ref()?;
        let choice = suite::choose_esp(parts.sa.as_deref()?, &[rekeying.share.group()], Some(*group)).ok()?;
        choice.group?;
        auth::check_selectors(parts, t.credentials.inner(), self.peer.inner).ok()?;
        let shared = rekeying.share.agree(theirs)?;
        let (ours, theirs) = child_keys(&self.channel.keys.d, &shared, &rekeying.nonce, nr);
        let floor = rekeying.nonce.clone().min(nr.clone());
        Some(Child::new((rekeying.spi, theirs), (spi(&choice.spi)?, ours), floor, t))
    }

    /// The old child stays; it is tried again after a while, unless the peer's own renewal comes first.
    fn child_rekey_refused(mut self: Box<Self>, rekeying: &RekeyingChild, t: &mut Turn<'_>) -> After {
        if self.active.is_none() {
            let why = Cause::new(Reason::Expired, format!("the keys to {} expired and were not renewed", self.peer.name));
            return self.close(why, t);
        }
        let settle = t.config.settle;
        let again = t.now + settle + t.jittered(settle);
        if let Some(old) = child_mut(&mut self.children, rekeying.old) {
            old.rekey_at = again;
        }
        After::Stays(self)
    }

    /// Answers a DELETE of children.
    pub(super) fn children_deleted(&mut self, parts: &Parts, t: &mut Turn<'_>) -> Vec<Payload> {
        let mut spis = Vec::new();
        for spi_out in parts.deleted_children() {
            let Some(gone) = self.children.iter().find(|child| child.spi_out() == spi_out) else { continue };
            let (gone, deleting, replaced_by) = (gone.spi_in(), gone.deleting, gone.replaced_by);
            if !deleting {
                // RFC 7296 §1.4.1: when both delete at the same time, neither names its half.
                spis.push(gone);
            }
            if let Some(heir) = replaced_by.filter(|_| !deleting) {
                self.activate(heir, t);
            } else if self.active == Some(gone) {
                self.active = None;
            }
            self.retire(gone, t);
            self.children.iter_mut().filter(|child| child.replaced_by == Some(gone)).for_each(|child| child.replaced_by = None);
        }
        if spis.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete { protocol: protocol::ESP, spis })] }
    }
}
