use std::sync::Arc;

use rasn_kerberos::{AsReq, KdcReq, KrbError};

use super::world::{PASSWORD, World, says, start};
use crate::account::authority::Authority;
use crate::account::key::{KeyAlgorithm, MachineKey};
use crate::account::prefix::UlaPrefix;
use crate::account::public_key::PublicKey;
use crate::account::roster::{KeyHash, Machine, Roster};
use crate::entropy::SystemEntropy;
use crate::lkdc::asn1::{self, time};
use crate::lkdc::client::{AsExchange, Certificate, ClientError, ClockOffset, Secrets, TgsWish, Wish};
use crate::lkdc::crypto::dh::DhGroup;
use crate::lkdc::fast::EncryptedChallenge;
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::error::ErrorCode;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::kdc::preauth::{Mechanism, pa};
use crate::lkdc::name::{APPLE_LKDC, Principal, RealmName};
use crate::lkdc::pkinit::{Believers, Pkinit, PkinitKdc, Signatory};

/// An account with two machines; `imac` has the KDC.
struct Account {
    authority: Authority,
    imac: Signatory,
    laptop: Signatory,
}

impl Account {
    fn new() -> Self {
        let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
        let authority = Authority::create("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap(), prefix, start()).unwrap();
        let signatory = |name: &str| {
            let key = MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let public = PublicKey::from_spki(key.spki()).unwrap();
            let certificate = authority.issue(&public, &name.parse().unwrap(), start()).unwrap();
            Signatory::new(Arc::new(key), certificate).unwrap()
        };
        let (imac, laptop) = (signatory("imac"), signatory("laptop"));
        Self { authority, imac, laptop }
    }

    /// The list of these machines, made `days` after the account.
    fn roster(&self, machines: &[(&str, &Signatory)], days: u64) -> Roster {
        let machine = |(name, signatory): &(&str, &Signatory)| Machine {
            name: name.parse().unwrap(),
            inner: self.authority.trust().prefix.inner_address(signatory.spki()),
            key: KeyHash::of(signatory.spki()),
            joined_at: 1,
            base: false,
        };
        let changed = time::seconds(start()) + days * 86_400;
        Roster::new(self.authority.trust(), days, changed, machines.iter().map(machine).collect())
    }

    /// A realm of the name that `named` has, whose KDC signs with `key`.
    fn world(&self, named: &Signatory, key: &Signatory) -> World {
        self.believing_world(named, key).0
    }

    /// The same, and what its KDC believes.
    fn believing_world(&self, named: &Signatory, key: &Signatory) -> (World, Arc<PkinitKdc>) {
        let roster = self.roster(&[("imac", &self.imac), ("laptop", &self.laptop)], 0);
        let believers = Believers::new(self.authority.trust().clone(), Some(roster), ["alice".to_owned()]);
        let pkinit = Arc::new(PkinitKdc::new(key.clone(), believers, &mut SystemEntropy));
        let mechanisms: Vec<Box<dyn Mechanism>> = vec![Box::new(Pkinit(pkinit.clone())), Box::new(EncryptedChallenge)];
        (World::of_key(named.spki(), mechanisms), pkinit)
    }

    fn secrets(&self) -> Secrets {
        Secrets::certificate(Certificate::of_machine(self.laptop.clone(), self.authority.trust()))
    }
}

#[test]
fn the_sharing_certificate_gets_a_ticket_in_every_group() {
    let account = Account::new();
    let mut world = account.world(&account.imac, &account.imac);
    for group in [DhGroup::X25519, DhGroup::P256, DhGroup::Modp14, DhGroup::Modp16] {
        let certificate = Certificate { groups: vec![group], ..Certificate::of_machine(account.laptop.clone(), account.authority.trust()) };
        let tgt = world.initial(&mut AsExchange::new(world.wish(), Secrets::certificate(certificate))).unwrap();
        assert!(Flags(tgt.flags).has(Flags::PRE_AUTHENT));
        let service = world.ticket(TgsWish::service(world.host(), &tgt), &tgt, ClockOffset::default()).unwrap();
        assert_eq!(service.client, world.alice());
    }
}

#[test]
fn a_ticket_is_worth_nothing_once_the_machine_that_earned_it_has_left_or_has_another_key() {
    let account = Account::new();
    let (mut world, kdc) = account.believing_world(&account.imac, &account.imac);
    let tgt = world.initial(&mut AsExchange::new(world.wish(), account.secrets())).unwrap();
    let wish = |world: &World| TgsWish::service(world.host(), &tgt);
    let service = world.ticket(wish(&world), &tgt, ClockOffset::default()).unwrap();
    kdc.believers().set_roster(account.roster(&[("imac", &account.imac)], 0));
    assert!(world.ticket(wish(&world), &tgt, ClockOffset::default()).is_err(), "removed");
    kdc.believers().set_roster(account.roster(&[("imac", &account.imac), ("laptop", &account.imac)], 1));
    assert!(world.ticket(wish(&world), &tgt, ClockOffset::default()).is_err(), "replaced");
    let renewal = world.ticket(TgsWish::renewal(&tgt), &tgt, ClockOffset::default()).unwrap_err();
    assert!(matches!(&renewal, ClientError::Refused { refusal, .. } if refusal.code == 18), "{renewal}");
    kdc.believers().set_roster(account.roster(&[("imac", &account.imac), ("laptop", &account.laptop)], 2));
    assert_eq!(world.ticket(wish(&world), &tgt, ClockOffset::default()).unwrap().server, service.server, "back again");
}

#[test]
fn a_request_that_was_answered_is_good_in_no_other_form() {
    let account = Account::new();
    let mut world = account.world(&account.imac, &account.imac);
    world.initial(&mut AsExchange::new(world.wish(), account.secrets())).unwrap();
    let AsReq(genuine) = asn1::decode(world.sent.last().unwrap()).unwrap();
    let padata = genuine.padata.clone().unwrap();
    let place = padata.iter().position(|padata| padata.r#type == pa::PK_AS_REQ).unwrap();
    let (mut replayed, value) = (0, padata[place].value.to_vec());
    for at in 0..value.len() {
        let (mut bent, mut padata) = (value.clone(), padata.clone());
        bent[at] ^= 1;
        padata[place].value = bent.into();
        let reply = world.ask(asn1::encode(&AsReq(KdcReq { padata: Some(padata), ..genuine.clone() })));
        let refused: KrbError = asn1::decode(&reply).expect("no ticket");
        replayed += usize::from(ErrorCode(refused.error_code) == ErrorCode::KRB_AP_ERR_REPEAT);
    }
    assert!(replayed > 0, "some octets are signed by nobody");
}

#[test]
fn a_kdc_with_another_key_than_its_realms_is_an_impostor() {
    let account = Account::new();
    let mut world = account.world(&account.laptop, &account.imac);
    let error = world.initial(&mut AsExchange::new(world.wish(), account.secrets())).unwrap_err();
    assert!(matches!(&error, ClientError::Impostor(realm) if *realm == world.realm), "{error}");
}

#[test]
fn apples_name_leads_to_the_realm_of_the_machine_that_has_the_key() {
    let account = Account::new();
    let mut world = account.world(&account.imac, &account.imac);
    let wish =
        Wish { expected: Some(RealmName::of_key(account.imac.spki())), ..Wish::tgt(FullName::new(Principal::user("alice"), APPLE_LKDC)) };
    let tgt = world.initial(&mut AsExchange::new(wish, account.secrets())).unwrap();
    assert_eq!(tgt.client, world.alice());
}

#[test]
fn nobody_in_particular_gets_armor_for_a_password() {
    let account = Account::new();
    let mut world = account.world(&account.imac, &account.imac);
    let nobody = Secrets::certificate(Certificate::anonymous(account.authority.trust()));
    let tgt = world.initial(&mut AsExchange::new(Wish::anonymous(&world.realm), nobody)).unwrap();
    assert!(tgt.client.principal.is_anonymous() && Flags(tgt.flags).has(Flags::ANONYMOUS));
    let armor = tgt.armor(ClockOffset::default(), world.now, &mut SystemEntropy).unwrap();
    let grant = world.initial(&mut AsExchange::new(world.wish(), Secrets::password(PASSWORD)).armored(armor)).unwrap();
    assert_eq!(grant.client, world.alice());
}

/// TD-DH-PARAMETERS (109) that names P-256: a list of one AlgorithmIdentifier, ecPublicKey with prime256v1.
const P256_PLEASE: &[u8] = &[
    0x30, 0x15, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07,
];

#[test]
fn a_group_that_the_kdc_refuses_is_replaced_by_one_that_it_names_and_only_once() {
    let account = Account::new();
    let typed = rasn_kerberos::TypedDataItem { r#type: 109, value: Some(P256_PLEASE.to_vec().into()) };
    let typed = crate::lkdc::asn1::encode(&vec![typed]);
    for refusals in [1, 2] {
        let mut world = account.world(&account.imac, &account.imac);
        let mut round = 0;
        let mut exchange = AsExchange::new(world.wish(), account.secrets());
        let realm = world.realm.clone();
        let got = world.initial_through(&mut exchange, |answer| {
            round += 1;
            if (2..2 + refusals).contains(&round) { says(65, &realm, Some(&typed)) } else { answer }
        });
        assert_eq!(got.is_ok(), refusals == 1, "{got:?}");
        assert_eq!(round, 3);
    }
}
