//! The KDC's end: gives challenges, and judges codes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use subtle::ConstantTimeEq;

use super::asn1::{OtpTokenInfo, PaOtpChallenge, PaOtpEncRequest, PaOtpRequest};
use super::ledger::Ledger;
use super::{FORMAT_DECIMAL, OtpError, flag, totp};
use crate::entropy::Entropy;
use crate::lkdc::asn1::{self, time};
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::envelope::open;
use crate::lkdc::name::Principal;
use crate::lkdc::principals::{TotpSecret, VersionedKeys};
use crate::wire::Reader;

/// How old a nonce may be: somebody has to find the token and read it.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Key usage 1025, of those that RFC 4120 §7.5.1 leaves to everybody's own purposes.
const USAGE: u32 = 1025;
const RANDOM: usize = 16;

/// What a user proves to have and to know.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// The token's secret.
    pub totp: &'a TotpSecret,
    /// The password's keys.
    pub password: &'a VersionedKeys,
}

/// Gives challenges and judges answers.
#[derive(Debug)]
pub struct Judge {
    key: Key,
    ledger: Arc<Ledger>,
}

impl Judge {
    /// With a key that nobody else has, for nonces.
    pub fn new(key: Key, ledger: Arc<Ledger>) -> Self {
        Self { key, ledger }
    }

    /// PA-OTP-CHALLENGE for `client`. The nonce tells by itself when it was given and to whom: nothing is kept.
    pub fn challenge(&self, client: &Principal, service: &str, now: SystemTime, entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut nonce = time::seconds(now).to_be_bytes().to_vec();
        let mut random = [0; RANDOM];
        entropy.fill(&mut random);
        nonce.extend_from_slice(&random);
        nonce.extend_from_slice(&self.key.checksum(USAGE, &covered(&nonce, client)));
        let token = OtpTokenInfo {
            flags: asn1::flags(flag::COLLECT_PIN | flag::SEPARATE_PIN),
            otp_vendor: None,
            otp_challenge: None,
            otp_length: i32::try_from(TotpSecret::DIGITS).ok(),
            otp_format: Some(FORMAT_DECIMAL),
            otp_token_id: None,
            otp_alg_id: None,
            supported_hash_alg: None,
            iteration_count: None,
        };
        asn1::encode(&PaOtpChallenge {
            nonce: nonce.into(),
            otp_service: Some(service.to_owned()),
            otp_token_info: vec![token],
            salt: None,
            s2kparams: None,
        })
    }

    /// Judges the `value` of a PA-OTP-REQUEST. Code and password must both be right, and the code is used up then. Answers what nobody but
    /// the client can have written.
    ///
    /// The password comes first: only who knows it can use up tries, so nobody else can make the user wait.
    pub fn judge(&self, value: &[u8], armor: &Key, client: &Principal, factors: Factors<'_>, now: SystemTime) -> Result<Vec<u8>, OtpError> {
        let request: PaOtpRequest = asn1::decode(value)?;
        let plain = open(armor, usage::PA_OTP_REQUEST, &request.enc_data)?;
        let inner: PaOtpEncRequest = asn1::decode(&plain)?;
        self.check_nonce(&inner.nonce, client, now)?;
        let code = request.otp_value.as_ref().ok_or(OtpError::Missing("code"))?;
        let password = request.otp_pin.as_ref().ok_or(OtpError::Missing("password"))?;
        check_password(factors.password, password)?;
        if self.ledger.must_wait(client, now) {
            return Err(OtpError::Wait);
        }
        let Some(step) = totp::matching_step(factors.totp, code, now) else {
            self.ledger.wrong(client, now);
            return Err(OtpError::Code);
        };
        self.ledger.claim(client, step)?;
        Ok(request.enc_data.cipher.to_vec())
    }

    fn check_nonce(&self, nonce: &[u8], client: &Principal, now: SystemTime) -> Result<(), OtpError> {
        let mut reader = Reader::new(nonce);
        let given = reader.u64("time of a nonce").map_err(|_| OtpError::Nonce)?;
        let random = reader.take(RANDOM, "nonce").map_err(|_| OtpError::Nonce)?;
        let signed = [&given.to_be_bytes(), random].concat();
        self.key.verify_checksum(USAGE, &covered(&signed, client), reader.rest()).map_err(|_| OtpError::Nonce)?;
        if time::seconds(now).abs_diff(given) > LIFETIME.as_secs() { Err(OtpError::Nonce) } else { Ok(()) }
    }
}

fn covered(nonce: &[u8], client: &Principal) -> Vec<u8> {
    [nonce, client.to_string().as_bytes()].concat()
}

/// Makes the key of the type that takes the fewest rounds: every key is of the same password.
fn check_password(keys: &VersionedKeys, password: &str) -> Result<(), OtpError> {
    let salt = keys.salt.as_deref().ok_or(OtpError::Password)?;
    let known = keys.keys.iter().min_by_key(|key| key.etype().default_iterations()).ok_or(OtpError::Password)?;
    let given = Key::from_password(known.etype(), password.as_bytes(), salt.as_bytes(), None)?;
    if bool::from(given.bytes().ct_eq(known.bytes())) { Ok(()) } else { Err(OtpError::Password) }
}
