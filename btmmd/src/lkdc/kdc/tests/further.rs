//! The TGS exchange.

use super::*;

fn host() -> Wish {
    Wish { client: None, service: Principal::service("host", HOST), options: Flags::default(), ..Wish::tgt("") }
}

fn again(options: Flags) -> Wish {
    Wish { client: None, options, ..Wish::tgt("") }
}

/// The TGT as if the KDC had issued it with other flags and times.
fn forged(kdc: &Kdc, tgt: &Held, change: impl FnOnce(&mut Flags, &mut policy::Times)) -> Held {
    let mut ticket = opened(kdc, &tgt.ticket);
    change(&mut ticket.flags, &mut ticket.times);
    let entry = kdc.krbtgt_entry().unwrap();
    let key = sealing_key(&entry).unwrap();
    let sealed = ticket::seal(&ticket.contents().encode(&[]), realm().as_str(), &kdc.krbtgt, &key, &mut SystemEntropy);
    Held { ticket: asn1::decode(&sealed).unwrap(), session: tgt.session.clone(), part: tgt.part.clone(), reply: tgt.reply.clone() }
}

#[test]
fn a_ticket_pays_for_a_service_ticket_with_the_same_indicators() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let bought = further(&kdc, &tgt, &host()).unwrap();
    let ticket = opened(&kdc, &bought.ticket);
    assert_eq!((ticket.client.to_string(), ticket.session.clone()), ("alice".to_owned(), bought.session.clone()));
    assert_eq!(ticket.flags, Flags::PRE_AUTHENT.with(Flags::TRANSITED_CHECKED));
    assert_eq!(ticket.times, policy::Times { auth: NOW, start: NOW, end: NOW + 36_000, renew_till: None });
    let krbtgt = kdc.krbtgt_entry().unwrap();
    let (earned, rest) = indicator::read(&ticket, &krbtgt, now()).unwrap();
    assert_eq!((earned.strengths, rest.len()), (vec![Strength::Password], 0));
}

#[test]
fn indicators_that_the_kdc_did_not_write_say_nothing() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let ticket = opened(&kdc, &tgt.ticket);
    let own = Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy);
    let with = ServiceKey { key: &own, kvno: Some(3) };
    let certified = Earned { strengths: vec![Strength::Certificate], machine: None };
    let forged = indicator::container(&certified, &ticket.contents(), &with, None);
    let values: rasn_kerberos::AuthorizationData = vec![asn1::decode(&forged).unwrap()];
    let plain = asn1::encode(&values);
    let cipher = tgt.session.encrypt(usage::TGS_REQ_AUTH_DATA_SESSION, &plain, &mut SystemEntropy);
    let mut body = again(Flags::default()).body();
    body.enc_authorization_data = Some(EncryptedData { etype: 18, kvno: None, cipher: cipher.into() });
    let answer = ask(&kdc, &tgs_req(&tgt, body, None, |_| {}));
    let tgt = bought(&answer, &tgt.session, usage::TGS_REP_SESSION).unwrap();
    assert_eq!(opened(&kdc, &tgt.ticket).authorization.len(), 1, "our own indicators");
    let vnc = Wish { service: Principal::service("vnc", HOST), ..host() };
    assert_eq!(further(&kdc, &tgt, &vnc).err(), Some(ErrorCode::KDC_ERR_POLICY));
    assert!(further(&kdc, &tgt, &host()).is_ok());
}

#[test]
fn a_subkey_encrypts_the_reply() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    for etype in Etype::ALL {
        let subkey = Key::random(etype, &mut SystemEntropy);
        let answer = ask(&kdc, &tgs_req(&tgt, host().body(), Some(&subkey), |_| {}));
        bought(&answer, &subkey, usage::TGS_REP_SUBKEY).unwrap();
    }
}

#[test]
fn each_encryption_type_makes_a_session_key() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    for etype in Etype::ALL {
        let ticket = further(&kdc, &tgt, &Wish { etypes: vec![etype.number()], ..host() }).unwrap();
        assert_eq!(ticket.session.etype(), etype);
        assert_eq!(ticket.ticket.enc_part.etype, 20, "sealed with the strongest key of the service");
    }
}

