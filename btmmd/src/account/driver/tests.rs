use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::client::{exchange, reach};
use super::*;
use crate::account::base::Base;
use crate::account::enrol::{Membership, Refusal};
use crate::account::identity::Identity;
use crate::account::invitations::MAX_TRIES;
use crate::account::invite::{CODE_LIFE, InvitationCode};
use crate::account::join::Applicant;
use crate::account::layout::StateError;
use crate::account::name::MachineName;
use crate::account::roster::RosterError;
use crate::account::tls::{OwnCertificate, base_config, joining_config, member_config};
use crate::account::{AccountOptions, create, known_roster, linux};

mod files;
mod renewal;

/// A directory of its own for a test, removed at the end.
pub struct Directory(PathBuf);

/// Makes one.
pub fn directory() -> Directory {
    let name = data_encoding::HEXLOWER.encode(&crate::account::key::random::<8>().unwrap());
    let path = std::env::temp_dir().join(format!("btmm-account-{name}"));
    fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    Directory(path)
}

impl Directory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A base that listens on loopback.
struct Served {
    directory: Directory,
    identity: Identity,
    base: SharedBase,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn options() -> AccountOptions {
    AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() }
}

async fn serve() -> Served {
    let directory = directory();
    let (identity, base) = create(directory.path(), options(), SystemTime::now()).unwrap();
    let base = SharedBase::new(base);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = base_config(&identity, OwnCertificate::new(&identity)).unwrap();
    let task = tokio::spawn(serve_base(listener, tls, base.clone(), echo));
    Served { directory, identity, base, address, task }
}

/// Stands in for DNS: says who is there, then gives back what comes.
async fn echo(mut connection: DotConnection) {
    let who = connection.peer.map_or("nobody".to_owned(), |peer| peer.fqdn);
    connection.stream.write_all(format!("{who}\n").as_bytes()).await.unwrap();
    let mut octets = [0; 4];
    connection.stream.read_exact(&mut octets).await.unwrap();
    connection.stream.write_all(&octets).await.unwrap();
    connection.stream.shutdown().await.unwrap();
}

impl Served {
    fn invite(&self) -> InvitationCode {
        self.invite_at(SystemTime::now())
    }

    fn invite_at(&self, now: SystemTime) -> InvitationCode {
        // Through the text, as people carry it.
        self.base.lock().invite(&[self.address], now).unwrap().reveal().parse().unwrap()
    }
}

async fn join_as(name: &str, code: &InvitationCode, directory: &Directory) -> Result<Identity, JoinError> {
    join(code, name.parse().unwrap(), directory.path()).await
}

fn refusal(joined: Result<Identity, JoinError>) -> Refusal {
    match joined {
        Err(JoinError::Client(ClientError::Refused(refusal))) => refusal,
        other => panic!("{other:?}"),
    }
}

fn files(directory: &Directory) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_machine_joins_and_knows_itself_after_a_restart() {
    let (served, directory) = (serve().await, directory());
    let joined = join_as("imac", &served.invite(), &directory).await.unwrap();
    let loaded = Identity::load(directory.path()).unwrap();
    assert_eq!(loaded.fqdn(), "imac.alice.btmm.internal");
    assert_eq!(loaded.inner(), joined.inner());
    assert_eq!(loaded.certificate(), joined.certificate());
    assert_eq!(loaded.trust(), served.identity.trust());
    assert_eq!(loaded.base().addresses, [served.address]);
    assert_eq!(loaded.base().name, *served.identity.name());
    assert!(served.identity.is_base() && !loaded.is_base());
    let roster = known_roster(directory.path(), loaded.trust()).unwrap().unwrap();
    let names: Vec<&str> = roster.machines().iter().map(|machine| machine.name.as_str()).collect();
    assert_eq!(names, ["base", "imac"]);

    let reopened = Base::open(served.directory.path()).unwrap();
    let keys: Vec<(String, [u8; 32])> = reopened.tsig_keys().map(|(name, key)| (name.to_string(), *key.secret())).collect();
    assert_eq!(keys[1], ("imac".to_owned(), *loaded.tsig().secret()));
    assert_eq!(reopened.roster(), roster);
}

