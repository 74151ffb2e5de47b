//! The rendezvous over real TLS on the loopback: base, members, and what goes wrong between them.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use btmm_tests::zone::{machine, secret, zone};
use btmmd::rendezvous::driver::{Base, DotClient, Event, Rendezvous, RendezvousError, Settings, SharedServer, set_aside};
use btmmd::rendezvous::records::{Advertisement, Candidate, CandidateKind};
use btmmd::rendezvous::zone::Limits;
use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[path = "rendezvous_tls/places.rs"]
mod places;

const SOON: Duration = Duration::from_secs(20);

fn advertisement(who: &str, port: u16) -> Advertisement {
    Advertisement {
        machine: machine(who),
        inner: "fd12:3456:789a::1".parse().unwrap(),
        candidates: vec![Candidate { kind: CandidateKind::Mapped, address: ([203, 0, 113, 7], port).into() }],
        nat: "mapped".to_owned(),
        version: "0.1.0".to_owned(),
        realm: "LKDC:SHA256.0123".to_owned(),
    }
}

/// A certificate that says it is the base, and nobody above it.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["base.alice.btmm.internal".to_owned()]).unwrap();
        Self { certificate: made.cert.der().clone(), key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap() }
    }

    fn client(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    }

    fn server(&self, alpn: &[u8]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![self.certificate.clone()], self.key.clone_key()).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn base(&self, address: SocketAddr) -> Base {
        let server_name = ServerName::try_from("base.alice.btmm.internal").unwrap();
        Base::Tls { addresses: vec![address.to_string()], server_name, tls: Arc::new(self.client()) }
    }
}

/// A running base; ends, connections included, when dropped.
struct Running {
    address: SocketAddr,
    server: SharedServer,
    accepted: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    async fn start(identity: &Identity, address: SocketAddr, file: PathBuf, limits: Limits) -> Self {
        let server = SharedServer::open_with(&zone(), &machine("base"), file, limits).unwrap();
        for who in ["base", "imac", "laptop"] {
            server.set_key(&machine(who), secret(who));
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (counter, acceptor, serving) = (accepted.clone(), identity.server(b"dot"), server.clone());
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serving.serve_dot(stream, None).await;
                });
            }
        });
        let keeping = tokio::spawn(server.clone().run());
        Self { address, server, accepted, tasks: vec![accepting, keeping] }
    }

    async fn fresh(identity: &Identity, name: &str) -> Self {
        Self::start(identity, ([127, 0, 0, 1], 0).into(), state_file(name), Limits::default()).await
    }

    async fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn state_file(name: &str) -> PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rendezvous-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("zone.json")
}

fn settings(who: &str) -> Settings {
    Settings { poll: Duration::from_millis(200), ..Settings::new(zone(), machine(who), secret(who)) }
}

fn member(who: &str, base: Base) -> (Rendezvous, UnboundedReceiver<Event>) {
    Rendezvous::spawn(settings(who), base).unwrap()
}

async fn until(events: &mut UnboundedReceiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let mut seen = Vec::new();
    let search = async {
        loop {
            let event = events.recv().await.expect("the task runs");
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
    };
    match timeout(SOON, search).await {
        Ok(event) => event,
        Err(_) => panic!("did not come; came instead: {seen:?}"),
    }
}

fn says(who: &str, expected: Option<Advertisement>) -> impl Fn(&Event) -> bool {
    let wanted = Event::Peer { machine: machine(who), advertisement: expected };
    move |event| *event == wanted
}

#[tokio::test]
async fn two_machines_and_the_base_find_each_other_and_say_goodbye() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "find").await;
    let (own, mut own_events) = member("base", Base::Local(base.server.clone()));
    let (imac, mut imac_events) = member("imac", identity.base(base.address));
    let (mut laptop, mut laptop_events) = member("laptop", identity.base(base.address));
    own.advertise(advertisement("base", 1));
    imac.advertise(advertisement("imac", 2));
    laptop.advertise(advertisement("laptop", 3));
    until(&mut imac_events, |event| matches!(event, Event::Published { lease } if lease.as_secs() == 7200)).await;
    until(&mut imac_events, says("laptop", Some(advertisement("laptop", 3)))).await;
    until(&mut laptop_events, says("imac", Some(advertisement("imac", 2)))).await;
    until(&mut own_events, says("imac", Some(advertisement("imac", 2)))).await;
    imac.look_now("the test wants to know");
    while imac.peers().len() < 3 {
        until(&mut imac_events, |event| matches!(event, Event::Peer { .. })).await;
    }
    assert_eq!(imac.lookup(&machine("base")), Some(advertisement("base", 1)));
    laptop.advertise(advertisement("laptop", 33));
    until(&mut imac_events, says("laptop", Some(advertisement("laptop", 33)))).await;
    laptop.stop().await;
    until(&mut imac_events, says("laptop", None)).await;
    assert_eq!(imac.lookup(&machine("laptop")), None);
    assert_eq!(base.accepted.load(Ordering::SeqCst), 2, "one kept connection for each machine");
}

