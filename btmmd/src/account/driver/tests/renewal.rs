//! A certificate at the end of its life, renewed by the base over TLS, and IKE afterwards.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::*;
use crate::account::authority::CERTIFICATE_LIFE;
use crate::account::credentials::IdentityCredentials;
use crate::account::public_key::PublicKey;
use crate::account::roster::Roster;
use crate::entropy::SystemEntropy;
use crate::ike::{Command, Ike, IkeConfig, Input};

/// What is left of an aged certificate's life.
const LEFT: Duration = Duration::from_secs(3600);

/// When the aged certificate has run out.
fn later() -> SystemTime {
    SystemTime::now() + 2 * LEFT
}

/// Puts in place of a machine's certificate the one that the base issued nearly a year ago.
fn age(served: &Served, directory: &Directory) -> Identity {
    issued_at(SystemTime::now() + LEFT - CERTIFICATE_LIFE, served, directory)
}

/// The same with one that ended an hour ago.
fn end(served: &Served, directory: &Directory) -> Identity {
    issued_at(SystemTime::now() - LEFT - CERTIFICATE_LIFE, served, directory)
}

fn issued_at(issued: SystemTime, served: &Served, directory: &Directory) -> Identity {
    let mut identity = Identity::load(directory.path()).unwrap();
    let key = PublicKey::from_spki(identity.key().spki()).unwrap();
    identity.certificate = served.base.lock().authority.issue(&key, identity.name(), issued).unwrap();
    identity.save(directory.path()).unwrap();
    Identity::load(directory.path()).unwrap()
}

fn ike(identity: &Identity, roster: &watch::Sender<Option<Roster>>) -> Ike {
    let credentials = IdentityCredentials::new(identity.clone(), roster.subscribe(), later);
    Ike::new(IkeConfig::default(), Box::new(credentials), Box::new(SystemEntropy))
}

