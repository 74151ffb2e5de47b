//! Numbers that IANA keeps for IKEv2, by the names of the registry.
#![expect(missing_docs, reason = "each constant is the registry's own name for the number")]

/// Payload types.
pub mod payload {
    pub const SA: u8 = 33;
    pub const KE: u8 = 34;
    pub const ID_I: u8 = 35;
    pub const ID_R: u8 = 36;
    pub const CERT: u8 = 37;
    pub const CERTREQ: u8 = 38;
    pub const AUTH: u8 = 39;
    pub const NONCE: u8 = 40;
    pub const NOTIFY: u8 = 41;
    pub const DELETE: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const TS_I: u8 = 44;
    pub const TS_R: u8 = 45;
    pub const SK: u8 = 46;
    pub const SKF: u8 = 53;
}

/// Notify message types: errors below 16384, status from there on.
pub mod notify {
    pub const UNSUPPORTED_CRITICAL_PAYLOAD: u16 = 1;
    pub const INVALID_IKE_SPI: u16 = 4;
    pub const INVALID_SYNTAX: u16 = 7;
    pub const NO_PROPOSAL_CHOSEN: u16 = 14;
    pub const INVALID_KE_PAYLOAD: u16 = 17;
    pub const AUTHENTICATION_FAILED: u16 = 24;
    pub const NO_ADDITIONAL_SAS: u16 = 35;
    pub const TS_UNACCEPTABLE: u16 = 38;
    pub const TEMPORARY_FAILURE: u16 = 43;
    pub const CHILD_SA_NOT_FOUND: u16 = 44;
    /// First of the status types.
    pub const STATUS: u16 = 16384;
    pub const INITIAL_CONTACT: u16 = 16384;
    pub const NAT_DETECTION_SOURCE_IP: u16 = 16388;
    pub const NAT_DETECTION_DESTINATION_IP: u16 = 16389;
    pub const COOKIE: u16 = 16390;
    pub const USE_TRANSPORT_MODE: u16 = 16391;
    pub const REKEY_SA: u16 = 16393;
    pub const SIGNATURE_HASH_ALGORITHMS: u16 = 16431;

    /// The registry's name of an error, for people.
    pub fn name(kind: u16) -> String {
        match kind {
            UNSUPPORTED_CRITICAL_PAYLOAD => "UNSUPPORTED_CRITICAL_PAYLOAD".into(),
            INVALID_IKE_SPI => "INVALID_IKE_SPI".into(),
            INVALID_SYNTAX => "INVALID_SYNTAX".into(),
            NO_PROPOSAL_CHOSEN => "NO_PROPOSAL_CHOSEN".into(),
            INVALID_KE_PAYLOAD => "INVALID_KE_PAYLOAD".into(),
            AUTHENTICATION_FAILED => "AUTHENTICATION_FAILED".into(),
            NO_ADDITIONAL_SAS => "NO_ADDITIONAL_SAS".into(),
            TS_UNACCEPTABLE => "TS_UNACCEPTABLE".into(),
            TEMPORARY_FAILURE => "TEMPORARY_FAILURE".into(),
            CHILD_SA_NOT_FOUND => "CHILD_SA_NOT_FOUND".into(),
            other => format!("notify {other}"),
        }
    }
}

/// Security protocols.
pub mod protocol {
    pub const IKE: u8 = 1;
    pub const ESP: u8 = 3;
}

/// Transform types.
pub mod transform {
    pub const ENCR: u8 = 1;
    pub const PRF: u8 = 2;
    pub const INTEG: u8 = 3;
    pub const KE: u8 = 4;
    pub const ESN: u8 = 5;
}

/// Transform IDs that we use.
pub mod id {
    pub const ENCR_AES_GCM_16: u16 = 20;
    pub const PRF_HMAC_SHA2_256: u16 = 5;
    pub const KE_P256: u16 = 19;
    pub const KE_X25519: u16 = 31;
    pub const ESN: u16 = 1;
    pub const NONE: u16 = 0;
}

/// Transform attribute: key length in bits.
pub const ATTRIBUTE_KEY_LENGTH: u16 = 14;
/// Identification type: fully qualified domain name.
pub const ID_FQDN: u8 = 2;
/// Certificate encoding: X.509 certificate, signature.
pub const CERT_X509: u8 = 4;
/// Authentication method: digital signature (RFC 7427).
pub const AUTH_DIGITAL_SIGNATURE: u8 = 14;
/// Hash algorithms of RFC 7427 §7: SHA2-256.
pub const HASH_SHA2_256: u16 = 2;
/// Hash algorithms, RFC 8420: the identity, for Ed25519.
pub const HASH_IDENTITY: u16 = 5;
