//! What a KDC offers in METHOD-DATA (RFC 4120 §5.2.7), and how it wants passwords made into keys.

use rasn_kerberos::{EtypeInfo2, PaData};

use crate::lkdc::asn1::{self, Asn1Error};
use crate::lkdc::crypto::Etype;
use crate::lkdc::crypto::dh::DhGroup;
use crate::lkdc::kdc::preauth::pa;

/// One piece of pre-authentication data.
pub(super) fn piece(number: i32, value: Vec<u8>) -> PaData {
    PaData { r#type: number, value: value.into() }
}

/// The value of the first piece of this kind.
pub(super) fn find(padata: &[PaData], number: i32) -> Option<&[u8]> {
    padata.iter().find(|piece| piece.r#type == number).map(|piece| piece.value.as_ref())
}

/// What was offered, and what must be given back.
#[derive(Clone, Debug, Default)]
pub(super) struct Offers {
    /// Everything, by number.
    pub methods: Vec<PaData>,
    /// How to make a key of a password, the KDC's favourite first.
    pub recipes: Vec<Recipe>,
    /// To be returned as it is (RFC 6113 §5.2).
    pub cookie: Option<Vec<u8>>,
    /// The groups that the KDC named when it refused one.
    pub groups: Option<Vec<DhGroup>>,
}

impl Offers {
    /// Reads METHOD-DATA.
    pub fn read(methods: &[PaData], accepted: &[Etype]) -> Result<Self, Asn1Error> {
        let cookie = find(methods, pa::FX_COOKIE).map(<[u8]>::to_vec);
        Ok(Self { recipes: Recipe::read(methods, accepted)?, cookie, methods: methods.to_vec(), groups: None })
    }

    /// Reads the METHOD-DATA of a later round: what it does not repeat stays.
    pub fn take_more(&mut self, methods: &[PaData], accepted: &[Etype]) -> Result<(), Asn1Error> {
        let mut more = Self::read(methods, accepted)?;
        if more.recipes.is_empty() {
            more.recipes = std::mem::take(&mut self.recipes);
        }
        more.cookie = more.cookie.or(self.cookie.take());
        *self = more;
        Ok(())
    }

    /// The value of an offer.
    pub fn find(&self, number: i32) -> Option<&[u8]> {
        find(&self.methods, number)
    }

    /// The numbers of all that is offered.
    pub fn numbers(&self) -> Vec<i32> {
        self.methods.iter().map(|piece| piece.r#type).collect()
    }
}

/// How to make a key of a password (RFC 4120 §5.2.7.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    /// The encryption type.
    pub etype: Etype,
    /// The salt; nothing means realm and name.
    pub salt: Option<Vec<u8>>,
    /// Rounds; nothing means the type's usual number.
    pub iterations: Option<u32>,
}

impl Recipe {
    /// The recipes in PA-ETYPE-INFO2, of types that `accepted` has.
    pub fn read(padata: &[PaData], accepted: &[Etype]) -> Result<Vec<Self>, Asn1Error> {
        let Some(value) = find(padata, pa::ETYPE_INFO2) else { return Ok(Vec::new()) };
        let info: EtypeInfo2 = asn1::decode(value)?;
        let mut recipes = Vec::new();
        for entry in info {
            let Some(etype) = Etype::from_number(entry.etype).filter(|etype| accepted.contains(etype)) else { continue };
            let iterations = match entry.s2kparams.as_deref() {
                None => None,
                Some(octets) => Some(u32::from_be_bytes(octets.try_into().map_err(|_| Asn1Error::Value("s2kparams"))?)),
            };
            recipes.push(Self { etype, salt: entry.salt.map(|salt| salt.as_bytes().to_vec()), iterations });
        }
        Ok(recipes)
    }

    /// The recipe of a KDC that does not give one.
    pub fn usual(number: i32, accepted: &[Etype]) -> Option<Self> {
        let etype = Etype::from_number(number).filter(|etype| accepted.contains(etype))?;
        Some(Self { etype, salt: None, iterations: None })
    }
}

#[cfg(test)]
mod tests {
    use rasn_kerberos::EtypeInfo2Entry;

    use super::*;

    /// Encryption type, salt, parameters.
    type Told<'a> = (i32, Option<&'a str>, Option<&'a [u8]>);

    fn info(entries: &[Told<'_>]) -> Vec<PaData> {
        let entry = |(etype, salt, params): &Told<'_>| EtypeInfo2Entry {
            etype: *etype,
            salt: salt.map(asn1::string),
            s2kparams: params.map(|params| params.to_vec().into()),
        };
        vec![piece(pa::ETYPE_INFO2, asn1::encode(&entries.iter().map(entry).collect::<Vec<_>>()))]
    }

    #[test]
    fn recipes_keep_the_kdcs_order_and_leave_out_what_was_not_asked_for() {
        let offered = info(&[(23, None, None), (20, Some("salt"), Some(&[0, 0, 0x80, 0])), (18, None, None)]);
        let recipes = Recipe::read(&offered, &Etype::ALL).unwrap();
        let [first, second] = recipes.try_into().unwrap();
        assert_eq!(first, Recipe { etype: Etype::Aes256CtsHmacSha384_192, salt: Some(b"salt".to_vec()), iterations: Some(32768) });
        assert_eq!(second.etype, Etype::Aes256CtsHmacSha1_96);
        assert_eq!(Recipe::read(&info(&[(20, None, Some(&[1]))]), &Etype::ALL), Err(Asn1Error::Value("s2kparams")));
    }

    #[test]
    fn a_later_round_keeps_what_it_does_not_repeat() {
        let mut methods = info(&[(18, Some("salt"), None)]);
        methods.push(piece(pa::FX_COOKIE, b"one".to_vec()));
        let mut offers = Offers::read(&methods, &Etype::ALL).unwrap();
        offers.take_more(&[piece(pa::SPAKE, b"challenge".to_vec())], &Etype::ALL).unwrap();
        assert_eq!(offers.recipes.len(), 1);
        assert_eq!(offers.cookie.as_deref(), Some(b"one".as_slice()));
        assert_eq!(offers.find(pa::SPAKE), Some(b"challenge".as_slice()));
        offers.take_more(&[piece(pa::FX_COOKIE, b"two".to_vec())], &Etype::ALL).unwrap();
        assert_eq!(offers.cookie.as_deref(), Some(b"two".as_slice()));
        assert_eq!(offers.numbers(), [pa::FX_COOKIE]);
    }
}