#[tokio::test]
async fn many_questions_share_one_connection_and_come_back_to_who_asked() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "pipeline").await;
    let client = DotClient::new(identity.base(base.address), &machine("imac"), &zone(), secret("imac")).unwrap();
    client.update(&advertisement("imac", 2).to_update(&zone()).unwrap(), Duration::from_secs(7200)).await.unwrap();
    let host = Name::from_ascii("imac.alice.btmm.internal.").unwrap();
    let questions = (0..200).map(|n| {
        let (client, host) = (&client, &host);
        async move {
            let kind = if n % 2 == 0 { RecordType::AAAA } else { RecordType::SOA };
            (n, client.query(host, kind).await.unwrap().len())
        }
    });
    for (n, answers) in futures::future::join_all(questions).await {
        assert_eq!(answers, 1 - n % 2);
    }
    assert_eq!(base.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_base_that_restarts_still_knows_everyone_and_is_found_again() {
    let identity = Identity::new();
    let file = state_file("restart");
    let base = Running::start(&identity, ([127, 0, 0, 1], 0).into(), file.clone(), Limits::default()).await;
    let address = base.address;
    let (imac, mut events) = member("imac", identity.base(address));
    imac.advertise(advertisement("imac", 2));
    until(&mut events, says("imac", Some(advertisement("imac", 2)))).await;
    let serial = base.server.serial();
    base.server.save().await.unwrap();
    base.stop().await;
    until(&mut events, |event| matches!(event, Event::Unreachable { .. })).await;
    assert_eq!(imac.lookup(&machine("imac")), Some(advertisement("imac", 2)), "what is known is kept");
    let base = Running::start(&identity, address, file, Limits::default()).await;
    assert_eq!(base.server.serial(), serial);
    until(&mut events, |event| *event == Event::Reachable).await;
}

#[tokio::test]
async fn a_base_that_lost_its_zone_is_told_again() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "lost-before").await;
    let address = base.address;
    let (imac, mut events) = member("imac", identity.base(address));
    imac.advertise(advertisement("imac", 2));
    until(&mut events, says("imac", Some(advertisement("imac", 2)))).await;
    base.stop().await;
    let file = state_file("lost-after");
    let base = Running::start(&identity, address, file, Limits::default()).await;
    until(&mut events, says("imac", None)).await;
    until(&mut events, says("imac", Some(advertisement("imac", 2)))).await;
    drop(base);
}

#[tokio::test]
async fn a_machine_that_vanishes_is_gone_when_its_lease_ends() {
    let identity = Identity::new();
    let limits = Limits { min_lease: Duration::from_secs(1), max_lease: Duration::from_secs(2), ..Limits::default() };
    let base = Running::start(&identity, ([127, 0, 0, 1], 0).into(), state_file("vanish"), limits).await;
    let (imac, mut imac_events) = member("imac", identity.base(base.address));
    let (_laptop, mut laptop_events) = member("laptop", identity.base(base.address));
    imac.advertise(advertisement("imac", 2));
    until(&mut laptop_events, says("imac", Some(advertisement("imac", 2)))).await;
    // While it lives it is refreshed, and nobody sees it go.
    for _ in 0..3 {
        until(&mut imac_events, |event| matches!(event, Event::Published { lease } if lease.as_secs() == 2)).await;
    }
    assert!(!matches!(laptop_events.try_recv(), Ok(Event::Peer { .. })));
    // A crash: no goodbye.
    base.server.set_key(&machine("imac"), secret("other"));
    let gone = until(&mut laptop_events, says("imac", None)).await;
    assert!(matches!(gone, Event::Peer { advertisement: None, .. }));
    let failed = until(&mut imac_events, |event| matches!(event, Event::PublishFailed { .. })).await;
    assert!(matches!(failed, Event::PublishFailed { cause, .. } if cause.contains("another secret")));
}