#[test]
fn a_changed_request_or_a_borrowed_ticket_is_refused() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let attempt = |change: fn(&mut Authenticator)| refusal(&ask(&kdc, &tgs_req(&tgt, host().body(), None, change))).1;
    assert_eq!(attempt(|auth| auth.ctime = time::from_seconds(NOW - 301)), ErrorCode::KRB_AP_ERR_SKEW);
    assert_eq!(attempt(|auth| auth.cname = Principal::user("bob").to_message()), ErrorCode::KRB_AP_ERR_BADMATCH);
    assert_eq!(attempt(|auth| auth.cksum = None), ErrorCode::KRB_AP_ERR_INAPP_CKSUM);
    assert_eq!(attempt(|auth| auth.cksum.as_mut().unwrap().r#type = 7), ErrorCode::KRB_AP_ERR_INAPP_CKSUM);
    assert_eq!(attempt(|auth| auth.cksum.as_mut().unwrap().checksum = vec![0; 12].into()), ErrorCode::KRB_AP_ERR_MODIFIED);
    let thief = Held {
        session: Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy),
        ..initial(&kdc, &Wish { nonce: 2, ..Wish::tgt("alice") })
    };
    assert_eq!(further(&kdc, &thief, &host()).err(), Some(ErrorCode::KRB_AP_ERR_BAD_INTEGRITY));
}

#[test]
fn tickets_out_of_their_time_are_refused() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let expired = forged(&kdc, &tgt, |_, times| times.end = NOW - 301);
    assert_eq!(further(&kdc, &expired, &host()).err(), Some(ErrorCode::KRB_AP_ERR_TKT_EXPIRED));
    let early = forged(&kdc, &tgt, |_, times| times.start = NOW + 301);
    assert_eq!(further(&kdc, &early, &host()).err(), Some(ErrorCode::KRB_AP_ERR_TKT_NYV));
    let invalid = forged(&kdc, &tgt, |flags, _| *flags = flags.with(Flags::INVALID));
    assert_eq!(further(&kdc, &invalid, &host()).err(), Some(ErrorCode::KRB_AP_ERR_TKT_NYV));
    let validated = further(&kdc, &invalid, &again(Flags::VALIDATE)).unwrap();
    assert!(!validated.flags().has(Flags::INVALID));
    assert!(further(&kdc, &validated, &host()).is_ok());
}

#[test]
fn a_renewable_ticket_is_renewed_with_a_new_key() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let old = forged(&kdc, &tgt, |_, times| (times.start, times.end) = (NOW - 36_000, NOW));
    let renewed = further(&kdc, &old, &again(Flags::RENEW)).unwrap();
    assert_eq!(asn1::time::to_seconds(&renewed.part.end_time), NOW + 36_000);
    assert_ne!(renewed.session, old.session);
    assert!(renewed.flags().has(Flags::INITIAL));
    let never = forged(&kdc, &tgt, |flags, _| *flags = flags.without(Flags::RENEWABLE));
    assert_eq!(further(&kdc, &never, &again(Flags::RENEW)).err(), Some(ErrorCode::KDC_ERR_BADOPTION));
    let other = Wish { options: Flags::RENEW, ..host() };
    assert_eq!(further(&kdc, &tgt, &other).err(), Some(ErrorCode::KDC_ERR_SERVER_NOMATCH));
}

#[test]
fn forwarding_and_proxies_need_a_ticket_that_allows_them() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let forwarded = further(&kdc, &tgt, &again(Flags::FORWARDED.with(Flags::FORWARDABLE))).unwrap();
    assert!(forwarded.flags().has(Flags::FORWARDED) && forwarded.flags().has(Flags::FORWARDABLE));
    assert!(further(&kdc, &forwarded, &host()).unwrap().flags().has(Flags::FORWARDED));
    let proxy = further(&kdc, &tgt, &Wish { options: Flags::PROXY, ..host() }).unwrap();
    assert!(proxy.flags().has(Flags::PROXY));
    let plain = forged(&kdc, &tgt, |flags, _| *flags = flags.without(Flags::FORWARDABLE.with(Flags::PROXIABLE)));
    for wish in [again(Flags::FORWARDED), again(Flags::FORWARDABLE), Wish { options: Flags::PROXY, ..host() }] {
        assert_eq!(further(&kdc, &plain, &wish).err(), Some(ErrorCode::KDC_ERR_BADOPTION));
    }
}

