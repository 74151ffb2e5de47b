//! Proving who asks: the choice among what a KDC offers, and each mechanism's part in the exchange.

use std::time::SystemTime;

use rasn_kerberos::{KdcRep, PaData};

use super::as_exchange::Draft;
use super::certificate::{self, Asked, Certificate, Judged};
use super::error::ClientError;
use super::offers::{Offers, Recipe, find, piece};
use super::request;
use super::wish::{Secrets, TimestampUse, Wish};
use crate::entropy::Entropy;
use crate::lkdc::crypto::Key;
use crate::lkdc::crypto::dh::DhGroup;
use crate::lkdc::fast::Armor;
use crate::lkdc::fast::challenge::Challenge;
use crate::lkdc::kdc::preauth::pa;
use crate::lkdc::otp;
use crate::lkdc::pkinit::PkinitQuestion;
use crate::lkdc::spake::client as spake;

/// A mechanism under way: what was sent, and what its reply comes under.
pub(super) enum Proving {
    /// An encrypted timestamp, with this key.
    Timestamp(Key),
    /// An encrypted challenge inside armor, with this key. The KDC answers with its own.
    Challenge(Key),
    /// A one-time code inside armor. The reply comes under the armor key.
    Code(Key),
    /// A signed request.
    Certificate(Asked),
    /// SPAKE, of which the groups were named: the challenge is due.
    Supported(spake::Client),
    /// SPAKE, answered. The reply comes under this key.
    Shared(Key),
}

impl Proving {
    /// The number of its pre-authentication data, as MIT's library notes it in a cache.
    pub fn number(&self) -> i32 {
        match self {
            Self::Timestamp(_) => pa::ENC_TIMESTAMP,
            Self::Challenge(_) => pa::ENCRYPTED_CHALLENGE,
            Self::Code(_) => pa::OTP_CHALLENGE,
            Self::Certificate(_) => pa::PK_AS_REQ,
            Self::Supported(_) | Self::Shared(_) => pa::SPAKE,
        }
    }
}

/// A reply whose key is to be found.
pub(super) struct Reply<'a> {
    pub rep: &'a KdcRep,
    /// Out of its armor.
    pub padata: &'a [PaData],
    /// What it answers.
    pub request: &'a [u8],
    pub now: SystemTime,
}

/// What there is to prove with.
pub(super) struct Proof<'a> {
    pub wish: &'a Wish,
    pub secrets: &'a Secrets,
    pub armor: Option<&'a Armor>,
    pub offers: &'a Offers,
}

