//! KRB-ERROR (RFC 4120 §5.9.1): why a KDC says no.

use std::fmt;
use std::time::SystemTime;

use rasn_kerberos::{KrbError, MethodData, PaData};

use super::reply::{KRB_ERROR, ReplyError};
use crate::lkdc::asn1::{self, Asn1Error};
use crate::lkdc::kdc::demand;
use crate::lkdc::kdc::error::ErrorCode;
use crate::lkdc::principals::Strength;

/// A KDC's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code of RFC 4120 §7.5.9 and its successors.
    pub code: i32,
    /// What the KDC says of it.
    pub text: Option<String>,
    /// The KDC's clock.
    pub kdc_time: SystemTime,
    /// The client's realm, where the KDC names another (WRONG_REALM).
    pub client_realm: Option<String>,
    /// Typed or method data.
    pub data: Option<Vec<u8>>,
}

impl Refusal {
    /// Reads a KRB-ERROR.
    pub fn read(bytes: &[u8]) -> Result<Self, ReplyError> {
        if asn1::raw::tag(bytes) != Some(KRB_ERROR) {
            return Err(ReplyError::Kind(asn1::raw::tag(bytes).unwrap_or(0)));
        }
        Ok(Self::of_message(&Self::message(bytes)?)?)
    }

    /// The KRB-ERROR itself.
    pub(super) fn message(bytes: &[u8]) -> Result<KrbError, ReplyError> {
        Ok(asn1::decode(bytes)?)
    }

    /// What the message says.
    pub fn of_message(error: &KrbError) -> Result<Self, Asn1Error> {
        let text = |string: &_| asn1::text(string).map(one_line);
        Ok(Self {
            code: error.error_code,
            text: error.e_text.as_ref().map(text).transpose()?.filter(|text| !text.is_empty()),
            kdc_time: asn1::time::joined(&error.stime, &error.susec),
            client_realm: error.crealm.as_ref().map(asn1::text).transpose()?.map(str::to_owned),
            data: error.e_data.as_ref().map(|data| data.to_vec()),
        })
    }

    /// The method data that comes with requests for pre-authentication.
    pub fn methods(&self) -> Result<Vec<PaData>, ReplyError> {
        match &self.data {
            None => Ok(Vec::new()),
            Some(data) => Ok(asn1::decode::<MethodData>(data)?),
        }
    }

    /// What the service asks for that the ticket has not, where that is why it is refused. Empty otherwise.
    pub fn demands(&self) -> Vec<Strength> {
        let data = self.data.as_deref().filter(|_| ErrorCode(self.code) == ErrorCode::KDC_ERR_POLICY);
        data.map(demand::read).unwrap_or_default()
    }

    /// Whether these octets are the KDC's word that its answer does not fit into a datagram.
    pub fn is_too_big(bytes: &[u8]) -> bool {
        asn1::raw::tag(bytes) == Some(KRB_ERROR)
            && Self::read(bytes).is_ok_and(|refusal| ErrorCode(refusal.code) == ErrorCode::KRB_ERR_RESPONSE_TOO_BIG)
    }
}

/// What came from elsewhere, made fit for a line of a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(200).collect::<String>().trim().to_owned()
}

fn meaning(code: i32) -> &'static str {
    match code {
        1 => "this client's entry has expired",
        2 => "this service's entry has expired",
        6 => "it does not know this client",
        7 => "it does not know this service",
        9 => "the client or the service has no key",
        12 => "its policy says no",
        13 => "it cannot grant what was asked",
        14 => "no encryption type in common",
        18 => "this client has been shut out",
        23 => "the password has expired",
        24 => "what was given to prove who asks is wrong",
        25 => "it wants proof of who asks",
        31 => "the request was altered, or the ticket is not for this realm",
        32 => "the ticket has expired",
        33 => "the ticket is not valid yet",
        34 => "the request was repeated",
        37 => "the clocks differ too much",
        40 => "wrong kind of message",
        41 => "the request was altered",
        50 => "the checksum in the request is of an inappropriate type",
        52 => "its answer does not fit into a datagram",
        60 => "it failed",
        62 => "it does not trust this machine's certificate",
        63 => "it wants another key of its own named",
        64 => "the signature is wrong",
        65 => "it accepts none of the Diffie-Hellman groups",
        68 => "the client belongs to another realm",
        70 => "it cannot verify this machine's certificate",
        71 => "this machine's certificate is invalid",
        72 => "this machine's certificate is revoked",
        75 => "the certificate is not for this client",
        77 => "the certificate is not for logging in",
        90 => "the proof of who asks came too late",
        91 => "it wants more proof of who asks",
        93 => "it does not know an option that it would have to",
        96 => "the PIN has expired",
        100 => "no key derivation in common",
        _ => "it gives an error",
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Kerberos error {}", meaning(self.code), self.code)?;
        match &self.text {
            Some(text) => write!(f, ": {text})"),
            None => f.write_str(")"),
        }
    }
}
