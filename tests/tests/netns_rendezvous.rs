//! The rendezvous judged by BIND: its `dig` and `nsupdate` against our server, our client against its `named`. Needs root and the lab root.
//! Each test has a machine of its own with nothing but a loopback, so fixed ports collide with nothing.
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use btmm_tests::lab::{Node, Running, inside, lab_root};
use btmm_tests::zone::{machine, secret, zone};
use btmmd::rendezvous::driver::{Base, DotClient, SharedServer};
use btmmd::rendezvous::records::{Advertisement, Candidate, CandidateKind, Filter, read_zone, withdrawal};
use btmmd::rendezvous::tsig::TsigSecret;
use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsAcceptor;

const TLS_PORT: u16 = 4500;
/// nsupdate 9.18 has no TLS: the same server, the same signatures, on a bare TCP port.
const TCP_PORT: u16 = 4501;

fn advertisement(who: &str) -> Advertisement {
    let candidate = |kind, address: &str| Candidate { kind, address: address.parse().unwrap() };
    Advertisement {
        machine: machine(who),
        inner: "fd12:3456:789a::1".parse().unwrap(),
        candidates: vec![
            candidate(CandidateKind::Mapped, "203.0.113.7:49152"),
            candidate(CandidateKind::Public, "[2001:db8::7]:4500"),
            candidate(CandidateKind::Local, "192.168.1.7:4500"),
        ],
        nat: "mapped by NAT-PMP".to_owned(),
        version: "0.1.0".to_owned(),
        realm: "LKDC:SHA256.0123".to_owned(),
    }
}

fn lab(name: &str) -> Node {
    let root = lab_root();
    assert!(inside() || root.is_dir(), "there is no lab root at {}: run `cargo xtask setup`", root.display());
    Node::new(name).expect("a machine of one's own")
}

/// Certificate and key in PEM.
fn identity() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["base.alice.btmm.internal".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn client_config(certificate: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Our server in `node`, over TLS and over TCP.
async fn serve(node: &Node, certificate: &str, key: &str) -> SharedServer {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{}.json", node.name()));
    let _ = std::fs::remove_file(&file);
    let server = SharedServer::open(&zone(), &machine("base"), file).unwrap();
    for who in ["imac", "laptop"] {
        server.set_key(&machine(who), secret(who));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = builder.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    for (port, acceptor) in [(TLS_PORT, Some(acceptor)), (TCP_PORT, None)] {
        let listener = node.enter(|| std::net::TcpListener::bind(("127.0.0.1", port))).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => server.serve_dot(acceptor.accept(stream).await.unwrap(), None).await,
                        None => server.serve_dot(stream, None).await,
                    }
                });
            }
        });
    }
    server
}

fn key_argument(who: &str, secret: &TsigSecret) -> String {
    format!("hmac-sha256:{who}.alice.btmm.internal:{}", *secret.to_base64())
}

/// All that a program writes, whether it ends well or not.
async fn output(mut command: Command, input: &str) -> String {
    let input = input.to_owned();
    let run = move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), None);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn dig(node: &Node, key: Option<String>, question: &str) -> String {
    let mut command = node.foreign("dig");
    command.args(["@127.0.0.1", "-p", "4500", "+tls-ca=/run/ca.pem", "+tls-hostname=base.alice.btmm.internal", "+tries=1", "+time=5"]);
    if let Some(key) = key {
        command.args(["-y", &key]);
    }
    command.args(question.split_whitespace());
    output(command, "").await
}

async fn nsupdate(node: &Node, who: &str, script: &str) -> String {
    let mut command = node.foreign("nsupdate");
    command.args(["-v", "-t", "10", "-y", &key_argument(who, &secret(who))]);
    output(command, &format!("server 127.0.0.1 {TCP_PORT}\nzone alice.btmm.internal.\n{script}\nsend\nanswer\n")).await
}

