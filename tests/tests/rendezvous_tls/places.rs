//! Whose place a connection to a base takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use btmm_tests::zone::{machine, zone};
use btmmd::account::driver::DotConnection;
use btmmd::account::tls::{ALPN_DOT, OwnCertificate, base_config, member_config};
use btmmd::account::{self, AccountOptions, Identity, SharedBase};
use btmmd::rendezvous::driver::{Base, DotClient, RendezvousError, SharedServer};
use btmmd::rendezvous::tsig::TsigSecret;
use futures::future::join_all;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The addresses strangers come from, and how many from each: together as many as there are places for members.
const ADDRESSES: u8 = 8;
const FROM_EACH: usize = 32;
/// Places for connections that have not said whose they are.
const STRANGERS: usize = 32;

/// The base of an account, as the daemon serves it, and a member.
struct Served {
    address: SocketAddr,
    base: Identity,
    imac: Identity,
    server: SharedServer,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    async fn start(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rendezvous-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: machine("base") };
        let (identity, base) = account::create(&folder.join("base"), options, SystemTime::now()).unwrap();
        let base = SharedBase::new(base);
        let server = SharedServer::open(&zone(), &machine("base"), folder.join("zone.json")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = base_config(&identity, OwnCertificate::new(&identity)).unwrap();
        let serving = server.clone();
        let dot = move |connection: DotConnection| {
            let serving = serving.clone();
            async move { serving.serve_dot(connection.stream, connection.peer.as_ref().map(|peer| &peer.name)).await }
        };
        let task = tokio::spawn(account::serve_base(listener, tls, base.clone(), dot));
        let invitation = base.lock().invite(&[address], SystemTime::now()).unwrap();
        let imac = account::join(&invitation, machine("imac"), &folder.join("imac")).await.unwrap();
        server.set_key(&machine("imac"), TsigSecret::new(imac.tsig().secret()).unwrap());
        Self { address, base: identity, imac, server, task }
    }

    /// TLS of who knows the account's CA and has no certificate to show: a stranger, or a member whose token is out.
    fn without_certificate(&self) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.base.trust().ca.clone().into()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![ALPN_DOT.to_vec()];
        Arc::new(config)
    }

    fn with_certificate(&self) -> Arc<ClientConfig> {
        member_config(&self.imac, OwnCertificate::new(&self.imac), ALPN_DOT).unwrap()
    }

    /// A new connection of `imac`.
    fn member(&self, tls: Arc<ClientConfig>) -> DotClient {
        let base = Base::Tls { addresses: vec![self.address.to_string()], server_name: server_name(), tls };
        let secret = TsigSecret::new(self.imac.tsig().secret()).unwrap();
        DotClient::new(base, &machine("imac"), &zone(), secret).unwrap()
    }

    /// A connection from `127.0.0.<last>` that has shaken hands and says nothing.
    async fn stranger(&self, last: u8) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        TlsConnector::from(self.without_certificate()).connect(server_name(), stream).await.unwrap()
    }

    /// Strangers as many as there are places for members, and how many of them the base has not sent away.
    async fn crowd(&self) -> (Vec<TlsStream<TcpStream>>, usize) {
        let connecting = (2..2 + ADDRESSES).flat_map(|last| (0..FROM_EACH).map(move |_| self.stranger(last)));
        let mut crowd = join_all(connecting).await;
        let ends = crowd.iter_mut().map(|stream| async { timeout(Duration::from_secs(2), stream.read_u8()).await.is_err() });
        let held = join_all(ends).await.into_iter().filter(|held| *held).count();
        (crowd, held)
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("base.alice.btmm.internal").unwrap()
}

#[tokio::test]
async fn a_crowd_of_strangers_takes_no_place_of_a_member() {
    let served = Served::start("crowd").await;
    let (_crowd, held) = served.crowd().await;
    let serial = served.member(served.with_certificate()).serial().await;
    assert_eq!(serial.unwrap(), served.server.serial());
    assert_eq!(held, STRANGERS);
    // A certificate outlives its machine's membership.
    served.server.remove_key(&machine("imac"));
    let removed = served.member(served.with_certificate()).serial().await;
    assert!(matches!(removed, Err(RendezvousError::Closed)), "{removed:?}");
}

#[tokio::test]
async fn a_member_without_its_certificate_needs_a_strangers_place_until_it_has_signed() {
    let served = Served::start("signed").await;
    let mut kept = Vec::new();
    for _ in 0..STRANGERS + 8 {
        let member = served.member(served.without_certificate());
        assert_eq!(member.serial().await.unwrap(), served.server.serial());
        kept.push(member);
    }
    let (_crowd, held) = served.crowd().await;
    assert_eq!(held, STRANGERS, "those who signed hold none of them");
}