impl Proof<'_> {
    /// The next message of the mechanism under way, or the first of the best one that is offered and that we can do.
    pub fn next(&self, before: Option<Proving>, draft: &Draft, entropy: &mut dyn Entropy) -> Result<(Proving, Vec<PaData>), ClientError> {
        match before {
            Some(Proving::Supported(client)) => self.share(client, draft, entropy),
            Some(_) => Err(self.no_method()),
            None => self.begin(draft, entropy),
        }
    }

    /// The key that the reply comes under.
    pub fn reply_key(&self, proving: &Proving, reply: &Reply<'_>) -> Result<Key, ClientError> {
        let padata = reply.padata;
        match proving {
            Proving::Timestamp(key) | Proving::Code(key) | Proving::Shared(key) => Ok(key.clone()),
            Proving::Supported(_) => Err(self.no_method()),
            Proving::Challenge(key) => {
                let unproven = || ClientError::Unproven(self.wish.client.realm.clone());
                let answer = find(padata, pa::ENCRYPTED_CHALLENGE).ok_or_else(unproven)?;
                let armor = self.armor.ok_or_else(unproven)?.key();
                Challenge { armor, long_term: key }.verify_answer(answer)?;
                Ok(key.clone())
            }
            Proving::Certificate(asked) => {
                let certificate = self.secrets.certificate.as_ref().ok_or_else(|| self.no_method())?;
                let judged = Judged { certificate, wish: self.wish, request: reply.request, now: reply.now };
                judged.reply_key(asked, reply.rep, padata)
            }
        }
    }

    fn begin(&self, draft: &Draft, entropy: &mut dyn Entropy) -> Result<(Proving, Vec<PaData>), ClientError> {
        let offered = |number| self.offers.find(number).is_some();
        if let Some(certificate) = self.secrets.certificate.as_ref().filter(|_| offered(pa::PK_AS_REQ)) {
            return self.sign(certificate, draft, entropy);
        }
        if let (Some(armor), Some(value)) = (self.armor, self.offers.find(pa::OTP_CHALLENGE)) {
            return self.answer_with_code(armor, value, entropy);
        }
        if offered(pa::SPAKE) {
            return self.share(spake::Client::new(), draft, entropy);
        }
        if let Some(armor) = self.armor.filter(|_| offered(pa::ENCRYPTED_CHALLENGE)) {
            let key = self.key()?;
            let challenge = Challenge { armor: armor.key(), long_term: &key }.prove(draft.now, entropy);
            return Ok((Proving::Challenge(key), vec![piece(pa::ENCRYPTED_CHALLENGE, challenge)]));
        }
        if offered(pa::ENC_TIMESTAMP) && self.wish.timestamp == TimestampUse::Allowed {
            let key = self.key()?;
            let stamp = request::encrypted_timestamp(&key, draft.now, entropy);
            return Ok((Proving::Timestamp(key), vec![stamp]));
        }
        Err(self.no_method())
    }

    fn sign(&self, certificate: &Certificate, draft: &Draft, entropy: &mut dyn Entropy) -> Result<(Proving, Vec<PaData>), ClientError> {
        let accepted = |group: &&DhGroup| self.offers.groups.as_ref().is_none_or(|groups| groups.contains(group));
        let group = certificate.groups.iter().find(accepted).ok_or_else(|| self.no_method())?;
        let token = self.offers.find(pa::AS_FRESHNESS).filter(|token| !token.is_empty());
        // Armor is made by who knows nothing yet: its KDC has to sign for this very request.
        let may_reuse = !self.wish.client.principal.is_anonymous();
        let question = PkinitQuestion { req_body: &draft.req_body, nonce: draft.nonce(), freshness_token: token, group: *group, may_reuse };
        let (asked, value) = certificate::question(certificate, &question, draft.now, entropy)?;
        Ok((Proving::Certificate(asked), vec![piece(pa::PK_AS_REQ, value)]))
    }

    fn answer_with_code(&self, armor: &Armor, value: &[u8], entropy: &mut dyn Entropy) -> Result<(Proving, Vec<PaData>), ClientError> {
        let challenge = otp::client::Challenge::read(value)?;
        let realm = &self.wish.client.realm;
        let pin = match &self.secrets.password {
            Some(password) if challenge.asks_pin() => Some(password.as_str()),
            None if challenge.asks_pin() => return Err(ClientError::NeedsPassword(realm.clone())),
            _ => None,
        };
        // Last: a code is good for half a minute, and should not wait for a password to be typed.
        let code = self.secrets.code.as_ref().ok_or_else(|| ClientError::NeedsCode(realm.clone()))?;
        let mut answer = challenge.answer(code, pin, armor.key(), entropy);
        Ok((Proving::Code(armor.key().clone()), vec![piece(pa::OTP_REQUEST, std::mem::take(&mut *answer))]))
    }

    /// Answers a challenge, or names our groups where none has come yet.
    fn share(&self, mut client: spake::Client, draft: &Draft, entropy: &mut dyn Entropy) -> Result<(Proving, Vec<PaData>), ClientError> {
        let Some(challenge) = self.offers.find(pa::SPAKE).filter(|challenge| !challenge.is_empty()) else {
            let support = client.support();
            return Ok((Proving::Supported(client), vec![piece(pa::SPAKE, support)]));
        };
        let (proving, message) = match client.challenged(challenge, &self.key()?, &draft.req_body, entropy)? {
            spake::Next::Support(message) => (Proving::Supported(client), message),
            spake::Next::Respond { message, reply_key } => (Proving::Shared(reply_key), message),
        };
        Ok((proving, vec![piece(pa::SPAKE, message)]))
    }

    /// The password's key by the KDC's favourite recipe.
    fn key(&self) -> Result<Key, ClientError> {
        let favourite = self.offers.recipes.first().cloned();
        let usual = || self.wish.etypes.first().and_then(|etype| Recipe::usual(etype.number(), &self.wish.etypes));
        let recipe = favourite.or_else(usual).ok_or_else(|| self.no_method())?;
        self.password_key(&recipe)
    }

    /// The password's key by this recipe. Fewer rounds than usual are refused: they would come from one who wants to guess.
    pub fn password_key(&self, recipe: &Recipe) -> Result<Key, ClientError> {
        let realm = &self.wish.client.realm;
        let password = self.secrets.password.as_ref().ok_or_else(|| ClientError::NeedsPassword(realm.clone()))?;
        if let Some(iterations) = recipe.iterations.filter(|iterations| *iterations < recipe.etype.default_iterations()) {
            return Err(ClientError::WeakRecipe { realm: realm.clone(), iterations });
        }
        let salt = recipe.salt.clone().unwrap_or_else(|| {
            let components = self.wish.client.principal.components.iter();
            std::iter::once(realm).chain(components).flat_map(|part| part.bytes()).collect()
        });
        Ok(Key::from_password(recipe.etype, password.as_bytes(), &salt, recipe.iterations)?)
    }

    fn no_method(&self) -> ClientError {
        ClientError::NoMethod { realm: self.wish.client.realm.clone(), offered: self.offers.numbers() }
    }
}
