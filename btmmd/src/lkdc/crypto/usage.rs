//! Key usage numbers: what a key is used for, mixed into every derivation.

/// PA-ENC-TIMESTAMP, with the client's key (RFC 4120 §7.5.1).
pub const PA_ENC_TIMESTAMP: u32 = 1;
/// The encrypted part of a ticket, with the service's key.
pub const TICKET: u32 = 2;
/// The encrypted part of an AS-REP, with the client's key.
pub const AS_REP: u32 = 3;
/// Authorization data in a TGS-REQ, with the session key.
pub const TGS_REQ_AUTH_DATA_SESSION: u32 = 4;
/// Authorization data in a TGS-REQ, with the authenticator's subkey.
pub const TGS_REQ_AUTH_DATA_SUBKEY: u32 = 5;
/// The checksum of a TGS-REQ's body in its authenticator, with the session key.
pub const TGS_REQ_CHECKSUM: u32 = 6;
/// The authenticator of a TGS-REQ, with the session key.
pub const TGS_REQ_AUTHENTICATOR: u32 = 7;
/// The encrypted part of a TGS-REP, with the session key.
pub const TGS_REP_SESSION: u32 = 8;
/// The encrypted part of a TGS-REP, with the authenticator's subkey.
pub const TGS_REP_SUBKEY: u32 = 9;
/// The checksum in an AP-REQ's authenticator, with the session key.
pub const AP_REQ_CHECKSUM: u32 = 10;
/// The authenticator of an AP-REQ, with the session key.
pub const AP_REQ_AUTHENTICATOR: u32 = 11;
/// The encrypted part of an AP-REP.
pub const AP_REP: u32 = 12;
/// The encrypted part of a KRB-PRIV.
pub const KRB_PRIV: u32 = 13;
/// The encrypted part of a KRB-CRED.
pub const KRB_CRED: u32 = 14;
/// The checksum of a KRB-SAFE.
pub const KRB_SAFE: u32 = 15;
/// AD-KDC-ISSUED's checksum.
pub const AD_KDC_ISSUED: u32 = 19;
/// The pre-authentication checksum of a request in PA-REQ-ENC-PA-REP (RFC 6806 §11).
pub const AS_REQ: u32 = 56;
/// OTP data of RFC 6560 in its requests.
pub const PA_OTP_REQUEST: u32 = 45;
/// PA-PKINIT-KX of anonymous PKINIT (RFC 8062 §4.1).
pub const PA_PKINIT_KX: u32 = 44;
/// The checksum in KrbFastArmoredReq (RFC 6113 §5.4.2).
pub const FAST_REQ_CHECKSUM: u32 = 50;
/// The encrypted KrbFastReq.
pub const FAST_ENC: u32 = 51;
/// The encrypted KrbFastResponse.
pub const FAST_REP: u32 = 52;
/// KrbFastFinished's checksum over the ticket.
pub const FAST_FINISHED: u32 = 53;
/// The client's half of the encrypted challenge (RFC 6113 §5.4.6).
pub const ENC_CHALLENGE_CLIENT: u32 = 54;
/// The KDC's half of the encrypted challenge.
pub const ENC_CHALLENGE_KDC: u32 = 55;
/// AD-CAMMAC's verifiers (RFC 7751 §4).
pub const CAMMAC: u32 = 64;
/// SPAKE factors and cookie (RFC 9588 §7).
pub const SPAKE: u32 = 65;
