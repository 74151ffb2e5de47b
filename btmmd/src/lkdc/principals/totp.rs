//! Secrets of one-time codes (RFC 6238), and the line with which an authenticator learns one.

use std::fmt;

use zeroize::Zeroizing;

use crate::entropy::Entropy;

/// Octets of a secret made here: as many as HMAC-SHA-1 gives (RFC 4226 §4, R6).
const LENGTH: usize = 20;

/// The secret that a user's authenticator and the KDC share. Codes are HMAC-SHA-1 over steps of 30 s, as every authenticator knows them.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret {
    secret: Zeroizing<Vec<u8>>,
}

impl TotpSecret {
    /// Digits of a code.
    pub const DIGITS: u32 = 6;
    /// Seconds of a step.
    pub const PERIOD: u64 = 30;

    /// A new one.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut secret = Zeroizing::new(vec![0; LENGTH]);
        entropy.fill(&mut secret);
        Self { secret }
    }

    /// A known one.
    pub fn from_bytes(secret: &[u8]) -> Self {
        Self { secret: Zeroizing::new(secret.to_vec()) }
    }

    /// The octets.
    pub fn bytes(&self) -> &[u8] {
        &self.secret
    }

    /// What is typed or shown as a QR code to an authenticator: an `otpauth` URI, which holds the secret.
    pub fn uri(&self, user: &str, machine: &str) -> Zeroizing<String> {
        let secret = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&self.secret));
        let (user, machine) = (escaped(user), escaped(machine));
        let (digits, period) = (Self::DIGITS, Self::PERIOD);
        Zeroizing::new(format!(
            "otpauth://totp/{machine}:{user}?secret={}&issuer={machine}&algorithm=SHA1&digits={digits}&period={period}",
            *secret
        ))
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

/// The text with everything but unreserved characters (RFC 3986 §2.3) as percent and hex.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
