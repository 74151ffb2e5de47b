//! COOKIE (RFC 7296 §2.6): a peer proves that it can be reached before it costs us anything.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::crypto::prf::prf;
use crate::entropy::Entropy;

/// The secret of this period and of the one before.
#[derive(Default)]
pub(super) struct CookieJar {
    current: Option<Secret>,
    previous: Option<Secret>,
}

struct Secret {
    key: Zeroizing<[u8; 32]>,
    made: Instant,
}

impl CookieJar {
    /// The cookie for this initiator.
    pub fn bake(
        &mut self,
        nonce: &[u8],
        address: IpAddr,
        spi_i: u64,
        rotation: Duration,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Vec<u8> {
        if self.current.as_ref().is_none_or(|secret| now.saturating_duration_since(secret.made) >= rotation) {
            let mut key = Zeroizing::new([0; 32]);
            entropy.fill(key.as_mut_slice());
            self.previous = self.current.replace(Secret { key, made: now });
        }
        self.current.as_ref().map(|secret| cookie(secret, nonce, address, spi_i)).unwrap_or_default()
    }

    /// Whether this cookie was made here, for this initiator, in this period or the one before.
    pub fn accepts(&self, offered: &[u8], nonce: &[u8], address: IpAddr, spi_i: u64, rotation: Duration, now: Instant) -> bool {
        [&self.current, &self.previous].into_iter().flatten().any(|secret| {
            now.saturating_duration_since(secret.made) < 2 * rotation
                && aws_lc_rs::constant_time::verify_slices_are_equal(&cookie(secret, nonce, address, spi_i), offered).is_ok()
        })
    }
}

fn cookie(secret: &Secret, nonce: &[u8], address: IpAddr, spi_i: u64) -> Vec<u8> {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    prf(secret.key.as_slice(), &[&spi_i.to_be_bytes(), &address.octets(), nonce]).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_cookie_serves_its_maker_for_two_periods_and_nobody_else() {
        let (mut jar, start, rotation) = (CookieJar::default(), Instant::now(), Duration::from_secs(60));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let cookie = jar.bake(b"nonce", address, 7, rotation, &mut SystemEntropy, start);
        let later = start + Duration::from_secs(61);
        jar.bake(b"other", address, 8, rotation, &mut SystemEntropy, later);
        assert!(jar.accepts(&cookie, b"nonce", address, 7, rotation, later));
        assert!(!jar.accepts(&cookie, b"nonce", address, 8, rotation, later));
        assert!(!jar.accepts(&cookie, b"n0nce", address, 7, rotation, later));
        assert!(!jar.accepts(&cookie, b"nonce", "192.0.2.2".parse().unwrap(), 7, rotation, later));
        assert!(!jar.accepts(&cookie, b"nonce", address, 7, rotation, start + Duration::from_secs(121)));
        assert!(!CookieJar::default().accepts(&[], b"nonce", address, 7, rotation, start));
    }
}