#[test]
fn user_to_user_seals_in_the_session_key_of_the_other() {
    let kdc = kdc();
    let alice = initial(&kdc, &Wish::tgt("alice"));
    let bob = initial(&kdc, &Wish::tgt("bob"));
    let to = |service: &str| {
        let wish = Wish { service: Principal::user(service), options: Flags::ENC_TKT_IN_SKEY, ..host() };
        let mut body = wish.body();
        body.additional_tickets = Some(vec![bob.ticket.clone()]);
        bought(&ask(&kdc, &tgs_req(&alice, body, None, |_| {})), &alice.session, usage::TGS_REP_SESSION)
    };
    let ticket = to("bob").unwrap();
    assert_eq!(ticket.ticket.enc_part.kvno, None);
    let opened = ticket::open(&ticket.ticket, &bob.session).unwrap();
    assert_eq!(opened.client, Principal::user("alice"));
    assert_eq!(to("alice").err(), Some(ErrorCode::KRB_AP_ERR_BADMATCH));
    let without = Wish { service: Principal::user("bob"), ..host() };
    assert_eq!(further(&kdc, &alice, &without).err(), Some(ErrorCode::KDC_ERR_MUST_USE_USER2USER));
    let missing = Wish { options: Flags::ENC_TKT_IN_SKEY, ..without };
    assert_eq!(further(&kdc, &alice, &missing).err(), Some(ErrorCode::KDC_ERR_BADOPTION));
}

#[test]
fn who_is_disabled_or_gone_gets_nothing_more() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let mut entry = (*kdc.principals.find(&Principal::user("alice")).unwrap()).clone();
    entry.enabled = false;
    kdc.principals.insert(entry);
    assert_eq!(further(&kdc, &tgt, &host()).err(), Some(ErrorCode::KDC_ERR_CLIENT_REVOKED));
    kdc.principals.remove(&Principal::user("alice"));
    assert_eq!(further(&kdc, &tgt, &host()).err(), Some(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN));
}

#[test]
fn services_are_found_by_other_names_of_this_machine() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    for (name, options, expected) in [
        ("localhost", Flags::default(), "localhost"),
        ("localhost", Flags::CANONICALIZE, HOST),
        (realm().as_str(), Flags::CANONICALIZE, HOST),
        ("IMAC", Flags::CANONICALIZE, HOST),
    ] {
        let ticket = further(&kdc, &tgt, &Wish { service: Principal::service("host", name), options, ..host() }).unwrap();
        assert_eq!(Principal::of_message(&ticket.ticket.sname).unwrap(), Principal::service("host", expected));
    }
    let other = Wish { service: Principal::service("host", "other.alice.btmm.internal"), ..host() };
    assert_eq!(further(&kdc, &tgt, &other).err(), Some(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN));
}

#[test]
fn a_ticket_bound_to_addresses_is_good_from_these_only() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let mut body = again(Flags::FORWARDED).body();
    body.addresses = Some(vec![rasn_kerberos::HostAddress { addr_type: 2, address: vec![192, 0, 2, 1].into() }]);
    let answer = ask(&kdc, &tgs_req(&tgt, body, None, |_| {}));
    let bound = bought(&answer, &tgt.session, usage::TGS_REP_SESSION).unwrap();
    assert_eq!(further(&kdc, &bound, &host()).err(), Some(ErrorCode::KRB_AP_ERR_BADADDR));
    let there = Source { address: "[::ffff:192.0.2.1]:5".parse().unwrap(), ..source() };
    let answer = kdc.answer(&tgs_req(&bound, host().body(), None, |_| {}), there, now(), &mut SystemEntropy);
    assert!(super::bought(&answer, &bound.session, usage::TGS_REP_SESSION).is_ok());
}

#[test]
fn a_ticket_of_another_realm_or_for_another_service_pays_for_nothing() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let service = further(&kdc, &tgt, &host()).unwrap();
    assert_eq!(further(&kdc, &service, &host()).err(), Some(ErrorCode::KRB_AP_ERR_NOT_US));
    let mut foreign = initial(&kdc, &Wish { nonce: 3, ..Wish::tgt("alice") });
    foreign.ticket.realm = asn1::string("EXAMPLE.ORG");
    assert_eq!(further(&kdc, &foreign, &host()).err(), Some(ErrorCode::KRB_AP_ERR_NOT_US));
    let mut old = initial(&kdc, &Wish { nonce: 4, ..Wish::tgt("alice") });
    old.ticket.enc_part.kvno = Some(1);
    assert_eq!(further(&kdc, &old, &host()).err(), Some(ErrorCode::KRB_AP_ERR_BADKEYVER));
}

