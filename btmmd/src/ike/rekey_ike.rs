//! CREATE_CHILD_SA that renews the IKE SA (RFC 7296 §1.3.2, §2.8.2, §2.18).
//!
//! The initiator of the surviving renewal moves the children over and deletes the old SA; the responder moves them when that DELETE, or anything else
//! on the successor, arrives.

use std::time::Duration;

use super::channel::Channel;
use super::closing::Closing;
use super::codec::number::notify;
use super::codec::{Exchange, Payload};
use super::crypto::keys::Exchanged;
use super::crypto::{IkeKeys, KeyShare};
use super::established::{After, Established, Intent, Pending};
use super::parts::Parts;
use super::suite::{self, Refusal};
use super::turn::{Effect, Turn};

/// A successor that the peer made and never used is forgotten after this.
const UNUSED_AFTER: Duration = Duration::from_secs(90);

/// Our request that renews the IKE SA, waiting for its answer.
#[derive(Debug)]
pub(super) struct RekeyingIke {
    /// Our SPI of the new SA.
    spi: u64,
    nonce: Vec<u8>,
    share: KeyShare,
    /// The lesser nonce of the peer's renewal, made meanwhile.
    collided: Option<Vec<u8>>,
}

fn plain(kind: u16) -> Vec<Payload> {
    vec![Payload::notify(kind, Vec::new())]
}

impl Established {
    fn child_unsettled(&self) -> bool {
        let closing = |intent: &Intent| matches!(intent, Intent::DeleteChild(_));
        matches!(self.pending, Some(Pending::RekeyChild(_) | Pending::DeleteChild(_)))
            || self.queue.iter().any(closing)
            || self.children.iter().any(|child| child.deleting || child.replaced_by.is_some())
    }

    /// Whether the peer would be let in today. Its certificate may have run out while the tunnel was up; renewing would carry it on for ever.
    fn believed(&self, t: &mut Turn<'_>) -> bool {
        let believed = self.peer.still_believed(t.credentials.as_ref()).is_ok();
        if !believed {
            t.effects.push_back(Effect::Judge);
        }
        believed
    }

    /// Asks for new keys, once the children are at rest.
    pub(super) fn begin_ike_rekey(&mut self, t: &mut Turn<'_>) {
        if !self.believed(t) {
            return;
        }
        if self.child_unsettled() || self.close_at.is_some() {
            self.rekey_ike_later(t);
            return;
        }
        let group = self.channel.group;
        let share = KeyShare::generate(group, t.core.entropy.as_mut());
        let (spi, nonce) = (t.ike_spi(), t.nonce());
        let payloads = [
            Payload::Sa(vec![suite::ike_proposal(1, &[group], &spi.to_be_bytes())]),
            Payload::Nonce(nonce.clone()),
            Payload::Ke { group: group.number(), data: share.public().to_vec() },
        ];
        let tries = t.config.transmissions;
        self.channel.request(Exchange::CREATE_CHILD_SA, &payloads, tries, t);
        self.pending = Some(Pending::RekeyIke(RekeyingIke { spi, nonce, share, collided: None }));
    }

