//! The messages of RFC 6560 §4, with implicit tags. What no token of ours needs is read and left alone.

use rasn::prelude::*;
use rasn_kerberos::{EncryptedData, KerberosFlags, KerberosString, KerberosTime};
use zeroize::Zeroize;

use crate::lkdc::asn1::wipe;

/// PA-OTP-CHALLENGE: what the KDC asks.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaOtpChallenge {
    /// Comes back encrypted.
    #[rasn(tag(0))]
    pub nonce: OctetString,
    /// For people: who asks.
    #[rasn(tag(1))]
    pub otp_service: Option<Utf8String>,
    /// The tokens that would do.
    #[rasn(tag(2))]
    pub otp_token_info: SequenceOf<OtpTokenInfo>,
    /// Of the PIN, where keys are made of it.
    #[rasn(tag(3))]
    pub salt: Option<KerberosString>,
    /// Of the PIN, where keys are made of it.
    #[rasn(tag(4))]
    pub s2kparams: Option<OctetString>,
}

/// One token.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtpTokenInfo {
    /// See [`super::flag`].
    #[rasn(tag(0))]
    pub flags: KerberosFlags,
    /// For people: whose token.
    #[rasn(tag(1))]
    pub otp_vendor: Option<Utf8String>,
    /// To be typed into the token.
    #[rasn(tag(2))]
    pub otp_challenge: Option<OctetString>,
    /// Characters of a code.
    #[rasn(tag(3))]
    pub otp_length: Option<i32>,
    /// See [`super::FORMAT_DECIMAL`].
    #[rasn(tag(4))]
    pub otp_format: Option<i32>,
    /// Which of the user's tokens.
    #[rasn(tag(5))]
    pub otp_token_id: Option<OctetString>,
    /// How codes are made.
    #[rasn(tag(6))]
    pub otp_alg_id: Option<Utf8String>,
    /// Hashes for keys made of codes.
    #[rasn(tag(7))]
    pub supported_hash_alg: Option<SequenceOf<AlgorithmIdentifier>>,
    /// Rounds for keys made of codes.
    #[rasn(tag(8))]
    pub iteration_count: Option<i32>,
}

/// An algorithm by number (RFC 5280 §4.1.1.2).
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
pub struct AlgorithmIdentifier {
    /// Its number.
    pub algorithm: ObjectIdentifier,
    /// What it needs to know.
    pub parameters: Option<Any>,
}

/// PA-OTP-REQUEST: the code, and the password. They are overwritten when it is dropped.
#[derive(AsnType, Clone, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaOtpRequest {
    /// See [`super::flag`].
    #[rasn(tag(0))]
    pub flags: KerberosFlags,
    /// The challenge's nonce in clear: proves nothing.
    #[rasn(tag(1))]
    pub nonce: Option<OctetString>,
    /// [`PaOtpEncRequest`], with the armor key.
    #[rasn(tag(2))]
    pub enc_data: EncryptedData,
    /// The hash of keys made of codes.
    #[rasn(tag(3))]
    pub hash_alg: Option<AlgorithmIdentifier>,
    /// The rounds of keys made of codes.
    #[rasn(tag(4))]
    pub iteration_count: Option<i32>,
    /// The code.
    #[rasn(tag(5))]
    pub otp_value: Option<OctetString>,
    /// The PIN.
    #[rasn(tag(6))]
    pub otp_pin: Option<Utf8String>,
    /// What was typed into the token.
    #[rasn(tag(7))]
    pub otp_challenge: Option<OctetString>,
    /// The token's time.
    #[rasn(tag(8))]
    pub otp_time: Option<KerberosTime>,
    /// The token's counter.
    #[rasn(tag(9))]
    pub otp_counter: Option<OctetString>,
    /// As in the challenge.
    #[rasn(tag(10))]
    pub otp_format: Option<i32>,
    /// As in the challenge.
    #[rasn(tag(11))]
    pub otp_token_id: Option<OctetString>,
    /// As in the challenge.
    #[rasn(tag(12))]
    pub otp_alg_id: Option<Utf8String>,
    /// As in the challenge.
    #[rasn(tag(13))]
    pub otp_vendor: Option<Utf8String>,
}

impl Drop for PaOtpRequest {
    fn drop(&mut self) {
        self.otp_pin.zeroize();
        self.otp_value.as_mut().map(wipe);
    }
}

/// What is encrypted in a request that carries its code.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaOtpEncRequest {
    /// The challenge's.
    #[rasn(tag(0))]
    pub nonce: OctetString,
}
