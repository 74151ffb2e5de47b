//! A machine's key on a PKCS#11 token (SoftHSM2): it joins, raises tunnels and gives and gets tickets as one in a file does.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use btmm_tests::lab::kerberos::{Conf, Pair, STATE};
use btmm_tests::lab::{finish, lab_root};
use btmmd::account::credentials::IdentityCredentials;
use btmmd::account::driver::{DotConnection, Member};
use btmmd::account::identity::Identity;
use btmmd::account::key::{KeyAlgorithm, KeyError, MachineKey};
use btmmd::account::roster::Roster;
use btmmd::account::tls::{OwnCertificate, base_config};
use btmmd::account::token::{TokenError, TokenUri};
use btmmd::account::{self, AccountOptions, SharedBase};
use btmmd::entropy::SystemEntropy;
use btmmd::ike::{self, Ike, IkeConfig};
use btmmd::lkdc::client::certificate::Certificate;
use btmmd::lkdc::client::{AsExchange, Next, Secrets, Wish};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::pkinit::Signatory;

const PIN: &str = "123456";
/// Every token of these tests. They are made before the module is started, which finds tokens only then.
const TOKENS: [&str; 5] = ["errors", "pin", "machine", "client", "kdc"];

/// Where the tokens are, for this process and those that it starts.
struct Drawer(PathBuf);

/// Every test begins by opening it, and so waits until it is there.
static DRAWER: LazyLock<Drawer> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("tokens")).expect("a folder");
    let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", folder.join("tokens").display());
    fs::write(folder.join("softhsm2.conf"), conf).expect("a configuration");
    // SAFETY: all tests wait here, so that no other thread reads the environment at this moment.
    unsafe { std::env::set_var("SOFTHSM2_CONF", folder.join("softhsm2.conf")) };
    let drawer = Drawer(folder);
    for token in TOKENS {
        drawer.softhsm(&["--init-token", "--free", "--label", token, "--so-pin", "12345678", "--pin", PIN]);
    }
    drawer
});

impl Drawer {
    fn softhsm(&self, arguments: &[&str]) {
        let mut command = Command::new(lab_root().join("usr/bin/softhsm2-util"));
        command.arg("--module").arg(module()).args(arguments);
        finish(command).expect("softhsm2-util");
    }

    /// Puts a key that is in a file on a token.
    fn import(&self, token: &str, object: &str, id: &str, pem: &str) {
        let file = self.0.join(format!("{token}-{object}.pem"));
        fs::write(&file, pem).expect("a file");
        let file = file.to_string_lossy();
        self.softhsm(&["--import", &file, "--token", token, "--label", object, "--id", id, "--pin", PIN]);
    }

    /// A file with a PIN.
    fn pin(&self, name: &str, pin: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, format!("{pin}\n")).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
        file
    }

    fn uri(&self, token: &str, object: &str) -> TokenUri {
        uri(token, object, &module(), &self.pin(&format!("{token}.pin"), PIN))
    }
}

fn module() -> PathBuf {
    lab_root().join("usr/lib/softhsm/libsofthsm2.so")
}

fn uri(token: &str, object: &str, module: &Path, pin: &Path) -> TokenUri {
    let text = format!("pkcs11:token={token};object={object}?module-path={}&pin-source=file:{}", module.display(), pin.display());
    text.parse().expect("a URI")
}