/// `imac` dials the base; what it is told in the end.
fn dial(imac: Ike, imac_sees: &Identity, base: Ike) -> Command {
    let addresses: [SocketAddr; 2] = ["192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap()];
    let (mut ikes, now) = ([imac, base], Instant::now());
    ikes[0].handle(Input::Initiate { peer: imac_sees.fqdn(), inner: imac_sees.inner(), candidates: vec![addresses[1]] }, now);
    for turn in 0..8 {
        let from = turn % 2;
        while let Some(command) = ikes[from].poll_command() {
            match command {
                Command::Send { bytes, .. } => {
                    ikes[1 - from].handle(Input::Datagram { local: addresses[1 - from], remote: addresses[from], bytes }, now);
                }
                told @ (Command::Up { .. } | Command::Failed { .. }) if from == 0 => return told,
                _ => {}
            }
        }
    }
    panic!("told nothing")
}

#[tokio::test]
async fn a_certificate_near_its_end_is_renewed_and_ike_goes_on_with_the_new_one() {
    let (served, directory) = (serve().await, directory());
    join_as("imac", &served.invite(), &directory).await.unwrap();
    let old = age(&served, &directory);
    assert!(old.renew_at() < SystemTime::now() && old.expires_at() < later());
    let roster = served.base.lock().roster();

    let mut member = Member::new(old.clone(), OwnCertificate::new(&old), directory.path()).unwrap();
    member.renew().await.unwrap();
    let new = Identity::load(directory.path()).unwrap();
    assert!(new.renew_at() > later());
    assert_eq!((new.inner(), new.key().spki(), new.tsig().secret()), (old.inner(), old.key().spki(), old.tsig().secret()));
    assert_eq!(served.base.lock().roster(), roster, "a renewal is no change of the account");
    member.fetch_roster(Some(&roster)).await.unwrap();

    let (known, _) = watch::channel(Some(roster));
    let base = &served.identity;
    let told = dial(ike(&old, &known), base, ike(base, &known));
    let text = "base.alice.btmm.internal does not accept our certificate or signature";
    assert!(matches!(&told, Command::Failed { why, .. } if why.text == text), "the old one has run out by then: {told:?}");
    let told = dial(ike(&new, &known), base, ike(base, &known));
    assert!(matches!(&told, Command::Up { peer, .. } if *peer == base.fqdn()), "{told:?}");
}

#[tokio::test]
async fn a_machine_whose_certificate_has_ended_gets_a_new_one_and_is_let_in_nowhere_else_before() {
    let (served, directory) = (serve().await, directory());
    join_as("imac", &served.invite(), &directory).await.unwrap();
    let old = end(&served, &directory);
    assert!(old.expires_at() < SystemTime::now());
    let heard = greeting(&served, &old).await;
    assert!(!heard.contains("imac"), "DNS over TLS: {heard}");
    let mut member = Member::new(old.clone(), OwnCertificate::new(&old), directory.path()).unwrap();
    member.fetch_roster(None).await.unwrap();
    member.renew().await.unwrap();
    let new = Identity::load(directory.path()).unwrap();
    assert!(new.renew_at() > later());
    assert_eq!((new.inner(), new.key().spki()), (old.inner(), old.key().spki()));
    assert!(greeting(&served, &new).await.contains("imac"));
}

#[tokio::test]
async fn a_removed_machine_whose_certificate_has_ended_gets_no_new_one() {
    let (served, directory) = (serve().await, directory());
    join_as("imac", &served.invite(), &directory).await.unwrap();
    let old = end(&served, &directory);
    forget_newest(&served.base);
    let mut member = Member::new(old.clone(), OwnCertificate::new(&old), directory.path()).unwrap();
    assert!(matches!(member.renew().await, Err(ClientError::Refused(Refusal::NotAMember))));
    assert!(matches!(member.fetch_roster(None).await, Err(ClientError::Refused(Refusal::NotAMember))));
    assert_eq!(Identity::load(directory.path()).unwrap().certificate(), old.certificate());
}

/// What DNS over TLS says first to this machine; nothing if it hangs up.
async fn greeting(served: &Served, identity: &Identity) -> String {
    let tls = member_config(identity, OwnCertificate::new(identity), ALPN_DOT).unwrap();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = "base.alice.btmm.internal".try_into().unwrap();
    let mut stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
    // The base may have hung up.
    let _ = stream.write_all(b"ping").await;
    let mut heard = String::new();
    let _ = stream.read_to_string(&mut heard).await;
    heard
}

#[tokio::test]
async fn the_base_renews_its_own_and_is_believed_by_those_who_knew_it_before() {
    let (served, directory) = (serve().await, directory());
    let imac = join_as("imac", &served.invite(), &directory).await.unwrap();
    let old = age(&served, &served.directory);
    served.base.lock().renew_own(&old, SystemTime::now()).unwrap();
    let new = Identity::load(served.directory.path()).unwrap();
    assert!(old.expires_at() < later() && new.renew_at() > later());
    let (known, _) = watch::channel(Some(served.base.lock().roster()));
    let told = dial(ike(&imac, &known), &new, ike(&new, &known));
    assert!(matches!(&told, Command::Up { .. }), "{told:?}");
}

#[test]
fn a_machine_whose_clock_is_behind_keeps_its_renewed_certificate() {
    let directory = directory();
    let (old, base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    let key = PublicKey::from_spki(old.key().spki()).unwrap();
    let issue = |at| base.authority.issue(&key, old.name(), at).unwrap();
    let base_clock = old.renew_at() + Duration::from_secs(1);
    let ours = base_clock - Duration::from_secs(3600);
    let new = old.renewed(issue(base_clock), ours).unwrap();
    assert!(new.starts_at() > ours && new.is_to_be_renewed(ours) && !new.is_to_be_renewed(base_clock));
    let refused = new.renewed(issue(base_clock + LEFT), ours).unwrap_err().to_string();
    assert!(refused.contains("check the clocks of both machines"), "no certificate mends our clock: {refused}");
    assert!(!new.renewed(issue(ours), ours).unwrap().is_to_be_renewed(ours), "the base's clock was wrong, and is right now");
}

#[test]
fn a_base_whose_clock_ran_ahead_renews_itself_again_when_it_is_right() {
    let directory = directory();
    let (old, base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    let ahead = base.renew_own(&old, SystemTime::now() + CERTIFICATE_LIFE).unwrap();
    assert!(ahead.is_to_be_renewed(SystemTime::now()));
    let right = base.renew_own(&ahead, SystemTime::now()).unwrap();
    assert!(!right.is_to_be_renewed(SystemTime::now()));
    right.check(SystemTime::now()).unwrap();
}
