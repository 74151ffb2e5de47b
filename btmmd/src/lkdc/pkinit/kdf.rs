//! Key derivations as PKINIT names them (RFC 8636 §6), and the names of those between whom a key is derived.

use super::der;
use super::oid::Oid;
use crate::lkdc::crypto::pkinit_key::{KdfContext, PkinitKdf};
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::{ANONYMOUS_REALM, Principal};

/// 1.3.6.1.5.2.3.6.x.
pub(crate) fn oid(kdf: PkinitKdf) -> Oid {
    match kdf {
        PkinitKdf::Sha1 => &[0x2b, 6, 1, 5, 2, 3, 6, 1],
        PkinitKdf::Sha256 => &[0x2b, 6, 1, 5, 2, 3, 6, 2],
        PkinitKdf::Sha512 => &[0x2b, 6, 1, 5, 2, 3, 6, 3],
        PkinitKdf::Sha384 => &[0x2b, 6, 1, 5, 2, 3, 6, 4],
    }
}

/// The one we like best among those on offer.
pub(crate) fn choose(offered: &[&[u8]]) -> Option<PkinitKdf> {
    PkinitKdf::ALL.into_iter().find(|kdf| offered.contains(&oid(*kdf)))
}

/// Between whom a key is agreed on, and in which messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) realm: &'a str,
    pub(crate) client: &'a Principal,
    pub(crate) server: &'a Principal,
    /// The whole AS-REQ.
    pub(crate) as_req: &'a [u8],
    /// The value of PA-PK-AS-REP.
    pub(crate) pk_as_rep: &'a [u8],
}

impl Exchange<'_> {
    /// The reply key.
    pub(crate) fn reply_key(&self, kdf: PkinitKdf, secret: &[u8], etype: Etype) -> Key {
        let client_realm = if self.client.is_anonymous() { ANONYMOUS_REALM } else { self.realm };
        let context = KdfContext {
            client: &principal_name(client_realm, self.client),
            service: &principal_name(self.realm, self.server),
            as_req: self.as_req,
            pk_as_rep: self.pk_as_rep,
        };
        kdf.derive(secret, etype, &context)
    }
}

/// KRB5PrincipalName (RFC 4556 §3.2.2).
pub(crate) fn principal_name(realm: &str, principal: &Principal) -> Vec<u8> {
    let components: Vec<u8> =
        principal.components.iter().flat_map(|component| der::value(der::GENERAL_STRING, &[component.as_bytes()])).collect();
    let name_type = der::value(der::INTEGER, &[&signed(principal.name_type)]);
    let name = der::sequence(&[&der::explicit(0, &name_type), &der::explicit(1, &der::sequence(&[&components]))]);
    der::sequence(&[&der::explicit(0, &der::value(der::GENERAL_STRING, &[realm.as_bytes()])), &der::explicit(1, &name)])
}

/// The fewest octets of two's complement.
fn signed(number: i32) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let spare = octets
        .windows(2)
        .take_while(|pair| matches!(pair, [0, next] if next & 0x80 == 0) || matches!(pair, [0xff, next] if next & 0x80 != 0))
        .count();
    octets.into_iter().skip(spare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_keys_agree_with_rfc_8636_section_8() {
        let client = Principal::user("lha");
        // The vectors take both names for NT-PRINCIPAL.
        let server = Principal { name_type: 1, components: smallvec::smallvec!["krbtgt".into(), "SU.SE".into()] };
        let exchange = Exchange { realm: "SU.SE", client: &client, server: &server, as_req: &[0xaa; 10], pk_as_rep: &[0xbb; 9] };
        for (kdf, expected) in [
            (PkinitKdf::Sha1, "e6ab38c9413e035bb079201ed0b6b73d8d49a814a737c04ee6649614206f73ad"),
            (PkinitKdf::Sha256, "77ef4e48c420ae3fec75109d7981697eed5d295c90c62564f7bfd101fa9bc1d5"),
        ] {
            let key = exchange.reply_key(kdf, &[0; 256], Etype::Aes256CtsHmacSha1_96);
            assert_eq!(data_encoding::HEXLOWER.encode(key.bytes()), expected);
        }
    }

    #[test]
    fn the_best_derivation_on_offer_is_chosen() {
        let mit = [PkinitKdf::Sha256, PkinitKdf::Sha1, PkinitKdf::Sha512].map(oid);
        assert_eq!(choose(&mit), Some(PkinitKdf::Sha256));
        assert_eq!(choose(&[oid(PkinitKdf::Sha1), oid(PkinitKdf::Sha512)]), Some(PkinitKdf::Sha512));
        assert_eq!(choose(&[b"other"]), None);
    }

    #[test]
    fn numbers_take_as_few_octets_as_they_can() {
        for (number, octets) in
            [(0, vec![0]), (1, vec![1]), (128, vec![0, 128]), (-1, vec![0xff]), (-128, vec![0x80]), (-129, vec![0xff, 0x7f])]
        {
            assert_eq!(signed(number), octets, "{number}");
        }
    }
}
