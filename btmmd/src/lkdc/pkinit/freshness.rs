//! Freshness tokens (RFC 8070): proof that a signed request was made just now, not long ago by a borrowed key.
//!
//! The KDC keeps nothing for them: a token is the time and a MAC over it, made with a key that lives as long as the KDC's process.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use crate::entropy::Entropy;

/// How long a token may be used: as long as RFC 4120 lets clocks differ, and a person at a prompt think.
pub const TOKEN_LIFE: Duration = Duration::from_secs(300);

const CONTEXT: &[u8] = b"btmm pkinit freshness 1";
const TIME: usize = 8;

/// The key that makes tokens.
pub struct FreshnessKey(hmac::Key);

impl fmt::Debug for FreshnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshnessKey(..)")
    }
}

impl FreshnessKey {
    /// A new key.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(secret.as_mut());
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()))
    }

    /// A token for a client that asks for one at `now`: the value of PA_AS_FRESHNESS (150).
    pub fn token(&self, now: SystemTime) -> Vec<u8> {
        let time = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_be_bytes();
        let mac = hmac::sign(&self.0, &[CONTEXT, &time].concat());
        [&time, mac.as_ref()].concat()
    }

    /// Whether `token` was made here within [`TOKEN_LIFE`] before `now`.
    pub fn is_fresh(&self, token: &[u8], now: SystemTime) -> bool {
        let Some((time, mac)) = token.split_first_chunk::<TIME>() else { return false };
        if hmac::verify(&self.0, &[CONTEXT, time].concat(), mac).is_err() {
            return false;
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Our own clock made the token: one from the future means that it was set back since.
        now.checked_sub(u64::from_be_bytes(*time)).is_some_and(|age| age <= TOKEN_LIFE.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_token_is_fresh_for_its_life_and_not_before_it_was_made() {
        let key = FreshnessKey::new(&mut SystemEntropy);
        let token = key.token(at(0));
        assert!(key.is_fresh(&token, at(0)) && key.is_fresh(&token, at(300)));
        assert!(!key.is_fresh(&token, at(301)));
        assert!(!FreshnessKey::new(&mut SystemEntropy).is_fresh(&token, at(0)));
        assert!(!key.is_fresh(&key.token(at(1)), at(0)));
    }

    #[test]
    fn a_token_that_somebody_else_made_or_bent_is_not_fresh() {
        let key = FreshnessKey::new(&mut SystemEntropy);
        let token = key.token(at(0));
        for place in 0..token.len() {
            let mut bent = token.clone();
            bent[place] ^= 1;
            assert!(!key.is_fresh(&bent, at(0)), "octet {place}");
            assert!(!key.is_fresh(&token[..place], at(0)), "length {place}");
        }
    }
}
