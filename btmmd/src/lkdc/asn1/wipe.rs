//! Octets of a message that nobody may find in memory afterwards: passwords and codes.

use bytes::Bytes;
use rasn::types::OctetString;
use rasn_kerberos::PaData;
use zeroize::Zeroize;

/// Empties `octets` and overwrites what they were, unless somebody else still holds the same.
pub fn wipe(octets: &mut OctetString) {
    if let Ok(mut owned) = Bytes::from(std::mem::take(octets)).try_into_mut() {
        owned.as_mut().zeroize();
    }
}

/// The same for all values of `padata`. A one-time code comes with a password, and only armor keeps them secret.
pub fn wipe_padata(padata: &mut [PaData]) {
    padata.iter_mut().for_each(|padata| wipe(&mut padata.value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_overwritten_where_nobody_else_holds_them() {
        // What `wipe` relies on: a value of its own can be written to, however it came, and one that is shared cannot.
        for octets in [OctetString::from(b"secret".to_vec()), OctetString::from_slice(b"secret")] {
            assert!(Bytes::from(octets).try_into_mut().is_ok());
        }
        let mut octets = OctetString::from(b"secret".to_vec());
        let shared = octets.clone();
        wipe(&mut octets);
        assert!(octets.is_empty() && *shared == *b"secret");
    }

    #[test]
    fn every_value_of_padata_is_overwritten() {
        let mut padata = [1, 2].map(|number| PaData { r#type: number, value: b"secret".to_vec().into() });
        wipe_padata(&mut padata);
        assert!(padata.iter().all(|padata| padata.value.is_empty()));
    }
}
