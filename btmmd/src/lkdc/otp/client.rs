//! The client's end: reads a challenge, and answers with a code and a password.

use zeroize::Zeroizing;

use super::asn1::{OtpTokenInfo, PaOtpChallenge, PaOtpEncRequest, PaOtpRequest};
use super::{OtpError, flag};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::envelope::seal;

/// A challenge, and the first of its tokens that can be answered here.
#[derive(Clone, Debug)]
pub struct Challenge {
    nonce: Vec<u8>,
    token: OtpTokenInfo,
    /// For people: who asks.
    pub service: Option<String>,
}

impl Challenge {
    /// Reads the `value` of a PA-OTP-CHALLENGE.
    pub fn read(value: &[u8]) -> Result<Self, OtpError> {
        let challenge: PaOtpChallenge = asn1::decode(value)?;
        let token = challenge.otp_token_info.into_iter().find(is_known).ok_or(OtpError::NoToken)?;
        Ok(Self { nonce: challenge.nonce.to_vec(), token, service: challenge.otp_service })
    }

    /// Whether a password, or PIN, is to be asked for.
    pub fn asks_pin(&self) -> bool {
        asn1::flag_bits(&self.token.flags) & (flag::COLLECT_PIN | flag::SEPARATE_PIN) != 0
    }

    /// How many characters a code has, if that is known.
    pub fn length(&self) -> Option<usize> {
        self.token.otp_length.and_then(|length| usize::try_from(length).ok())
    }

    /// The value of the PA-OTP-REQUEST. The reply is encrypted with the armor key then.
    pub fn answer(&self, code: &str, pin: Option<&str>, armor: &Key, entropy: &mut dyn Entropy) -> Zeroizing<Vec<u8>> {
        let inner = asn1::encode(&PaOtpEncRequest { nonce: self.nonce.clone().into() });
        let separate = asn1::flag_bits(&self.token.flags) & flag::SEPARATE_PIN != 0;
        let (value, otp_pin) = match pin {
            Some(pin) if !separate => ([pin, code].concat(), None),
            _ => (code.to_owned(), pin.map(str::to_owned)),
        };
        let request = PaOtpRequest {
            flags: asn1::flags(0),
            nonce: None,
            enc_data: seal(armor, usage::PA_OTP_REQUEST, &inner, entropy),
            hash_alg: None,
            iteration_count: None,
            otp_value: Some(value.into_bytes().into()),
            otp_pin,
            otp_challenge: None,
            otp_time: None,
            otp_counter: None,
            otp_format: self.token.otp_format,
            otp_token_id: self.token.otp_token_id.clone(),
            otp_alg_id: self.token.otp_alg_id.clone(),
            otp_vendor: self.token.otp_vendor.clone(),
        };
        Zeroizing::new(asn1::encode(&request))
    }
}

/// A token whose codes are just sent.
fn is_known(token: &OtpTokenInfo) -> bool {
    let strange = flag::NEXT_OTP | flag::COMBINE | flag::MUST_ENCRYPT_NONCE;
    asn1::flag_bits(&token.flags) & strange == 0 && token.otp_challenge.is_none() && token.supported_hash_alg.is_none()
}
