//! The messages of RFC 9588, appendix A.

use rasn::prelude::*;
use rasn_kerberos::EncryptedData;

/// PA-SPAKE.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(choice)]
#[non_exhaustive]
pub enum PaSpake {
    /// The client's first: what it speaks.
    #[rasn(tag(explicit(0)))]
    Support(SpakeSupport),
    /// The KDC's: its public value.
    #[rasn(tag(explicit(1)))]
    Challenge(SpakeChallenge),
    /// The client's second: its public value, and proof that it has the same key.
    #[rasn(tag(explicit(2)))]
    Response(SpakeResponse),
    /// Further messages of a second factor.
    #[rasn(tag(explicit(3)))]
    EncData(EncryptedData),
}

/// What the client speaks.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpakeSupport {
    /// Groups by number, the best first.
    #[rasn(tag(explicit(0)))]
    pub groups: SequenceOf<i32>,
}

/// The KDC's public value.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpakeChallenge {
    /// The group by number.
    #[rasn(tag(explicit(0)))]
    pub group: i32,
    /// The value.
    #[rasn(tag(explicit(1)))]
    pub pubkey: OctetString,
    /// The second factors of which one is needed.
    #[rasn(tag(explicit(2)))]
    pub factors: SequenceOf<SpakeSecondFactor>,
}

/// A second factor.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpakeSecondFactor {
    /// [`super::SF_NONE`].
    #[rasn(tag(explicit(0)))]
    pub r#type: i32,
    /// What it says.
    #[rasn(tag(explicit(1)))]
    pub data: Option<OctetString>,
}

/// The client's public value.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpakeResponse {
    /// The value.
    #[rasn(tag(explicit(0)))]
    pub pubkey: OctetString,
    /// [`SpakeSecondFactor`], with K'\[1\].
    #[rasn(tag(explicit(1)))]
    pub factor: EncryptedData,
}
