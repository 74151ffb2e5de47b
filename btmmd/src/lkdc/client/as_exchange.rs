//! The initial exchange (RFC 4120 §3.1): a ticket from what one has or knows.
//!
//! ```text
//!            WRONG_REALM (names the realm)
//!          ┌───────────┐
//!          ▼           │   PREAUTH_REQUIRED        MORE_PREAUTH_DATA
//!  start ─► Unproven ──┴─────────────────► Proving ◄───────┐
//!              │ AS-REP      SKEW, once: again │ └─────────┘
//!              ▼                               ▼ AS-REP
//!            done                            done
//! ```

use std::time::SystemTime;

use rasn_kerberos::{KdcRep, KdcReqBody, PaData};

use super::Next;
use super::certificate::session_key_is_agreed;
use super::clock::ClockOffset;
use super::error::ClientError;
use super::grant::Grant;
use super::notes::Notes;
use super::offers::{Offers, Recipe, find, piece};
use super::proof::{Proof, Proving, Reply};
use super::refusal::Refusal;
use super::reply::{self, Expected, KRB_ERROR, ReplyError};
use super::request::{as_body, as_request, nonce};
use super::wish::{Secrets, Wish};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::client::Inside;
use crate::lkdc::fast::{Armor, FastError, FastOptions};
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::error::ErrorCode;
use crate::lkdc::kdc::preauth::pa;
use crate::lkdc::name::{APPLE_LKDC, RealmName};
use crate::lkdc::pkinit::client::groups_offered;

/// Requests in one exchange: the longest that makes sense takes seven.
const MAX_ROUNDS: u32 = 10;

/// One initial ticket being got.
pub struct AsExchange {
    wish: Wish,
    secrets: Secrets,
    armor: Option<Armor>,
    offset: ClockOffset,
    rounds: u32,
    /// The clock was set after the KDC's once.
    adjusted: bool,
    /// It was begun anew once, because the KDC had forgotten its beginning.
    restarted: bool,
    offers: Offers,
    proving: Option<Proving>,
    /// The KDC says, in a reply that is its own, that it understands armor.
    knows_armor: bool,
    sent: Sent,
}

/// What was sent last.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    nonce: u32,
}

/// The request being made: its body is fixed first, because proofs cover it.
pub(super) struct Draft {
    body: KdcReqBody,
    /// The body as it will be sent.
    pub req_body: Vec<u8>,
    /// The KDC's time.
    pub now: SystemTime,
}

impl Draft {
    /// The body's nonce.
    pub fn nonce(&self) -> u32 {
        self.body.nonce
    }
}

impl AsExchange {
    /// Asks for `wish` with what `secrets` has.
    pub fn new(wish: Wish, secrets: Secrets) -> Self {
        Self {
            wish,
            secrets,
            armor: None,
            offset: ClockOffset::default(),
            rounds: 0,
            adjusted: false,
            restarted: false,
            offers: Offers::default(),
            proving: None,
            knows_armor: false,
            sent: Sent::default(),
        }
    }

    /// The same through FAST (RFC 6113). Answers from outside the armor are not believed.
    pub fn armored(self, armor: Armor) -> Self {
        Self { armor: Some(armor), ..self }
    }

    /// The same, knowing the KDC's clock.
    pub fn with_offset(self, offset: ClockOffset) -> Self {
        Self { offset, ..self }
    }

    /// What is known of the KDC's clock.
    pub fn offset(&self) -> ClockOffset {
        self.offset
    }

    /// How the ticket that was granted was earned.
    pub fn notes(&self) -> Notes {
        Notes { method: self.proving.as_ref().map(Proving::number), armor: self.knows_armor }
    }

    /// The realm that is asked; referrals change it.
    pub fn realm(&self) -> &str {
        &self.wish.client.realm
    }

    /// The first request.
    pub fn start(&mut self, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        self.offers = Offers::default();
        self.proving = None;
        let draft = self.draft(now, entropy);
        let fresh = self.secrets.certificate.as_ref().map(|_| piece(pa::AS_FRESHNESS, Vec::new()));
        self.send(draft, fresh.into_iter().collect(), entropy)
    }

