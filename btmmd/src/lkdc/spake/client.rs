//! The client's end.

use super::asn1::{PaSpake, SpakeChallenge, SpakeResponse, SpakeSecondFactor, SpakeSupport};
use super::{SF_NONE, SpakeError};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::spake_group::{SpakeGroup, SpakeRole, SpakeSecret, SpakeShare, SpakeTranscript, spake_key};
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::envelope::seal;

/// One conversation.
#[derive(Clone, Debug, Default)]
pub struct Client {
    support: Option<Vec<u8>>,
}

/// What to do with a challenge.
pub enum Next {
    /// It is in a group that we do not speak: send this instead.
    Support(Vec<u8>),
    /// Send `message`; the reply is encrypted with `reply_key` then.
    Respond {
        /// The value of the PA-SPAKE.
        message: Vec<u8>,
        /// Encrypts the reply, if nothing strengthens it.
        reply_key: Key,
    },
}

impl Client {
    /// A new conversation.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first message: the value of the PA-SPAKE.
    pub fn support(&mut self) -> Vec<u8> {
        let groups = SpakeGroup::ALL.map(SpakeGroup::number).to_vec();
        let message = asn1::encode(&PaSpake::Support(SpakeSupport { groups }));
        self.support.insert(message).clone()
    }

    /// Reads a challenge, which may come before any support message. `body` is the encoded KDC-REQ-BODY of the request that the response
    /// will be in.
    pub fn challenged(&mut self, value: &[u8], initial: &Key, body: &[u8], entropy: &mut dyn Entropy) -> Result<Next, SpakeError> {
        let PaSpake::Challenge(challenge) = asn1::decode(value)? else { return Err(SpakeError::OutOfTurn) };
        let Some(group) = SpakeGroup::from_number(challenge.group) else {
            return match self.support {
                Some(_) => Err(SpakeError::NoGroup(vec![challenge.group])),
                None => Ok(Next::Support(self.support())),
            };
        };
        check_factors(&challenge)?;
        let secret = SpakeSecret::new(group, initial);
        let share = SpakeShare::generate(&secret, SpakeRole::Client, entropy);
        let shared = share.agree(&secret, &challenge.pubkey)?;
        let mut transcript = SpakeTranscript::default();
        transcript.update(&[self.support.as_deref().unwrap_or_default(), value]);
        transcript.update(&[share.public()]);
        let key = |n| spake_key(initial, &secret, &shared, &transcript, body, n);
        let factor = asn1::encode(&SpakeSecondFactor { r#type: SF_NONE, data: None });
        let factor = seal(&key(1), usage::SPAKE, &factor, entropy);
        let message = asn1::encode(&PaSpake::Response(SpakeResponse { pubkey: share.public().to_vec().into(), factor }));
        Ok(Next::Respond { message, reply_key: key(0) })
    }
}

fn check_factors(challenge: &SpakeChallenge) -> Result<(), SpakeError> {
    let factors: Vec<i32> = challenge.factors.iter().map(|factor| factor.r#type).collect();
    if factors.contains(&SF_NONE) { Ok(()) } else { Err(SpakeError::NoFactor(factors)) }
}
