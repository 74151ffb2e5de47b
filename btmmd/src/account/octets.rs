//! Octets in JSON: base64 text.

use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&data_encoding::BASE64.encode(octets))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| serde::de::Error::custom("not base64"))
}

/// Secrets of fixed length, whose text is wiped as well.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        secret: &Zeroizing<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(data_encoding::BASE64.encode(secret.as_slice())))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Zeroizing<[u8; N]>, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let octets = data_encoding::BASE64.decode(text.as_bytes()).map(Zeroizing::new);
        let octets = octets.map_err(|_| serde::de::Error::custom("a secret is not base64"))?;
        let refuse = |_| serde::de::Error::custom(format!("a secret does not have {N} octets"));
        octets.as_slice().try_into().map(Zeroizing::new).map_err(refuse)
    }
}