#[tokio::test]
async fn a_stranger_with_the_bases_address_is_not_believed_and_the_cause_is_named() {
    let identity = Identity::new();
    let base = Running::fresh(&Identity::new(), "stranger").await;
    let client = DotClient::new(identity.base(base.address), &machine("imac"), &zone(), secret("imac")).unwrap();
    let error = client.serial().await.unwrap_err().to_string();
    assert!(error.contains(&base.address.to_string()) && error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn tls_without_dns_and_a_closed_port_are_named() {
    let identity = Identity::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = identity.server(b"http/1.1");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let client = DotClient::new(identity.base(address), &machine("imac"), &zone(), secret("imac")).unwrap();
    let error = client.serial().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the base cannot be reached: {address}: ")), "{error}");
    serving.abort();
    let _ = serving.await;
    let error = client.serial().await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_connection_that_only_looks_alive_is_given_up_when_the_network_changes() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "mute").await;
    // As after a sleep: the first connection is taken, and never a word comes back; what the second says is passed on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (front, behind) = (listener.local_addr().unwrap(), base.address);
    let passing = tokio::spawn(async move {
        let _mute = listener.accept().await.unwrap();
        let (mut outer, _) = listener.accept().await.unwrap();
        let mut inner = TcpStream::connect(behind).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
    });
    let client = Arc::new(DotClient::new(identity.base(front), &machine("imac"), &zone(), secret("imac")).unwrap());
    let asking = tokio::spawn({
        let client = client.clone();
        async move { futures::future::join(client.serial(), client.transfer()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asking.is_finished());
    client.reset();
    let (serial, zone) = timeout(Duration::from_secs(3), asking).await.expect("at once, not after a time limit").unwrap();
    assert_eq!(serial.unwrap(), zone.unwrap().0);
    passing.abort();
}

#[tokio::test]
async fn a_second_address_serves_when_the_first_is_dead() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "second").await;
    let Base::Tls { server_name, tls, .. } = identity.base(base.address) else { unreachable!() };
    // 192.0.2.0/24 is nobody's; the port on loopback is closed.
    let addresses = vec!["192.0.2.1:4500".to_owned(), "127.0.0.1:1".to_owned(), base.address.to_string()];
    let client = DotClient::new(Base::Tls { addresses, server_name, tls }, &machine("imac"), &zone(), secret("imac")).unwrap();
    let serial = timeout(Duration::from_secs(4), client.serial()).await.unwrap().unwrap();
    assert_eq!(serial, base.server.serial());
}

#[tokio::test]
async fn a_connection_that_only_asks_without_signing_is_closed() {
    let identity = Identity::new();
    let base = Running::fresh(&identity, "unsigned").await;
    let mut tls = identity.client();
    tls.alpn_protocols = vec![b"dot".to_vec()];
    let stream = TcpStream::connect(base.address).await.unwrap();
    let name = ServerName::try_from("base.alice.btmm.internal").unwrap();
    let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let question = b"\0\x18\0\x01\0\0\0\x01\0\0\0\0\0\0\x03foo\x02aa\0\0\x01\0\x01".to_vec();
    let mut question = question;
    question[1] = (question.len() - 2) as u8;
    for _ in 0..3 {
        stream.write_all(&question).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[3] & 0xf, 5);
    }
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_damaged_zone_file_is_named_left_alone_and_moved_only_when_asked() {
    let file = state_file("damaged");
    std::fs::write(&file, "{\"version\": 1, \"zone\"").unwrap();
    let open = || SharedServer::open(&zone(), &machine("base"), file.clone());
    let error = open().err().unwrap();
    assert!(matches!(error, RendezvousError::State { .. }));
    assert!(error.to_string().starts_with(&format!("{}: not a zone file", file.display())), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"{\"version\": 1, \"zone\"");
    let aside = set_aside(&file).unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), b"{\"version\": 1, \"zone\"");
    open().unwrap().save().await.unwrap();
    assert!(open().is_ok() && std::fs::read(&file).unwrap().starts_with(b"{"));
}