#[tokio::test]
async fn secrets_lie_in_files_that_only_their_owner_can_read() {
    let (served, directory) = (serve().await, directory());
    join_as("imac", &served.invite(), &directory).await.unwrap();
    for (root, name) in [
        (&directory, "machine.key"),
        (&directory, "identity.json"),
        (&served.directory, "base/ca.key"),
        (&served.directory, "base/state.json"),
    ] {
        assert_eq!(fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let path = directory.path().join("machine.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Identity::load(directory.path()).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("{} can be read by other users (mode 0640)", path.display())), "{refused}");
}

#[tokio::test]
async fn a_used_code_admits_nobody_else() {
    let (served, mine, theirs) = (serve().await, directory(), directory());
    let code = served.invite();
    join_as("imac", &code, &mine).await.unwrap();
    assert_eq!(refusal(join_as("laptop", &code, &theirs).await), Refusal::UsedCode);
    assert_eq!(files(&theirs), ["machine.key"]);
    // The same machine may ask again: the answer may have been lost.
    join_as("imac", &code, &mine).await.unwrap();
}

#[tokio::test]
async fn a_request_to_join_that_was_made_for_another_connection_is_refused_with_its_own_error() {
    let (served, directory) = (serve().await, directory());
    let code = served.invite();
    let tls = joining_config(code.fingerprint).unwrap();
    let key = linux::machine_key(directory.path()).unwrap();
    let imac = Applicant { key: Arc::new(key), name: "imac".parse().unwrap() };
    let [(_, mine), (address, anothers)] =
        [reach(&code.addresses, Arc::clone(&tls)).await.unwrap(), reach(&code.addresses, tls).await.unwrap()];
    let kept = imac.request(&code, &ChannelBinding::of(mine.get_ref().1).unwrap()).unwrap();
    let replayed = exchange::<Membership>(address, anothers, Method::POST, "/v1/join", Some(&kept)).await;
    assert!(matches!(replayed, Err(ClientError::Refused(Refusal::OtherConnection))), "{replayed:?}");
    assert_eq!(served.base.lock().roster().machines().len(), 1);
    exchange::<Membership>(address, mine, Method::POST, "/v1/join", Some(&kept)).await.unwrap();
}

#[tokio::test]
async fn an_expired_code_is_not_even_tried() {
    let (served, directory) = (serve().await, directory());
    let code = served.invite_at(SystemTime::now() - CODE_LIFE);
    let refused = join_as("imac", &code, &directory).await.unwrap_err();
    assert!(refused.to_string().starts_with("the invitation code has expired"), "{refused}");
    assert!(files(&directory).is_empty());
}

#[tokio::test]
async fn a_machine_with_a_slow_clock_hears_from_the_base_that_its_code_expired() {
    let (served, directory) = (serve().await, directory());
    let mut code = served.invite_at(SystemTime::now() - CODE_LIFE);
    code.expires_at += 60;
    assert_eq!(refusal(join_as("imac", &code, &directory).await), Refusal::ExpiredCode);
}

#[tokio::test]
async fn another_base_is_recognised_before_the_secret_is_sent() {
    let (ours, theirs, directory) = (serve().await, serve().await, directory());
    let mut code = ours.invite();
    code.addresses = vec![theirs.address];
    let refused = join_as("imac", &code, &directory).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("{} (it is not the base that made this invitation code)", theirs.address)), "{refused}");
    assert!(files(&directory).is_empty());
}

#[tokio::test]
async fn another_machine_of_the_account_cannot_pose_as_the_base() {
    let (served, imac, laptop) = (serve().await, directory(), directory());
    let rogue = join_as("imac", &served.invite(), &imac).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut code = served.invite();
    code.addresses = vec![listener.local_addr().unwrap()];
    let tls = base_config(&rogue, OwnCertificate::new(&rogue)).unwrap();
    let task = tokio::spawn(serve_base(listener, tls, served.base.clone(), echo));
    let refused = join_as("laptop", &code, &laptop).await.unwrap_err().to_string();
    assert!(refused.contains("it is not the base that made this invitation code"), "{refused}");

    let mut misled = Identity::load(imac.path()).unwrap();
    misled.base.addresses = code.addresses.clone();
    let own = OwnCertificate::new(&misled);
    let refused = Member::new(misled, own, imac.path()).unwrap().fetch_roster(None).await.unwrap_err().to_string();
    assert!(refused.contains("imac.alice.btmm.internal answers in place of the base, base.alice.btmm.internal"), "{refused}");
    task.abort();
}

#[tokio::test]
async fn an_unreachable_address_does_not_hide_a_reachable_one() {
    let (served, directory) = (serve().await, directory());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut code = served.invite();
    code.addresses.insert(0, closed);
    let joined = join_as("imac", &code, &directory).await.unwrap();
    assert_eq!(joined.base().addresses, [served.address, closed]);
    code.addresses = vec![closed];
    let refused = join_as("imac", &code, &directory).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot reach the base at {closed} (Connection refused")), "{refused}");
}

#[tokio::test]
async fn a_taken_name_is_refused_without_using_up_the_code() {
    let (served, mine, theirs) = (serve().await, directory(), directory());
    join_as("imac", &served.invite(), &mine).await.unwrap();
    let code = served.invite();
    assert_eq!(refusal(join_as("imac", &code, &theirs).await), Refusal::NameTaken { name: "imac".parse().unwrap() });
    join_as("laptop", &code, &theirs).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_joins_again_keeps_its_name_address_and_tsig_key() {
    let (served, directory) = (serve().await, directory());
    let first = join_as("imac", &served.invite(), &directory).await.unwrap();
    fs::remove_file(directory.path().join("identity.json")).unwrap();
    assert_eq!(refusal(join_as("laptop", &served.invite(), &directory).await), Refusal::KnownAs { name: "imac".parse().unwrap() });
    let again = join_as("imac", &served.invite(), &directory).await.unwrap();
    assert_eq!((again.inner(), again.tsig().secret()), (first.inner(), first.tsig().secret()));
    assert_ne!(again.certificate(), first.certificate());
    assert_eq!(served.base.lock().roster().machines().len(), 2);
}

#[tokio::test]
async fn a_machine_of_another_account_does_not_join_and_keeps_what_it_is() {
    let (ours, theirs, directory) = (serve().await, serve().await, directory());
    join_as("imac", &ours.invite(), &directory).await.unwrap();
    let before = fs::read(directory.path().join("identity.json")).unwrap();
    let refused = join_as("imac", &theirs.invite(), &directory).await.unwrap_err();
    assert!(matches!(refused, JoinError::State(StateError::Exists { .. })), "{refused}");
    assert_eq!(fs::read(directory.path().join("identity.json")).unwrap(), before);
    assert_eq!(theirs.base.lock().roster().machines().len(), 1);
}

#[tokio::test]
async fn guessing_is_stopped_even_for_those_who_then_guess_right() {
    let (served, directory) = (serve().await, directory());
    let right = served.invite();
    for _ in 0..MAX_TRIES {
        let mut wrong = right.clone();
        wrong.secret = crate::account::invite::InviteSecret::generate().unwrap();
        assert_eq!(refusal(join_as("imac", &wrong, &directory).await), Refusal::UnknownCode);
    }
    assert_eq!(refusal(join_as("imac", &right, &directory).await), Refusal::TooManyTries);
}

fn forget_newest(base: &SharedBase) -> MachineName {
    let mut base = base.lock();
    let forgotten = base.book.members.pop().unwrap();
    base.book.serial -= 1;
    base.roster = base.book.roster(&base.authority).sign(&base.authority).unwrap();
    forgotten.machine.name
}

#[tokio::test]
async fn members_fetch_the_roster_and_renew_and_strangers_do_not() {
    let (served, imac, laptop) = (serve().await, directory(), directory());
    let identity = join_as("imac", &served.invite(), &imac).await.unwrap();
    join_as("laptop", &served.invite(), &laptop).await.unwrap();
    let known = known_roster(imac.path(), identity.trust()).unwrap();
    let mut astray = identity.clone();
    astray.base.addresses.clear();
    let mut member = Member::new(astray, OwnCertificate::new(&identity), imac.path()).unwrap();
    assert!(matches!(member.fetch_roster(None).await, Err(ClientError::NoAddress)));
    member.move_base(vec![served.address]).unwrap();
    assert_eq!(Identity::load(imac.path()).unwrap().base().addresses, [served.address]);
    let roster = member.fetch_roster(known.as_ref()).await.unwrap();
    assert_eq!(roster.machines().len(), 3);
    assert_eq!(known_roster(imac.path(), identity.trust()).unwrap().as_ref(), Some(&roster));
    member.renew().await.unwrap();
    assert_ne!(member.identity().certificate(), identity.certificate());
    assert_eq!(Identity::load(imac.path()).unwrap().certificate(), member.identity().certificate());
    member.fetch_roster(Some(&roster)).await.unwrap();

    // Restored from a backup: the base has forgotten the laptop, and imac notices.
    let forgotten = forget_newest(&served.base);
    let refused = member.fetch_roster(Some(&roster)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Roster(RosterError::Older { offered: 2, known: 3 })), "{refused}");
    member.fetch_roster(None).await.unwrap();
    assert_eq!(known_roster(imac.path(), identity.trust()).unwrap().as_ref(), Some(&roster), "the newer one stays");
    fs::write(imac.path().join("roster.json"), "{").unwrap();
    let older = member.fetch_roster(None).await.unwrap();
    assert_eq!(known_roster(imac.path(), identity.trust()).unwrap(), Some(older), "one that cannot be read does not");
    let stranger = Identity::load(laptop.path()).unwrap();
    assert_eq!(forgotten, *stranger.name());
    let own = OwnCertificate::new(&stranger);
    let mut stranger = Member::new(stranger, own, laptop.path()).unwrap();
    assert!(matches!(stranger.fetch_roster(None).await, Err(ClientError::Refused(Refusal::NotAMember))));
    assert!(matches!(stranger.renew().await, Err(ClientError::Refused(Refusal::NotAMember))));
}

#[tokio::test]
async fn dns_over_tls_is_handed_over_with_the_machine_at_the_other_end() {
    let (served, imac) = (serve().await, directory());
    let identity = join_as("imac", &served.invite(), &imac).await.unwrap();
    let tls = member_config(&identity, OwnCertificate::new(&identity), ALPN_DOT).unwrap();
    let name = "base.alice.btmm.internal".try_into().unwrap();
    let mut stream = TlsConnector::from(tls).connect(name, TcpStream::connect(served.address).await.unwrap()).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "imac.alice.btmm.internal\nping");
}

#[tokio::test]
async fn a_member_of_another_account_cannot_even_connect() {
    let (ours, theirs, imac) = (serve().await, serve().await, directory());
    let mut identity = join_as("imac", &ours.invite(), &imac).await.unwrap();
    identity.trust = theirs.identity.trust().clone();
    let tls = member_config(&identity, OwnCertificate::new(&identity), ALPN_DOT).unwrap();
    let name = "base.alice.btmm.internal".try_into().unwrap();
    let stream = TlsConnector::from(tls).connect(name, TcpStream::connect(theirs.address).await.unwrap()).await;
    // With TLS 1.3 the client learns only from its first read that it was refused.
    let mut heard = String::new();
    let refused = stream.unwrap().read_to_string(&mut heard).await.unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");
}

#[tokio::test]
async fn oversized_and_senseless_requests_are_refused() {
    let served = serve().await;
    let tls = crate::account::tls::joining_config(served.invite().fingerprint).unwrap();
    for (request, expected) in [
        ("GET /v1/roster HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "403"),
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "400"),
        ("POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "400"),
        (format!("POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n{}", " ".repeat(70000)), "400"),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20000)), "431"),
    ] {
        let name = "base.alice.btmm.internal".try_into().unwrap();
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut stream = TlsConnector::from(Arc::clone(&tls)).connect(name, stream).await.unwrap();
        // The base may hang up before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.starts_with(&format!("HTTP/1.1 {expected}")), "{}: {heard}", &request[..40]);
    }
}