    /// Takes the KDC's answer.
    pub fn receive(&mut self, answer: &[u8], now: SystemTime, entropy: &mut dyn Entropy) -> Result<Next, ClientError> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Err(ClientError::Endless(self.wish.client.realm.clone()));
        }
        if asn1::raw::tag(answer) == Some(KRB_ERROR) {
            return self.refused(answer, now, entropy).map(Next::Send);
        }
        self.accept(answer, now).map(|grant| Next::Done(Box::new(grant)))
    }

    fn draft(&self, now: SystemTime, entropy: &mut dyn Entropy) -> Draft {
        let now = self.offset.kdc_time(now);
        let body = as_body(&self.wish, nonce(entropy), now);
        Draft { req_body: asn1::encode(&body), body, now }
    }

    fn send(&mut self, draft: Draft, mut padata: Vec<PaData>, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        padata.extend(self.offers.cookie.clone().map(|cookie| piece(pa::FX_COOKIE, cookie)));
        padata.push(piece(pa::REQ_ENC_PA_REP, Vec::new()));
        let nonce = draft.body.nonce;
        let padata = match &self.armor {
            None => padata,
            Some(armor) => {
                let inside = Inside { options: FastOptions::default(), padata: &padata, body: &draft.body };
                let worn = armor.request(&inside, &draft.req_body, entropy);
                asn1::wipe_padata(&mut padata);
                vec![worn]
            }
        };
        let bytes = as_request(padata, draft.body);
        self.sent = Sent { bytes: bytes.clone(), nonce };
        Ok(bytes)
    }

    fn refused(&mut self, answer: &[u8], now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        let (refusal, methods) = self.read_refusal(answer)?;
        match ErrorCode(refusal.code) {
            ErrorCode::KDC_ERR_PREAUTH_REQUIRED if self.proving.is_none() => {
                self.set_clock(&refusal, now);
                self.offers = Offers::read(&methods, &self.wish.etypes)?;
                self.prove(now, entropy)
            }
            ErrorCode::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED => {
                self.offers.take_more(&methods, &self.wish.etypes)?;
                self.prove(now, entropy)
            }
            ErrorCode::KRB_AP_ERR_SKEW if !self.adjusted && self.set_clock(&refusal, now) => {
                self.adjusted = true;
                self.start(now, entropy)
            }
            ErrorCode::KDC_ERR_PREAUTH_EXPIRED if !self.restarted => {
                self.restarted = true;
                self.start(now, entropy)
            }
            ErrorCode::KDC_ERR_WRONG_REALM => self.referred(refusal, now, entropy),
            ErrorCode::KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED if self.takes_other_group(&refusal) => self.prove(now, entropy),
            _ => Err(ClientError::Refused { realm: self.wish.client.realm.clone(), refusal: Box::new(refusal) }),
        }
    }

    /// The refusal with the method data that came with it: inside the armor, if there is one.
    fn read_refusal(&self, answer: &[u8]) -> Result<(Refusal, Vec<PaData>), ClientError> {
        let outer = Refusal::read(answer)?;
        let Some(armor) = &self.armor else {
            let methods = if has_methods(&outer) { outer.methods()? } else { Vec::new() };
            return Ok((outer, methods));
        };
        match armor.open_error(&Refusal::message(answer)?, self.sent.nonce) {
            Ok((inner, methods)) => Ok((Refusal::of_message(&inner)?, methods)),
            Err(FastError::NotArmored) => Err(ClientError::Unprotected { realm: self.wish.client.realm.clone(), refusal: Box::new(outer) }),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over the KDC's clock where it differs from what we know of it. Whether it did.
    fn set_clock(&mut self, refusal: &Refusal, now: SystemTime) -> bool {
        let offset = ClockOffset::between(refusal.kdc_time, now);
        let differs = offset != self.offset;
        self.offset = offset;
        differs
    }

    /// `WELLKNOWN:COM.APPLE.LKDC` asks a machine for its realm. Only such a question may be answered with another realm: anyone can
    /// make this answer, and the name of the realm is what we know the KDC by.
    fn referred(&mut self, refusal: Refusal, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        let from = self.wish.client.realm.clone();
        let Some(to) = refusal.client_realm.clone().filter(|to| *to != from) else {
            return Err(ClientError::Refused { realm: from, refusal: Box::new(refusal) });
        };
        let asked = from == APPLE_LKDC && to.parse::<RealmName>().is_ok() && self.wish.expects(&to);
        if !asked {
            return Err(ClientError::Strayed { from, to });
        }
        self.wish.client.realm = to;
        self.start(now, entropy)
    }

    /// Whether the KDC names groups in place of the one it refused, and there is one among them that we have.
    fn takes_other_group(&mut self, refusal: &Refusal) -> bool {
        let Some(Proving::Certificate(refused)) = &self.proving else { return false };
        let offered = refusal.data.as_deref().map(groups_offered).and_then(Result::ok).unwrap_or_default();
        let others: Vec<_> = offered.into_iter().filter(|group| *group != refused.group).collect();
        let again = self.offers.groups.is_some();
        self.proving = None;
        self.offers.groups = Some(others);
        !again
    }

    fn prove(&mut self, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        let draft = self.draft(now, entropy);
        let before = self.proving.take();
        let context = Proof { wish: &self.wish, secrets: &self.secrets, armor: self.armor.as_ref(), offers: &self.offers };
        let (proving, padata) = context.next(before, &draft, entropy)?;
        self.proving = Some(proving);
        self.send(draft, padata, entropy)
    }

    fn accept(&mut self, answer: &[u8], now: SystemTime) -> Result<Grant, ClientError> {
        let rep = reply::as_rep(answer)?;
        let outer = rep.padata.clone().unwrap_or_default();
        let (padata, vouched) = match &self.armor {
            None => (outer, None),
            Some(armor) => {
                let vouched = armor.open_reply(&outer, self.sent.nonce, &asn1::encode(&rep.ticket))?;
                (vouched.padata.clone(), Some(vouched))
            }
        };
        if let Some(vouched) = &vouched
            && FullName::new(vouched.client.clone(), vouched.realm.clone()) != reply::client_of(&rep)?
        {
            return Err(ReplyError::Differs("client").into());
        }
        let plain = self.reply_key(&rep, &padata, now)?;
        let key = vouched.map_or_else(|| plain.clone(), |vouched| vouched.reply_key(&plain));
        let grant = self.check(&rep, &key, now)?;
        if self.wish.is_anonymous() && !session_key_is_agreed(&padata, &plain, &grant.key) {
            return Err(ReplyError::Differs("session key").into());
        }
        Ok(grant)
    }

    fn reply_key(&self, rep: &KdcRep, padata: &[PaData], now: SystemTime) -> Result<Key, ClientError> {
        let context = Proof { wish: &self.wish, secrets: &self.secrets, armor: self.armor.as_ref(), offers: &self.offers };
        if let Some(proving) = &self.proving {
            return context.reply_key(proving, &Reply { rep, padata, request: &self.sent.bytes, now });
        }
        // The KDC asked for no proof: the password opens what it grants.
        let number = rep.enc_part.etype;
        let given = Recipe::read(padata, &self.wish.etypes)?.into_iter().find(|recipe| recipe.etype.number() == number);
        let recipe = given.or_else(|| Recipe::usual(number, &self.wish.etypes));
        context.password_key(&recipe.ok_or(ReplyError::NotAsked(number))?)
    }

    fn check(&mut self, rep: &KdcRep, key: &Key, now: SystemTime) -> Result<Grant, ClientError> {
        let part = reply::open(rep, key, usage::AS_REP)?;
        // The nonce makes this fresh, so the KDC's clock is known for sure now.
        let kdc_now = reply::clock_of(&part);
        let server = FullName::new(self.wish.server(), self.wish.client.realm.clone());
        let expected = Expected { server: &server, nonce: self.sent.nonce, etypes: &self.wish.etypes, now: kdc_now };
        let grant = reply::accept(rep, &part, &expected)?;
        if grant.client.principal != self.wish.client.principal || !self.wish.allows_realm(&grant.client.realm) {
            return Err(ReplyError::Differs("client").into());
        }
        let demanded = self.wish.client.realm.parse::<RealmName>().is_ok();
        reply::confirmed(&part, &self.sent.bytes, key, demanded)?;
        self.knows_armor = part.encrypted_pa_data.as_deref().is_some_and(|padata| find(padata, pa::FX_FAST).is_some());
        self.offset = ClockOffset::between(kdc_now, now);
        Ok(grant)
    }
}

fn has_methods(refusal: &Refusal) -> bool {
    matches!(ErrorCode(refusal.code), ErrorCode::KDC_ERR_PREAUTH_REQUIRED | ErrorCode::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED)
}
