//! A sharing key on a PKCS#11 token (SoftHSM2): our client signs there, our KDC believes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::SystemTime;

use btmm_tests::lab::kerberos::{FOLDER, Pair};
use btmm_tests::lab::{finish, lab_root};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::client::certificate::Certificate;
use btmmd::lkdc::client::{AsExchange, Next, Secrets, Wish};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::pkinit::linux::{Token, TokenError, TokenKey};
use btmmd::lkdc::pkinit::{Signatory, Signer};

const PIN: &str = "123456";

/// Moves the laptop's key to a token, as `softhsm2-util` does it.
fn make_token(pair: &Pair) {
    let laptop = &pair.laptop;
    let conf = |tokens: &str| format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
    laptop.write("softhsm2.conf", &conf(&format!("{FOLDER}/tokens"))).expect("a configuration");
    laptop.write("tokens/.keep", "").expect("a folder");
    let key = format!("{FOLDER}/machine.key");
    for arguments in [
        vec!["--init-token", "--free", "--label", "btmm", "--so-pin", "12345678", "--pin", PIN],
        vec!["--import", &key, "--token", "btmm", "--label", "sharing", "--id", "01", "--pin", PIN],
    ] {
        let mut command = laptop.node.foreign("softhsm2-util");
        command.args(arguments).env("SOFTHSM2_CONF", format!("{FOLDER}/softhsm2.conf"));
        finish(command).expect("softhsm2-util");
    }
    let tokens = laptop.node.path(format!("{FOLDER}/tokens"));
    laptop.write("softhsm2-here.conf", &conf(&tokens.to_string_lossy())).expect("a configuration");
    let here = laptop.node.path(format!("{FOLDER}/softhsm2-here.conf"));
    // SAFETY: this program has one test, and nothing else in it reads or writes the environment at this moment.
    unsafe { std::env::set_var("SOFTHSM2_CONF", here) };
}

#[test]
fn a_key_on_a_token_gets_a_ticket_and_a_wrong_pin_does_not() {
    let pair = Pair::new().expect("two machines");
    let kdc = pair.imac.start_kdc(&["--password", "alice=correct horse battery"]).expect("our KDC");
    make_token(&pair);
    let module = lab_root().join("usr/lib/softhsm/libsofthsm2.so");
    let which = TokenKey { module: &module, token: "btmm", key: "sharing" };
    let wrong = Token::open(which, "654321").expect_err("a wrong PIN");
    assert!(matches!(wrong, TokenError::Token { .. }) && wrong.to_string().contains("take the PIN"), "{wrong}");
    let none = Token::open(TokenKey { token: "another", ..which }, PIN).expect_err("no such token");
    assert_eq!(none.to_string(), "no token is labelled \"another\"");
    let none = Token::open(TokenKey { key: "another", ..which }, PIN).expect_err("no such key");
    assert!(matches!(none, TokenError::NoKey { .. }), "{none}");

    let token = Token::open(which, PIN).expect("the token");
    assert_eq!(token.spki(), pair.laptop.key.spki());
    let signatory = Signatory::new(Arc::new(token), pair.laptop.certificate.clone()).expect("that belong together");
    let realm = pair.imac.realm();
    let secrets = Secrets::certificate(Certificate::of_machine(signatory, pair.authority.trust()));
    let mut exchange = AsExchange::new(Wish::tgt(FullName::new(Principal::user("alice"), &realm)), secrets);
    let mut request = exchange.start(SystemTime::now(), &mut SystemEntropy).expect("a request");
    let grant = loop {
        let reply = pair.laptop.node.enter(|| ask(&pair, &request)).expect("the node").expect("an answer");
        match exchange.receive(&reply, SystemTime::now(), &mut SystemEntropy) {
            Ok(Next::Send(next)) => request = next,
            Ok(Next::Done(grant)) => break grant,
            Err(error) => panic!("{error}\n--- our KDC\n{}", kdc.log()),
        }
    };
    assert!(kdc.log().contains("strengths: [Certificate]"), "{}", kdc.log());
    drop(grant);
}

/// One request over TCP, lengths before both (RFC 4120 §7.2.2).
fn ask(pair: &Pair, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((pair.imac.inner, 88))?;
    let length = u32::try_from(request.len()).expect("not that long").to_be_bytes();
    stream.write_all(&[&length, request].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("at least 32 bits")];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