#[tokio::test]
async fn dig_reads_the_zone_over_tls_and_finds_our_signatures_right() {
    let node = lab("digger");
    let (certificate, key) = identity();
    node.write("/run/ca.pem", &certificate).unwrap();
    let server = serve(&node, &certificate, &key).await;
    let local = DotClient::new(Base::Local(server), &machine("imac"), &zone(), secret("imac")).unwrap();
    local.update(&advertisement("imac").to_update(&zone()).unwrap(), Duration::from_secs(7200)).await.unwrap();
    let laptop = || Some(key_argument("laptop", &secret("laptop")));

    let host = dig(&node, laptop(), "imac.alice.btmm.internal AAAA").await;
    assert!(host.contains("status: NOERROR") && host.contains("fd12:3456:789a::1") && host.contains("flags: qr aa"), "{host}");
    assert!(host.contains("(TLS)") && host.contains("TSIG") && !host.contains("verify"), "{host}");
    let service = dig(&node, laptop(), "_autotunnel._udp.imac.alice.btmm.internal SRV +short").await;
    assert_eq!(service.lines().filter(|line| line.contains("_autotunnel")).count(), 3, "{service}");
    let whole = dig(&node, laptop(), "alice.btmm.internal AXFR").await;
    assert!(whole.contains("XFR size: 12 records") && !whole.contains("verify"), "{whole}");
    let absent = dig(&node, laptop(), "nobody.alice.btmm.internal A").await;
    assert!(absent.contains("status: NXDOMAIN") && absent.contains("SOA") && !absent.contains("verify"), "{absent}");
}

#[tokio::test]
async fn dig_without_a_key_or_with_a_wrong_one_learns_nothing() {
    let node = lab("stranger");
    let (certificate, key) = identity();
    node.write("/run/ca.pem", &certificate).unwrap();
    let server = serve(&node, &certificate, &key).await;
    let local = DotClient::new(Base::Local(server), &machine("imac"), &zone(), secret("imac")).unwrap();
    local.update(&advertisement("imac").to_update(&zone()).unwrap(), Duration::from_secs(7200)).await.unwrap();
    let question = "imac.alice.btmm.internal AAAA";
    let cases = [
        (None, "status: REFUSED"),
        (Some(key_argument("laptop", &secret("other"))), "BADSIG"),
        (Some(key_argument("nobody", &secret("laptop"))), "BADKEY"),
        (Some(key_argument("laptop", &secret("laptop")).replace("sha256", "sha512")), "BADKEY"),
    ];
    for (key, expected) in cases {
        let said = dig(&node, key, question).await;
        assert!(said.contains(expected) && !said.contains("fd12:"), "{expected}: {said}");
    }
}

#[tokio::test]
async fn a_large_zone_comes_over_to_dig_in_several_verified_messages() {
    let node = lab("transfer");
    let (certificate, key) = identity();
    node.write("/run/ca.pem", &certificate).unwrap();
    serve(&node, &certificate, &key).await;
    let adds: String = (0..120).map(|n| format!("update add n{}.imac.alice.btmm.internal. 60 A 192.0.2.{n}\n", n / 2)).collect();
    let said = nsupdate(&node, "imac", &adds).await;
    assert!(said.contains("status: NOERROR"), "{said}");
    let whole = dig(&node, Some(key_argument("laptop", &secret("laptop"))), "alice.btmm.internal AXFR").await;
    assert!(whole.contains("XFR size: 123 records (messages 4,") && !whole.contains("verify"), "{whole}");
}

#[tokio::test]
async fn nsupdate_changes_its_own_names_and_no_others() {
    let node = lab("updater");
    let (certificate, key) = identity();
    node.write("/run/ca.pem", &certificate).unwrap();
    let server = serve(&node, &certificate, &key).await;
    let laptop = DotClient::new(Base::Local(server), &machine("laptop"), &zone(), secret("laptop")).unwrap();
    let cases = [
        ("imac", "update add imac.alice.btmm.internal. 60 TXT hello", "NOERROR"),
        ("imac", "prereq yxdomain imac.alice.btmm.internal.\nupdate add x.imac.alice.btmm.internal. 60 A 192.0.2.1", "NOERROR"),
        ("imac", "prereq nxdomain imac.alice.btmm.internal.\nupdate add x.imac.alice.btmm.internal. 60 A 192.0.2.2", "YXDOMAIN"),
        ("imac", "prereq yxrrset imac.alice.btmm.internal. TXT bye\nupdate delete imac.alice.btmm.internal.", "NXRRSET"),
        ("laptop", "update delete imac.alice.btmm.internal.", "REFUSED"),
        ("imac", "update add alice.btmm.internal. 60 A 192.0.2.1", "REFUSED"),
        ("imac", "update delete x.imac.alice.btmm.internal. A", "NOERROR"),
    ];
    for (who, script, expected) in cases {
        let said = nsupdate(&node, who, script).await;
        assert!(said.contains(&format!("status: {expected}")), "{script}: {said}");
    }
    let text = laptop.query(&Name::from_ascii("imac.alice.btmm.internal.").unwrap(), RecordType::ANY).await.unwrap();
    assert_eq!(text.len(), 1);
    assert_eq!(laptop.transfer().await.unwrap().1.len(), 3);
}