#[test]
fn a_ticket_that_lists_no_address_but_a_windows_name_is_good_from_anywhere() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let mut body = again(Flags::FORWARDED).body();
    let name = rasn_kerberos::HostAddress { addr_type: 20, address: b"LAPTOP          ".to_vec().into() };
    body.addresses = Some(vec![name]);
    let bound = bought(&ask(&kdc, &tgs_req(&tgt, body, None, |_| {})), &tgt.session, usage::TGS_REP_SESSION).unwrap();
    assert!(further(&kdc, &bound, &host()).is_ok());
}

#[test]
fn a_renewed_ticket_is_not_moved_as_well() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    for option in [Flags::FORWARDED, Flags::PROXY] {
        assert_eq!(further(&kdc, &tgt, &again(Flags::RENEW.with(option))).err(), Some(ErrorCode::KDC_ERR_BADOPTION));
    }
}

#[test]
fn how_a_ticket_was_earned_survives_new_keys_of_the_ticket_granting_service() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    let service = further(&kdc, &tgt, &Wish { options: Flags::RENEWABLE, ..host() }).unwrap();
    let mut krbtgt = (*kdc.krbtgt_entry().unwrap()).clone();
    krbtgt.keys.insert(0, VersionedKeys { kvno: 4, ..random_keys() });
    kdc.principals.insert(krbtgt.clone());
    let renew = Wish { options: Flags::RENEW, ..host() };
    let answer = ask(&kdc, &tgs_req(&service, renew.body(), None, |_| {}));
    assert!(matches!(&answer.events[0].outcome, Outcome::Issued { strengths, .. } if strengths == &[Strength::Password]));
    krbtgt.keys.pop();
    kdc.principals.insert(krbtgt);
    let wish = Wish { nonce: 7, ..renew };
    assert_eq!(further(&kdc, &service, &wish).err(), Some(ErrorCode::KRB_AP_ERR_MODIFIED), "and is not overlooked without the old ones");
}

#[test]
fn tickets_for_a_machine_are_sealed_in_the_session_key_of_its_own() {
    let kdc = kdc();
    let alice = initial(&kdc, &Wish::tgt("alice"));
    let laptop = Principal::service("host", LAPTOP);
    let wish = Wish { service: laptop.clone(), ..host() };
    assert_eq!(further(&kdc, &alice, &wish).err(), Some(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN));
    let mut of_laptop = opened(&kdc, &alice.ticket);
    of_laptop.client = laptop;
    of_laptop.authorization = Vec::new();
    let krbtgt = kdc.krbtgt_entry().unwrap();
    let with = sealing_key(&krbtgt).unwrap();
    let sealed = ticket::seal(&of_laptop.contents().encode(&[]), realm().as_str(), &kdc.krbtgt, &with, &mut SystemEntropy);
    let mut body = Wish { options: Flags::ENC_TKT_IN_SKEY, ..wish }.body();
    body.additional_tickets = Some(vec![asn1::decode(&sealed).unwrap()]);
    let bought = bought(&ask(&kdc, &tgs_req(&alice, body, None, |_| {})), &alice.session, usage::TGS_REP_SESSION).unwrap();
    assert!(ticket::open(&bought.ticket, &of_laptop.session).is_ok());
}

#[test]
fn a_request_out_of_its_armor_is_noticed() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    for (kind, expected) in [(72, ErrorCode::KRB_AP_ERR_MODIFIED), (71, ErrorCode::KDC_ERR_POLICY), (8, ErrorCode::KDC_ERR_POLICY)] {
        let said = rasn_kerberos::AuthorizationDataValue { r#type: kind, data: Vec::new().into() };
        let request = tgs_req(&tgt, host().body(), None, |authenticator| authenticator.authorization_data = Some(vec![said]));
        assert_eq!(refusal(&ask(&kdc, &request)).1, expected, "{kind}");
    }
}
