//! The key with which one machine signs its DNS messages to the base (RFC 8945, HMAC-SHA-256).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{KeyError, random};
use super::octets;

/// A TSIG key: its name is the machine's fully qualified name. The secret is wiped when dropped and never printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct TsigKey {
    name: String,
    #[serde(with = "octets::secret")]
    secret: Zeroizing<[u8; 32]>,
}

impl TsigKey {
    /// A new random key for the machine `fqdn`.
    pub fn generate(fqdn: String) -> Result<Self, KeyError> {
        Ok(Self { name: fqdn, secret: Zeroizing::new(random()?) })
    }

    /// The key's name on the wire: the machine's fully qualified name, no trailing dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The HMAC-SHA-256 secret.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_json_and_hides_from_debug() {
        let key = TsigKey::generate("imac.alice.btmm.internal".into()).unwrap();
        let again: TsigKey = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!(again.name(), key.name());
        assert_eq!(again.secret(), key.secret());
        assert_eq!(format!("{key:?}"), "TsigKey { name: \"imac.alice.btmm.internal\", .. }");
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(serde_json::from_str::<TsigKey>(r#"{"name":"a.b","secret":"AAAA"}"#).is_err());
    }
}