/// BIND with our zone, a policy as ours, over TLS only. Addresses below names with underscores are not to its taste: `check-names`.
fn named(node: &Node, certificate: &str, key: &str) -> Running {
    let keys: String = ["imac", "laptop"]
        .map(|who| {
            let secret = secret(who).to_base64();
            format!("key \"{who}.alice.btmm.internal\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n", *secret)
        })
        .concat();
    let config = format!(
        "{keys}
        tls ours {{ cert-file \"/run/named/cert.pem\"; key-file \"/run/named/key.pem\"; }};
        options {{
            directory \"/run/named\"; pid-file none; session-keyfile none; recursion no; dnssec-validation no; listen-on-v6 {{ none; }};
            listen-on port {TLS_PORT} tls ours {{ 127.0.0.1; }};
            allow-query {{ key imac.alice.btmm.internal; key laptop.alice.btmm.internal; }};
            allow-transfer {{ key imac.alice.btmm.internal; key laptop.alice.btmm.internal; }};
        }};
        controls {{ }};
        zone \"alice.btmm.internal\" {{
            type primary; file \"zone\"; notify no; check-names ignore;
            update-policy {{
                grant imac.alice.btmm.internal subdomain imac.alice.btmm.internal ANY;
                grant laptop.alice.btmm.internal subdomain laptop.alice.btmm.internal ANY;
            }};
        }};"
    );
    let zone = "$TTL 30\n@ SOA base hostmaster 1 30 30 7200 30\n@ NS base\nbase AAAA ::1\n";
    for (name, content) in [("named.conf", config.as_str()), ("cert.pem", certificate), ("key.pem", key), ("zone", zone)] {
        node.write(&format!("/run/named/{name}"), content).unwrap();
    }
    let mut command = node.foreign("named");
    command.args(["-g", "-n", "1", "-c", "/run/named/named.conf"]);
    let mut running = node.spawn(command).unwrap();
    running.wait_for("all zones loaded", Duration::from_secs(30)).unwrap();
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_publishes_to_named_reads_it_back_and_says_goodbye() {
    let node = lab("bind");
    let (certificate, key) = identity();
    let running = named(&node, &certificate, &key);
    // The client connects from the node: a thread whose sockets are made there, with a runtime of its own.
    let told = tokio::task::block_in_place(|| {
        node.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(talk_to_named(&certificate))
        })
    });
    assert_eq!(told.unwrap(), Ok(()), "{}", running.log());
}

async fn talk_to_named(certificate: &str) -> Result<(), String> {
    let client = |who: &str, signs: &str| {
        let base = Base::Tls {
            addresses: vec![format!("127.0.0.1:{TLS_PORT}")],
            server_name: ServerName::try_from("base.alice.btmm.internal").unwrap(),
            tls: client_config(certificate),
        };
        DotClient::new(base, &machine(who), &zone(), secret(signs)).unwrap()
    };
    let (imac, laptop) = (client("imac", "imac"), client("laptop", "laptop"));
    let text = |error: btmmd::rendezvous::driver::RendezvousError| error.to_string();
    let lease = imac.update(&advertisement("imac").to_update(&zone()).unwrap(), Duration::from_secs(7200)).await.map_err(text)?;
    assert_eq!(lease.as_secs(), 7200, "BIND has no leases; ours is refreshed all the same");
    let serial = laptop.serial().await.map_err(text)?;
    let (transferred, records) = laptop.transfer().await.map_err(text)?;
    assert_eq!(transferred, serial);
    let read = read_zone(&zone(), &records, Filter::default());
    assert_eq!(read.get(&machine("imac")), Some(&advertisement("imac")));
    let foreign = laptop.update(&withdrawal(&machine("imac"), &zone()).unwrap(), Duration::from_secs(7200)).await;
    assert!(foreign.unwrap_err().to_string().contains("to an update"));
    imac.update(&withdrawal(&machine("imac"), &zone()).unwrap(), Duration::from_secs(7200)).await.map_err(text)?;
    assert!(!read_zone(&zone(), &laptop.transfer().await.map_err(text)?.1, Filter::default()).contains_key(&machine("imac")));
    let wrong = client("imac", "other").serial().await.unwrap_err().to_string();
    assert!(wrong.contains("another secret"), "{wrong}");
    let unknown = client("nobody", "imac").serial().await.unwrap_err().to_string();
    assert!(unknown.contains("does not know this machine's key"), "{unknown}");
    Ok(())
}
