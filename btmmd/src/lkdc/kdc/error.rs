//! Why a request was not answered with a ticket, in the numbers of RFC 4120 §7.5.9 and its successors.

use std::borrow::Cow;
use std::fmt;

use rasn_kerberos::PaData;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal,)*) => {
        /// The number in a KRB-ERROR.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct ErrorCode(pub i32);

        impl ErrorCode {
            $($(#[doc = $doc])* pub const $name: Self = Self($number);)*

            /// The registry's name.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Not version 5.
    KDC_ERR_BAD_PVNO = 3,
    /// Client not found.
    KDC_ERR_C_PRINCIPAL_UNKNOWN = 6,
    /// Service not found.
    KDC_ERR_S_PRINCIPAL_UNKNOWN = 7,
    /// The client has no key that could be used.
    KDC_ERR_NULL_KEY = 9,
    /// Postdated tickets are not given.
    KDC_ERR_CANNOT_POSTDATE = 10,
    /// The end is before the start.
    KDC_ERR_NEVER_VALID = 11,
    /// Policy says no.
    KDC_ERR_POLICY = 12,
    /// An option that cannot be granted.
    KDC_ERR_BADOPTION = 13,
    /// No common encryption type.
    KDC_ERR_ETYPE_NOSUPP = 14,
    /// A checksum type we do not speak.
    KDC_ERR_SUMTYPE_NOSUPP = 15,
    /// A kind of pre-authentication we do not speak.
    KDC_ERR_PADATA_TYPE_NOSUPP = 16,
    /// The client has been disabled.
    KDC_ERR_CLIENT_REVOKED = 18,
    /// The service has been disabled.
    KDC_ERR_SERVICE_REVOKED = 19,
    /// The ticket's owner has been disabled since.
    KDC_ERR_TGT_REVOKED = 20,
    /// The client's key is too old.
    KDC_ERR_KEY_EXPIRED = 23,
    /// The proof is wrong.
    KDC_ERR_PREAUTH_FAILED = 24,
    /// A proof is needed.
    KDC_ERR_PREAUTH_REQUIRED = 25,
    /// The ticket to renew is for another service.
    KDC_ERR_SERVER_NOMATCH = 26,
    /// Only tickets in a session key are given for users.
    KDC_ERR_MUST_USE_USER2USER = 27,
    /// The ticket or authenticator cannot be decrypted.
    KRB_AP_ERR_BAD_INTEGRITY = 31,
    /// The ticket has expired.
    KRB_AP_ERR_TKT_EXPIRED = 32,
    /// The ticket is not valid yet.
    KRB_AP_ERR_TKT_NYV = 33,
    /// The same proof was used before.
    KRB_AP_ERR_REPEAT = 34,
    /// The ticket is not for us.
    KRB_AP_ERR_NOT_US = 35,
    /// Ticket and authenticator name different clients.
    KRB_AP_ERR_BADMATCH = 36,
    /// The clocks differ too much.
    KRB_AP_ERR_SKEW = 37,
    /// Sent from an address that the ticket does not list.
    KRB_AP_ERR_BADADDR = 38,
    /// A message of another kind.
    KRB_AP_ERR_MSG_TYPE = 40,
    /// The checksum does not cover what was sent.
    KRB_AP_ERR_MODIFIED = 41,
    /// The ticket's key version is gone.
    KRB_AP_ERR_BADKEYVER = 44,
    /// A checksum of an unsuitable kind.
    KRB_AP_ERR_INAPP_CKSUM = 50,
    /// The reply does not fit into a datagram.
    KRB_ERR_RESPONSE_TOO_BIG = 52,
    /// Anything else.
    KRB_ERR_GENERIC = 60,
    /// A field or message longer than we take.
    KRB_ERR_FIELD_TOOLONG = 61,
    /// The client's certificate does not chain to the account (RFC 4556).
    KDC_ERR_CLIENT_NOT_TRUSTED = 62,
    /// The signature is wrong.
    KDC_ERR_INVALID_SIG = 64,
    /// The Diffie-Hellman parameters are refused.
    KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED = 65,
    /// The client is of another realm (RFC 6806).
    KDC_ERR_WRONG_REALM = 68,
    /// The chain does not end at a trusted certificate.
    KDC_ERR_CANT_VERIFY_CERTIFICATE = 70,
    /// The certificate is not valid.
    KDC_ERR_INVALID_CERTIFICATE = 71,
    /// The certificate has been revoked.
    KDC_ERR_REVOKED_CERTIFICATE = 72,
    /// It cannot be told whether the certificate has been revoked.
    KDC_ERR_REVOCATION_STATUS_UNKNOWN = 73,
    /// The certificate is of another client.
    KDC_ERR_CLIENT_NAME_MISMATCH = 75,
    /// The certificate is for another purpose.
    KDC_ERR_INCONSISTENT_KEY_PURPOSE = 77,
    /// The certificate's digest is not accepted.
    KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED = 78,
    /// The request's checksum is missing.
    KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED = 79,
    /// The signature's digest is not accepted.
    KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED = 80,
    /// A way to deliver the key that is not supported.
    KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED = 81,
    /// The exchange has taken too long, or the token is stale (RFC 6113, 8070).
    KDC_ERR_PREAUTH_EXPIRED = 90,
    /// Another round is needed (RFC 6113).
    KDC_ERR_MORE_PREAUTH_DATA_REQUIRED = 91,
    /// An authentication set that is not known.
    KDC_ERR_PREAUTH_BAD_AUTHENTICATION_SET = 92,
    /// A critical FAST option that is not known.
    KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS = 93,
    /// No common key derivation (RFC 8636).
    KDC_ERR_NO_ACCEPTABLE_KDF = 100,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// What goes into `e-data`.
#[derive(Clone, Debug, Default)]
pub enum EData {
    /// Nothing.
    #[default]
    None,
    /// METHOD-DATA: what the client should prove, and how.
    Methods(Vec<PaData>),
    /// TYPED-DATA, encoded (RFC 4556 §3.2.2).
    Typed(Vec<u8>),
}

/// A request refused, or sent back for more.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The number that the client is told.
    pub code: ErrorCode,
    /// Why, for the audit log and, unless `told` says otherwise, `e-text`. Names what was wrong, never a secret.
    pub reason: Cow<'static, str>,
    /// What the client is told in its place, where the reason would help who guesses.
    pub told: Option<&'static str>,
    /// What lets the client do better.
    pub data: EData,
}

impl Refusal {
    /// A refusal without data.
    pub fn new(code: ErrorCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), told: None, data: EData::None }
    }

    /// The same, with the reason for the audit log alone.
    pub fn telling(self, told: &'static str) -> Self {
        Self { told: Some(told), ..self }
    }

    /// The `e-text`.
    pub fn text(&self) -> &str {
        self.told.unwrap_or(&self.reason)
    }

    /// The same with METHOD-DATA.
    pub fn with_methods(self, methods: Vec<PaData>) -> Self {
        Self { data: EData::Methods(methods), ..self }
    }

    /// The same with TYPED-DATA.
    pub fn with_typed_data(self, typed: Vec<u8>) -> Self {
        Self { data: EData::Typed(typed), ..self }
    }

    /// Whether this is only the next step of an exchange that goes well.
    pub fn is_step(&self) -> bool {
        matches!(self.code, ErrorCode::KDC_ERR_PREAUTH_REQUIRED | ErrorCode::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}
