//! The AS exchange.

use super::*;

#[test]
fn without_a_proof_the_client_is_told_how_to_prove_itself() {
    let answer = ask(&kdc(), &as_request("alice"));
    let (error, code) = refusal(&answer);
    assert_eq!(code, ErrorCode::KDC_ERR_PREAUTH_REQUIRED);
    let methods = methods(&error);
    assert!(methods.iter().any(|padata| padata.r#type == pa::ENC_TIMESTAMP));
    let info = methods.iter().find(|padata| padata.r#type == pa::ETYPE_INFO2).unwrap();
    let info: rasn_kerberos::EtypeInfo2 = asn1::decode(&info.value).unwrap();
    assert_eq!(info.iter().map(|entry| entry.etype).collect::<Vec<_>>(), [18], "one key to prove itself with");
    assert_eq!(info[0].salt, Some(asn1::string(&salt())));
    assert!(matches!(answer.events[0].outcome, Outcome::Continued));
}

#[test]
fn a_password_earns_a_ticket_that_says_so() {
    let kdc = kdc();
    let tgt = initial(&kdc, &Wish::tgt("alice"));
    assert_eq!(tgt.part.nonce, 4711);
    assert_eq!(tgt.reply.enc_part.kvno, Some(2));
    let expected = Flags::INITIAL.with(Flags::PRE_AUTHENT).with(Flags::FORWARDABLE).with(Flags::RENEWABLE).with(Flags::PROXIABLE);
    assert_eq!(tgt.flags(), expected);
    let ticket = opened(&kdc, &tgt.ticket);
    assert_eq!((ticket.client.to_string(), ticket.flags, ticket.session), ("alice".to_owned(), expected, tgt.session.clone()));
    assert_eq!(ticket.times, policy::Times { auth: NOW, start: NOW, end: NOW + 36_000, renew_till: Some(NOW + 7 * 86_400) });
    assert_eq!(asn1::time::to_seconds(&tgt.part.end_time), NOW + 36_000);
}

#[test]
fn nothing_derived_from_a_users_key_outlives_the_request() {
    let kdc = kdc();
    for etype in [Etype::Aes256CtsHmacSha1_96, Etype::Aes128CtsHmacSha1_96] {
        let wish = Wish { nonce: etype.number().unsigned_abs(), ..Wish::tgt("alice") };
        let answer = ask(&kdc, &as_req(&wish, vec![timestamp(&password_key(etype), NOW)]));
        assert!(matches!(answer.events[0].outcome, Outcome::Issued { .. }));
    }
    let remembers = |name: Principal| kdc.principals.find(&name).unwrap().keys[0].keys.iter().any(Key::remembers);
    assert!(!remembers(Principal::user("alice")));
    assert!(remembers(Principal::krbtgt(realm().as_str())));
}

#[test]
fn the_audit_log_is_told_who_got_what_and_why_not() {
    let kdc = kdc();
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    let good = ask(&kdc, &as_req(&Wish::tgt("alice"), vec![timestamp(&key, NOW)]));
    let event = &good.events[0];
    assert_eq!(event.client, Some(Principal::user("alice")));
    assert_eq!(event.service, Some(Principal::krbtgt(realm().as_str())));
    assert!(matches!(&event.outcome, Outcome::Issued { strengths, .. } if strengths == &[Strength::Password]));
    let bad = ask(&kdc, &as_req(&Wish::tgt("alice"), vec![timestamp(&Key::random(key.etype(), &mut SystemEntropy), NOW)]));
    assert!(matches!(&bad.events[0].outcome, Outcome::Refused { code: ErrorCode::KDC_ERR_PREAUTH_FAILED, .. }));
}

#[test]
fn a_wrong_password_fails_and_says_how_to_try_again() {
    let wrong = Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy);
    let (error, code) = refusal(&ask(&kdc(), &as_req(&Wish::tgt("alice"), vec![timestamp(&wrong, NOW)])));
    assert_eq!(code, ErrorCode::KDC_ERR_PREAUTH_FAILED);
    assert!(methods(&error).iter().any(|padata| padata.r#type == pa::ETYPE_INFO2));
}

#[test]
fn a_clock_that_is_wrong_either_way_is_told_the_time() {
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    for theirs in [NOW - 301, NOW + 301] {
        let (error, code) = refusal(&ask(&kdc(), &as_req(&Wish::tgt("alice"), vec![timestamp(&key, theirs)])));
        assert_eq!(code, ErrorCode::KRB_AP_ERR_SKEW);
        assert_eq!(asn1::time::to_seconds(&error.stime), NOW);
    }
    for theirs in [NOW - 300, NOW + 300] {
        let answer = ask(&kdc(), &as_req(&Wish::tgt("alice"), vec![timestamp(&key, theirs)]));
        assert!(asn1::decode::<AsRep>(&answer.reply).is_ok());
    }
}

#[test]
fn the_same_request_gets_the_same_reply_and_the_same_proof_in_another_is_a_replay() {
    let kdc = kdc();
    let proof = timestamp(&password_key(Etype::Aes256CtsHmacSha1_96), NOW);
    let request = as_req(&Wish::tgt("alice"), vec![proof.clone()]);
    let first = ask(&kdc, &request);
    let again = ask(&kdc, &request);
    assert_eq!(first.reply, again.reply);
    assert!(matches!(again.events[0].outcome, Outcome::Repeated));
    let stolen = as_req(&Wish { nonce: 1, ..Wish::tgt("alice") }, vec![proof]);
    assert_eq!(refusal(&ask(&kdc, &stolen)).1, ErrorCode::KRB_AP_ERR_REPEAT);
    let elsewhere = Source { address: "[fd00::8]:4711".parse().unwrap(), ..source() };
    let answer = kdc.answer(&request, elsewhere, now(), &mut SystemEntropy);
    assert_eq!(refusal(&answer).1, ErrorCode::KRB_AP_ERR_REPEAT);
}

#[test]
fn a_proof_written_in_another_way_is_still_the_same_proof() {
    let kdc = kdc();
    let proof = timestamp(&password_key(Etype::Aes256CtsHmacSha1_96), NOW);
    assert!(asn1::decode::<AsRep>(&ask(&kdc, &as_req(&Wish::tgt("alice"), vec![proof.clone()])).reply).is_ok());
    // Nothing protects the version of the key, and nobody looks at it.
    let data: EncryptedData = asn1::decode(&proof.value).unwrap();
    let rewritten = EncryptedData { kvno: Some(9), ..data };
    let stolen = as_req(&Wish::tgt("alice"), vec![PaData { value: asn1::encode(&rewritten).into(), ..proof }]);
    assert_eq!(refusal(&ask(&kdc, &stolen)).1, ErrorCode::KRB_AP_ERR_REPEAT);
}

#[test]
fn each_impossible_request_has_its_own_error() {
    let kdc = kdc();
    let alice = || Wish::tgt("alice");
    let cases = [
        (Wish::tgt("nobody"), ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN),
        (Wish { client: None, ..alice() }, ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN),
        (Wish::tgt("gone"), ErrorCode::KDC_ERR_CLIENT_REVOKED),
        (Wish { service: Principal::service("http", HOST), ..alice() }, ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN),
        (Wish { service: Principal::service("nfs", HOST), ..alice() }, ErrorCode::KDC_ERR_SERVICE_REVOKED),
        (Wish { service: Principal::user("bob"), ..alice() }, ErrorCode::KDC_ERR_MUST_USE_USER2USER),
        (Wish { service: Principal::service("host", LAPTOP), ..alice() }, ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN),
        (
            Wish { client: Some(Principal::anonymous()), service: Principal::service("host", HOST), options: Flags::ANONYMOUS, ..alice() },
            ErrorCode::KDC_ERR_POLICY,
        ),
        (Wish { etypes: vec![23, 3], ..alice() }, ErrorCode::KDC_ERR_ETYPE_NOSUPP),
        (Wish { options: Flags::RENEW, ..alice() }, ErrorCode::KDC_ERR_BADOPTION),
        (Wish { options: Flags::ANONYMOUS, ..alice() }, ErrorCode::KDC_ERR_BADOPTION),
        (Wish { realm: "EXAMPLE.ORG".to_owned(), ..alice() }, ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN),
        (Wish { client: Some(Principal::krbtgt(realm().as_str())), ..alice() }, ErrorCode::KDC_ERR_POLICY),
    ];
    for (wish, expected) in cases {
        assert_eq!(refusal(&ask(&kdc, &as_req(&wish, Vec::new()))).1, expected);
    }
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    let proven = |wish: &Wish| refusal(&ask(&kdc, &as_req(wish, vec![timestamp(&key, NOW)]))).1;
    assert_eq!(proven(&Wish { till: NOW - 1, ..alice() }), ErrorCode::KDC_ERR_NEVER_VALID);
    assert_eq!(proven(&Wish { service: Principal::service("vnc", HOST), ..alice() }), ErrorCode::KDC_ERR_POLICY);
}

#[test]
fn who_asks_for_apples_realm_is_told_the_true_one() {
    for asked in [APPLE_LKDC.to_owned(), format!("{APPLE_LKDC}:imac.local")] {
        let wish = Wish { realm: asked, options: Flags::CANONICALIZE, ..Wish::tgt("alice") };
        let (error, code) = refusal(&ask(&kdc(), &as_req(&wish, Vec::new())));
        assert_eq!(code, ErrorCode::KDC_ERR_WRONG_REALM);
        assert_eq!(error.crealm, Some(asn1::string(realm().as_str())));
        assert_eq!(error.cname, Some(Principal::user("alice").to_message()));
    }
}

#[test]
fn an_enterprise_name_is_canonicalized_when_allowed() {
    let mut name = Principal::user("alice@alice.btmm.internal");
    name.name_type = crate::lkdc::name::NT_ENTERPRISE;
    let wish = Wish { client: Some(name), options: Flags::CANONICALIZE, ..Wish::tgt("") };
    assert_eq!(initial(&kdc(), &wish).reply.cname, Principal::user("alice").to_message());
    let without = Wish { options: Flags::default(), ..wish };
    assert_eq!(refusal(&ask(&kdc(), &as_req(&without, Vec::new()))).1, ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN);
}

#[test]
fn a_protected_request_is_vouched_for_in_the_reply() {
    let kdc = kdc();
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    let asked = PaData { r#type: pa::REQ_ENC_PA_REP, value: Vec::new().into() };
    let request = as_req(&Wish::tgt("alice"), vec![timestamp(&key, NOW), asked]);
    let AsRep(reply) = asn1::decode(&ask(&kdc, &request).reply).unwrap();
    let plain = key.decrypt(usage::AS_REP, &reply.enc_part.cipher).unwrap();
    let EncAsRepPart(part) = asn1::decode(&plain).unwrap();
    assert!(Flags(asn1::flag_bits(&part.flags.0)).has(Flags::ENC_PA_REP));
    let protected = part.encrypted_pa_data.unwrap();
    let value = &protected.iter().find(|padata| padata.r#type == pa::REQ_ENC_PA_REP).unwrap().value;
    let checksum: Checksum = asn1::decode(value).unwrap();
    key.verify_checksum(usage::AS_REQ, &request, &checksum.checksum).unwrap();
}

#[test]
fn octets_that_are_no_request_get_no_answer() {
    let kdc = kdc();
    for junk in [&b""[..], b"\0", b"GET / HTTP/1.0\r\n\r\n", &[0x30; 64]] {
        assert!(ask(&kdc, junk).reply.is_empty());
    }
    let request = as_request("alice");
    for end in 1..request.len() {
        let answer = ask(&kdc, &request[..end]);
        assert_eq!(refusal(&answer).1, ErrorCode::KRB_ERR_GENERIC);
    }
}

#[test]
fn whoever_proves_itself_by_a_keytab_has_shown_no_password() {
    let kdc = kdc();
    let entry = kdc.principals.find(&Principal::service("host", HOST)).unwrap();
    let key = entry.key(None, Etype::Aes256CtsHmacSha1_96, now()).unwrap();
    let wish = Wish { client: Some(Principal::service("host", HOST)), ..Wish::tgt("") };
    let answer = ask(&kdc, &as_req(&wish, vec![timestamp(key, NOW)]));
    assert!(matches!(&answer.events[0].outcome, Outcome::Issued { strengths, .. } if strengths.is_empty()));
}

#[test]
fn a_request_that_repeats_itself_is_judged_once_and_answered_briefly() {
    let kdc = kdc();
    let wrong = timestamp(&Key::random(Etype::Aes256CtsHmacSha1_96, &mut SystemEntropy), NOW);
    let right = timestamp(&password_key(Etype::Aes256CtsHmacSha1_96), NOW);
    let guesses = ask(&kdc, &as_req(&Wish::tgt("alice"), vec![wrong, right]));
    assert_eq!(refusal(&guesses).1, ErrorCode::KDC_ERR_PREAUTH_FAILED, "one guess for each message");
    let short = ask(&kdc, &as_request("alice")).reply.len();
    let many = Wish { etypes: vec![18; 10_000], ..Wish::tgt("alice") };
    assert_eq!(ask(&kdc, &as_req(&many, Vec::new())).reply.len(), short);
}

#[test]
fn a_message_of_another_version_or_kind_is_refused() {
    let kdc = kdc();
    for (pvno, msg_type, expected) in [(4, 10, ErrorCode::KDC_ERR_BAD_PVNO), (5, 12, ErrorCode::KRB_AP_ERR_MSG_TYPE)] {
        let message = KdcReq { pvno: pvno.into(), msg_type: msg_type.into(), padata: None, req_body: Wish::tgt("alice").body() };
        assert_eq!(refusal(&ask(&kdc, &asn1::encode(&AsReq(message)))).1, expected);
    }
}
