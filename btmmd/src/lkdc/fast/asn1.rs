//! The messages of RFC 6113, appendix A.

use rasn::prelude::*;
use rasn_kerberos::{
    Checksum, EncryptedData, EncryptionKey, KdcReqBody, KerberosFlags, KerberosTime, Microseconds, PaData, PrincipalName, Realm,
};

/// What the armor key is made of, when the request does not give it otherwise.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastArmor {
    /// [`super::ARMOR_AP_REQUEST`].
    #[rasn(tag(explicit(0)))]
    pub armor_type: i32,
    /// An AP-REQ.
    #[rasn(tag(explicit(1)))]
    pub armor_value: OctetString,
}

/// PA-FX-FAST of a request.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(choice)]
#[non_exhaustive]
pub enum PaFxFastRequest {
    /// The only kind there is.
    #[rasn(tag(explicit(0)))]
    Armored(KrbFastArmoredReq),
}

/// An armored request.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastArmoredReq {
    /// Where the armor key comes from; absent in a TGS-REQ.
    #[rasn(tag(explicit(0)))]
    pub armor: Option<KrbFastArmor>,
    /// Over the outer KDC-REQ-BODY (AS) or the AP-REQ (TGS), with the armor key.
    #[rasn(tag(explicit(1)))]
    pub req_checksum: Checksum,
    /// [`KrbFastReq`].
    #[rasn(tag(explicit(2)))]
    pub enc_fast_req: EncryptedData,
}

/// What an armored request says.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastReq {
    /// [`super::FastOptions`].
    #[rasn(tag(explicit(0)))]
    pub fast_options: KerberosFlags,
    /// Replaces the outer padata.
    #[rasn(tag(explicit(1)))]
    pub padata: SequenceOf<PaData>,
    /// Replaces the outer body.
    #[rasn(tag(explicit(2)))]
    pub req_body: KdcReqBody,
}

/// PA-FX-FAST of a reply, and of an error's METHOD-DATA.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(choice)]
#[non_exhaustive]
pub enum PaFxFastReply {
    /// The only kind there is.
    #[rasn(tag(explicit(0)))]
    Armored(KrbFastArmoredRep),
}

/// An armored reply.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastArmoredRep {
    /// [`KrbFastResponse`].
    #[rasn(tag(explicit(0)))]
    pub enc_fast_rep: EncryptedData,
}

/// What an armored reply says.
#[derive(AsnType, Clone, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastResponse {
    /// Replaces the outer padata.
    #[rasn(tag(explicit(0)))]
    pub padata: SequenceOf<PaData>,
    /// Mixed into the reply key.
    #[rasn(tag(explicit(1)))]
    pub strengthen_key: Option<EncryptionKey>,
    /// Present when this is the end of the conversation: with a ticket.
    #[rasn(tag(explicit(2)))]
    pub finished: Option<KrbFastFinished>,
    /// The request's.
    #[rasn(tag(explicit(3)))]
    pub nonce: u32,
}

/// Who the ticket is for, and that it is this ticket.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[non_exhaustive]
pub struct KrbFastFinished {
    /// The KDC's clock.
    #[rasn(tag(explicit(0)))]
    pub timestamp: KerberosTime,
    /// And its microseconds.
    #[rasn(tag(explicit(1)))]
    pub usec: Microseconds,
    /// The client's realm, also when the outer reply hides it.
    #[rasn(tag(explicit(2)))]
    pub crealm: Realm,
    /// The client.
    #[rasn(tag(explicit(3)))]
    pub cname: PrincipalName,
    /// Over the encoded ticket, with the armor key.
    #[rasn(tag(explicit(4)))]
    pub ticket_checksum: Checksum,
}
