//! PKINIT's part of an initial exchange: the sharing certificate in place of a password, or nobody at all.

use std::time::SystemTime;

use rasn_kerberos::{KdcRep, PaData};

use super::error::ClientError;
use super::offers::find;
use super::reply::ReplyError;
use super::wish::Wish;
use crate::account::certificate::AccountTrust;
use crate::entropy::Entropy;
use crate::lkdc::crypto::dh::DhGroup;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::kdc::preauth::pa;
use crate::lkdc::name::RealmName;
use crate::lkdc::pkinit::client::{Waiting, ask};
use crate::lkdc::pkinit::mechanism::session_key_of;
use crate::lkdc::pkinit::{KdcTrust, PkinitClientError, PkinitQuestion, PkinitReply, Signatory};

/// Who asks, and whom it believes.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Who signs. Nothing makes the client anonymous.
    pub signatory: Option<Signatory>,
    /// Who the KDC must be.
    pub trust: Trust,
    /// Groups to agree in, the best first.
    pub groups: Vec<DhGroup>,
}

/// Who a KDC must be.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The machine of this account whose key the realm is named after.
    Machine(Box<AccountTrust>),
    /// Whoever this CA (its certificate in DER) vouches for as a KDC of the realm, such as one that is no machine of ours.
    Authority(Vec<u8>),
}

impl Certificate {
    /// The sharing certificate, for the machines of the account.
    pub fn of_machine(signatory: Signatory, trust: &AccountTrust) -> Self {
        Self { signatory: Some(signatory), ..Self::anonymous(trust) }
    }

    /// No certificate, and a KDC of the account.
    pub fn anonymous(trust: &AccountTrust) -> Self {
        let groups = vec![DhGroup::X25519, DhGroup::P256, DhGroup::Modp14, DhGroup::Modp16];
        Self { signatory: None, trust: Trust::Machine(Box::new(trust.clone())), groups }
    }

    /// The same, for KDCs that another CA vouches for. They may be older than elliptic curves.
    #[must_use]
    pub fn for_authority(self, ca: Vec<u8>) -> Self {
        Self { trust: Trust::Authority(ca), groups: vec![DhGroup::Modp14, DhGroup::Modp16], ..self }
    }
}

/// A question that was asked.
pub(super) struct Asked {
    waiting: Waiting,
    /// The group of the question.
    pub group: DhGroup,
}

/// The value of PA-PK-AS-REQ.
pub(super) fn question(
    certificate: &Certificate,
    question: &PkinitQuestion<'_>,
    now: SystemTime,
    entropy: &mut dyn Entropy,
) -> Result<(Asked, Vec<u8>), ClientError> {
    let (value, waiting) = ask(question, certificate.signatory.as_ref(), now, entropy)?;
    Ok((Asked { waiting, group: question.group }, value))
}

/// What a reply is to be judged by.
pub(super) struct Judged<'a> {
    pub certificate: &'a Certificate,
    pub wish: &'a Wish,
    /// The whole request.
    pub request: &'a [u8],
    pub now: SystemTime,
}

impl Judged<'_> {
    /// The key that the reply comes under, from a KDC that is the one that was asked.
    pub fn reply_key(&self, asked: &Asked, rep: &KdcRep, padata: &[PaData]) -> Result<Key, ClientError> {
        let realm = &self.wish.client.realm;
        let value = find(padata, pa::PK_AS_REP).ok_or_else(|| ClientError::Unproven(realm.clone()))?;
        let number = rep.enc_part.etype;
        let etype = Etype::from_number(number).filter(|etype| self.wish.etypes.contains(etype)).ok_or(ReplyError::NotAsked(number))?;
        let machine: RealmName;
        let trust = match &self.certificate.trust {
            Trust::Machine(trust) => {
                machine = realm.parse().map_err(|_| ClientError::NotMachine(realm.clone()))?;
                KdcTrust::Machine { trust, realm: &machine }
            }
            Trust::Authority(ca) => KdcTrust::Authority { ca, realm },
        };
        let (client, server) = (&self.wish.client.principal, &self.wish.server());
        let reply = PkinitReply { value, as_req: self.request, client, server, etype };
        match asked.waiting.finish(&reply, trust, self.now) {
            Ok(result) => Ok(result.reply_key),
            Err(PkinitClientError::Impostor { .. }) => Err(ClientError::Impostor(realm.clone())),
            Err(error) => Err(error.into()),
        }
    }
}

/// For a client that does not say who it is, both ends have a say in the session key (RFC 8062 §4.2).
pub(super) fn session_key_is_agreed(padata: &[PaData], reply_key: &Key, session: &Key) -> bool {
    find(padata, pa::PKINIT_KX).and_then(|value| session_key_of(value, reply_key)).is_some_and(|agreed| agreed == *session)
}