fn trouble(opened: Result<MachineKey, KeyError>) -> TokenError {
    match opened.expect_err("trouble") {
        KeyError::Token(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_wrong_with_a_token_is_told_in_one_line_that_names_it() {
    let drawer = &*DRAWER;
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    drawer.import("errors", "p384", "02", &p384.serialize_pem());
    let pin = drawer.pin("errors.pin", PIN);
    let told = |token: &str, object: &str, module: &Path, pin: &Path| trouble(MachineKey::on_token(&uri(token, object, module, pin)));

    let none = told("errors", "sharing", Path::new("/nowhere/x.so"), &pin);
    assert!(matches!(&none, TokenError::Module { module, .. } if module == "/nowhere/x.so"), "{none}");
    let none = told("another", "sharing", &module(), &pin);
    assert!(matches!(&none, TokenError::NoToken { token } if token == "\"another\""), "{none}");
    let other = told("errors", "p384", &module(), &pin);
    assert!(other.to_string().starts_with("the key \"p384\" on the token \"errors\" is not ECDSA P-256"), "{other}");
    let none = told("errors", "sharing", &module(), Path::new("/nowhere/pin"));
    assert_eq!(none.to_string(), "no PIN for the token \"errors\": /nowhere/pin does not exist");
    let exposed = drawer.pin("exposed.pin", PIN);
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o640)).expect("open to a group");
    assert!(told("errors", "sharing", &module(), &exposed).to_string().contains("can be read by other users (mode 0640)"));
    for error in [none, other] {
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[test]
fn a_wrong_pin_is_not_tried_again_before_a_restart() {
    let drawer = &*DRAWER;
    let pin = drawer.pin("pin.pin", "654321");
    let which = uri("pin", "sharing", &module(), &pin);
    let some = MachineKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
    let key = MachineKey::on_known_token(which.clone(), some.spki()).expect("a P-256 key");
    let refused = key.sign(b"message").expect_err("a wrong PIN").to_string();
    assert!(refused.starts_with(&format!("the token \"pin\" refuses the PIN in {}", pin.display())), "{refused}");
    // It could be tried with success now. That it is not shows that nothing is.
    drawer.pin("pin.pin", PIN);
    assert_eq!(key.sign(b"message").expect_err("not tried").to_string(), refused);
    assert_eq!(key.trouble().map(|trouble| trouble.to_string()), Some(refused));
    MachineKey::on_token(&which).expect("the same, begun anew");
}

/// A base on loopback, and a machine that joins with a key made on a token.
async fn joined(drawer: &Drawer, folder: &Path) -> (Identity, Identity, PathBuf) {
    let (base_dir, dir) = (folder.join("base"), folder.join("machine"));
    let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
    let (base_identity, base) = account::create(&base_dir, options, SystemTime::now()).expect("an account");
    let base = SharedBase::new(base);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let tls = base_config(&base_identity, OwnCertificate::new(&base_identity)).expect("TLS");
    tokio::spawn(account::serve_base(listener, tls, base.clone(), |_: DotConnection| async {}));
    let invitation = base.lock().invite(&[address], SystemTime::now()).expect("an invitation");

    account::use_token(&dir, &drawer.uri("machine", "sharing")).expect("a key on the token");
    account::join(&invitation, "imac".parse().unwrap(), &dir).await.expect("joined");
    (base_identity, Identity::load(&dir).expect("after a restart"), dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_on_a_token_joins_renews_and_raises_tunnels_both_ways() {
    let drawer = &*DRAWER;
    let folder = drawer.0.join("account");
    let (base, imac, dir) = joined(drawer, &folder).await;
    let kept = fs::read_to_string(dir.join("machine.key")).expect("the file of the key");
    assert_eq!(kept, format!("{}\n", drawer.uri("machine", "sharing")), "no key and no PIN");
    assert!(imac.key().to_pem().is_err() && imac.key().trouble().is_none());
    let other = account::use_token(&dir, &drawer.uri("machine", "another")).expect_err("there is a key");
    assert!(other.to_string().contains("machine.key holds another key already"), "{other}");

    // A certificate request and TLS of the client's side.
    let before = imac.certificate().to_vec();
    let own = OwnCertificate::new(&imac);
    Member::new(imac, own, &dir).expect("TLS").renew().await.expect("a new certificate");
    let imac = Identity::load(&dir).expect("the renewed identity");
    assert_ne!(imac.certificate(), before);

    let roster = account::known_roster(&dir, imac.trust()).expect("a readable list of machines");
    for pair in [[&imac, &base], [&base, &imac]] {
        let waited = raise(pair, roster.clone()).await;
        assert!(waited, "the machine on the token signs later, not at once");
    }
    assert!(imac.key().trouble().is_none());
}

/// Raises a tunnel from the first to the second. Tells whether anybody had to wait for a signature.
async fn raise(pair: [&Identity; 2], roster: Option<Roster>) -> bool {
    let (_roster, known) = tokio::sync::watch::channel(roster);
    let mut ikes = pair.map(|identity| {
        let credentials = IdentityCredentials::new(identity.clone(), known.clone(), SystemTime::now);
        Ike::new(IkeConfig::default(), Box::new(credentials), Box::new(SystemEntropy))
    });
    let addresses: [SocketAddr; 2] = ["192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap()];
    let now = Instant::now();
    ikes[0].handle(ike::Input::Initiate { peer: pair[1].fqdn(), inner: pair[1].inner(), candidates: vec![addresses[1]] }, now);
    let (mut waited, end) = (false, now + Duration::from_secs(20));
    while Instant::now() < end {
        let mut quiet = true;
        for from in [0, 1] {
            while let Some(command) = ikes[from].poll_command() {
                quiet = false;
                match command {
                    ike::Command::Send { bytes, .. } => {
                        let input = ike::Input::Datagram { local: addresses[1 - from], remote: addresses[from], bytes };
                        ikes[1 - from].handle(input, now);
                    }
                    ike::Command::Up { peer, .. } if from == 0 => {
                        assert_eq!(peer, pair[1].fqdn());
                        return waited;
                    }
                    ike::Command::Failed { why, .. } => panic!("{why}"),
                    _ => {}
                }
            }
        }
        if quiet {
            waited = true;
            let signed = async {
                tokio::select! {
                    () = pair[0].key().signed() => 0,
                    () = pair[1].key().signed() => 1,
                }
            };
            let who = tokio::time::timeout(Duration::from_secs(10), signed).await.expect("a signature");
            ikes[who].handle(ike::Input::Signed, now);
        }
    }
    panic!("no tunnel");
}

#[test]
fn a_key_on_a_token_gets_a_ticket() {
    let drawer = &*DRAWER;
    let (pair, kdc) = Pair::with_kdc(&["--password", "alice=correct horse battery"]).expect("our KDC");
    drawer.import("client", "sharing", "01", &pair.laptop.key.to_pem().expect("PEM"));
    let key = MachineKey::on_known_token(drawer.uri("client", "sharing"), pair.laptop.key.spki()).expect("a P-256 key");
    let signatory = Signatory::new(Arc::new(key), pair.laptop.certificate.clone()).expect("that belong together");
    let realm = pair.imac.realm();
    let secrets = Secrets::certificate(Certificate::of_machine(signatory, pair.authority.trust()));
    let mut exchange = AsExchange::new(Wish::tgt(FullName::new(Principal::user("alice"), &realm)), secrets);
    let mut request = exchange.start(SystemTime::now(), &mut SystemEntropy).expect("a request");
    loop {
        let reply = pair.laptop.node.enter(|| ask(&pair, &request)).expect("the node").expect("an answer");
        match exchange.receive(&reply, SystemTime::now(), &mut SystemEntropy) {
            Ok(Next::Send(next)) => request = next,
            Ok(Next::Done(_)) => break,
            Err(error) => panic!("{error}\n--- our KDC\n{}", kdc.log()),
        }
    }
    assert!(kdc.log().contains("strengths: [Certificate]"), "{}", kdc.log());

    let other = MachineKey::on_known_token(drawer.uri("client", "sharing"), pair.imac.key.spki()).expect("another P-256 key");
    let refused = other.sign(b"message").expect_err("not the machine's").to_string();
    assert!(refused.contains("is not the one that this machine joined its account with"), "{refused}");
    assert_eq!(other.trouble().map(|trouble| trouble.to_string()), Some(refused));
}

#[test]
fn a_kdc_whose_key_is_on_a_token_serves_stock_clients_from_when_the_token_is_there() {
    let drawer = &*DRAWER;
    let pair = Pair::new().expect("two machines");
    drawer.import("kdc", "sharing", "01", &pair.imac.key.to_pem().expect("PEM"));
    let uri = drawer.uri("kdc", "sharing");
    // The file keeps its mode, 0600.
    pair.imac.node.write(&format!("{STATE}/machine.key"), format!("{uri}\n")).expect("the key's place");

    // This program looks at its own drawer; the KDC has one from which the token is missing at first.
    let (elsewhere, pocket) = (drawer.0.join("kdc-tokens"), drawer.0.join("pocket"));
    for folder in [&elsewhere, &pocket] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", elsewhere.display());
    fs::write(drawer.0.join("kdc.conf"), conf).expect("a configuration");
    let softhsm = drawer.0.join("kdc.conf");
    let kdc = pair
        .imac
        .start_kdc_with(&["--password", "alice=correct horse battery"], &[("SOFTHSM2_CONF", &softhsm.to_string_lossy())])
        .expect("our KDC");
    pair.laptop.configure(&Conf::new().realm_of(&pair.imac)).expect("a krb5.conf");
    let begun = Instant::now();
    let told = format!("{:#}", pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect_err("a KDC without its key"));
    assert!(told.contains("kinit: Generic error"), "{told}");
    // It would, for KDC_ERR_SVC_UNAVAILABLE, ask again and again for half a minute.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(kdc.log().contains("there is no token \\\"kdc\\\""), "{}", kdc.log());

    for token in fs::read_dir(drawer.0.join("tokens")).expect("tokens").flatten() {
        copy(&token.path(), &elsewhere.join(token.file_name()));
    }
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("a ticket");
    assert!(pair.laptop.trace().contains("matched KDC principal krbtgt/LKDC:SHA256."), "{}", pair.laptop.trace());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
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
