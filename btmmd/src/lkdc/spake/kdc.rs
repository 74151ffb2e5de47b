//! The KDC's end. It keeps nothing between challenge and response: what it must remember is in the cookie.

use zeroize::Zeroizing;

use super::asn1::{PaSpake, SpakeChallenge, SpakeResponse, SpakeSecondFactor};
use super::{SF_NONE, SpakeError};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::spake_group::{SpakeGroup, SpakeRole, SpakeSecret, SpakeShare, SpakeTranscript, spake_key};
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::FastError;
use crate::lkdc::fast::envelope::open;
use crate::wire::{Reader, WireError, Writer};

/// A challenge, and what to remember of it.
pub struct Challenge {
    /// The value of the PA-SPAKE.
    pub message: Vec<u8>,
    /// For the cookie.
    pub secret: Zeroizing<Vec<u8>>,
}

/// What a client sent.
pub enum Message {
    /// Asks for a challenge in this group, the first of its own that we speak.
    Support(SpakeGroup),
    /// Answers a challenge.
    Response(SpakeResponse),
}

/// Reads the `value` of a PA-SPAKE.
pub fn read(value: &[u8]) -> Result<Message, SpakeError> {
    match asn1::decode(value)? {
        PaSpake::Support(support) => {
            let group = support.groups.iter().find_map(|number| SpakeGroup::from_number(*number));
            group.map(Message::Support).ok_or(SpakeError::NoGroup(support.groups))
        }
        PaSpake::Response(response) => Ok(Message::Response(response)),
        PaSpake::Challenge(_) | PaSpake::EncData(_) => Err(SpakeError::OutOfTurn),
    }
}

/// Answers the support message `support`, or nothing at all, with a challenge.
pub fn challenge(group: SpakeGroup, initial: &Key, support: Option<&[u8]>, entropy: &mut dyn Entropy) -> Challenge {
    let share = SpakeShare::generate(&SpakeSecret::new(group, initial), SpakeRole::Kdc, entropy);
    challenge_of(&share, group, initial, support)
}

fn challenge_of(share: &SpakeShare, group: SpakeGroup, initial: &Key, support: Option<&[u8]>) -> Challenge {
    let factors = vec![SpakeSecondFactor { r#type: SF_NONE, data: None }];
    let pubkey = share.public().to_vec().into();
    let message = asn1::encode(&PaSpake::Challenge(SpakeChallenge { group: group.number(), pubkey, factors }));
    let mut transcript = SpakeTranscript::default();
    transcript.update(&[support.unwrap_or_default(), &message]);
    let remembered = Remembered { group, etype: initial.etype().number(), scalar: Zeroizing::new(*share.scalar()), transcript };
    Challenge { message, secret: remembered.write() }
}

/// Judges a response: the reply key, when the client has the same long-term key. `remembered` is from the cookie, `body` the
/// KDC-REQ-BODY as the client encoded it.
pub fn finish(response: &SpakeResponse, remembered: &[u8], initial: &Key, body: &[u8]) -> Result<Key, SpakeError> {
    let strange = || SpakeError::Cookie(FastError::ForeignCookie);
    let Remembered { group, etype, scalar, mut transcript } = Remembered::read(remembered).map_err(|_| strange())?;
    if etype != initial.etype().number() {
        return Err(SpakeError::KeyChanged(initial.etype()));
    }
    let secret = SpakeSecret::new(group, initial);
    let share = SpakeShare::from_scalar(&secret, SpakeRole::Kdc, &scalar).ok_or_else(strange)?;
    let shared = share.agree(&secret, &response.pubkey)?;
    transcript.update(&[&response.pubkey]);
    let key = |n| spake_key(initial, &secret, &shared, &transcript, body, n);
    let plain = open(&key(1), usage::SPAKE, &response.factor).map_err(|_| SpakeError::WrongKey)?;
    let factor: SpakeSecondFactor = asn1::decode(&plain)?;
    if factor.r#type != SF_NONE {
        return Err(SpakeError::NoFactor(vec![factor.r#type]));
    }
    Ok(key(0))
}

struct Remembered {
    group: SpakeGroup,
    etype: i32,
    scalar: Zeroizing<[u8; 32]>,
    transcript: SpakeTranscript,
}

impl Remembered {
    fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.bytes(&self.group.number().to_be_bytes());
        writer.bytes(&self.etype.to_be_bytes());
        writer.bytes(self.scalar.as_slice());
        writer.bytes(self.transcript.value());
        Zeroizing::new(writer.into_bytes())
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let number = reader.array("group").map(i32::from_be_bytes)?;
        let group = SpakeGroup::from_number(number).ok_or(WireError::Invalid { what: "group", got: 0 })?;
        let etype = reader.array("etype").map(i32::from_be_bytes)?;
        let scalar = Zeroizing::new(reader.array("scalar")?);
        let transcript = SpakeTranscript::from_value(reader.array("transcript")?);
        reader.finish("SPAKE cookie")?;
        Ok(Self { group, etype, scalar, transcript })
    }
}