    /// Answers the peer's request; the successor waits for the children.
    pub(super) fn answer_ike_rekey(&mut self, parts: &Parts, t: &mut Turn<'_>) -> Result<Vec<Payload>, Vec<Payload>> {
        if !self.believed(t) {
            return Err(plain(notify::AUTHENTICATION_FAILED));
        }
        if self.replaced_by.is_some() || self.successor_of.is_some() || self.child_unsettled() {
            return Err(plain(notify::TEMPORARY_FAILURE));
        }
        let (Some(proposals), Some(ni), Some((group, theirs))) = (&parts.sa, &parts.nonce, &parts.ke) else {
            return Err(plain(notify::INVALID_SYNTAX));
        };
        let choice = suite::choose_ike(proposals, &t.config.groups, *group, 8).map_err(|refusal| match refusal {
            Refusal::None => plain(notify::NO_PROPOSAL_CHOSEN),
            Refusal::Group(group) => vec![Payload::notify(notify::INVALID_KE_PAYLOAD, group.number().to_be_bytes().to_vec())],
        })?;
        let (Some(spi_i), Some(group)) = (ike_spi(&choice.spi), choice.group) else { return Err(plain(notify::INVALID_SYNTAX)) };
        let share = KeyShare::generate(group, t.core.entropy.as_mut());
        let shared = share.agree(theirs).ok_or_else(|| plain(notify::INVALID_SYNTAX))?;
        let (spi_r, nr) = (t.ike_spi(), t.nonce());
        let keys = IkeKeys::successor(&self.channel.keys.d, &shared, &Exchanged { ni, nr: &nr, spi_i, spi_r });
        let floor = ni.clone().min(nr.clone());
        let mut successor = self.successor((spi_i, spi_r), false, keys, share.group(), floor.clone(), t);
        successor.successor_of = Some(self.own_spi());
        successor.close_at = Some(t.now + UNUSED_AFTER);
        t.effects.push_back(Effect::Add(Box::new(successor)));
        self.replaced_by = Some(spi_r);
        if let Some(Pending::RekeyIke(rekeying)) = &mut self.pending {
            rekeying.collided = Some(floor);
        }
        Ok(vec![
            Payload::Sa(vec![suite::ike_proposal(choice.number, &[group], &spi_r.to_be_bytes())]),
            Payload::Nonce(nr),
            Payload::Ke { group: group.number(), data: share.public().to_vec() },
        ])
    }

    /// Takes the answer to our request.
    pub(super) fn ike_rekeyed(mut self: Box<Self>, rekeying: RekeyingIke, parts: Parts, t: &mut Turn<'_>) -> After {
        let Some(successor) = self.new_ike(&rekeying, &parts, t) else {
            self.rekey_ike_later(t);
            return After::Stays(self);
        };
        let lost = self.replaced_by.is_some() && rekeying.collided.as_ref().is_some_and(|theirs| successor.floor < *theirs);
        if lost {
            let closing = Closing::start(successor.channel, t);
            t.effects.push_back(Effect::Close(Box::new(closing)));
        } else {
            let (from, to) = (self.own_spi(), successor.own_spi());
            t.effects.push_back(Effect::Add(Box::new(successor)));
            t.effects.push_back(Effect::Handover { from, to, say_delete: true });
        }
        After::Stays(self)
    }

    fn new_ike(&self, rekeying: &RekeyingIke, parts: &Parts, t: &mut Turn<'_>) -> Option<Self> {
        let (nr, (group, theirs)) = (parts.nonce.as_ref()?, parts.ke.as_ref()?);
        let choice = suite::choose_ike(parts.sa.as_deref()?, &[rekeying.share.group()], *group, 8).ok()?;
        let spi_r = ike_spi(&choice.spi)?;
        let shared = rekeying.share.agree(theirs)?;
        let exchanged = Exchanged { ni: &rekeying.nonce, nr, spi_i: rekeying.spi, spi_r };
        let keys = IkeKeys::successor(&self.channel.keys.d, &shared, &exchanged);
        let floor = rekeying.nonce.clone().min(nr.clone());
        Some(self.successor((rekeying.spi, spi_r), true, keys, rekeying.share.group(), floor, t))
    }

    fn successor(
        &self,
        ids: (u64, u64),
        initiator: bool,
        keys: IkeKeys,
        group: super::crypto::Group,
        floor: Vec<u8>,
        t: &mut Turn<'_>,
    ) -> Self {
        let mut channel = Channel::new(ids, initiator, keys, group, self.channel.path, (0, 0));
        channel.nat = self.channel.nat;
        channel.places.clone_from(&self.channel.places);
        Self::new(channel, self.peer.clone(), self.origin, floor, None, t)
    }
}

fn ike_spi(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?)).filter(|spi| *spi != 0)
}
