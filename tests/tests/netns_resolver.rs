//! The stub under the resolvers that Linux systems really have: systemd-resolved, and glibc alone.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use btmm_tests::lab::{Finished, Node, Resolved, finish};
use btmmd::resolver::driver::Driver;
use btmmd::resolver::linux::{Registration, SystemResolver};
use btmmd::resolver::{Command, Config, DEFAULT_ADDRESS, Input, Integration, Link, Stub, Table};
use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::sync::oneshot;

const LAPTOP: &str = "laptop.alice.btmm.internal";
const LAPTOP_INNER: &str = "fd12:3456:789a::2";
const TUNNEL: Duration = Duration::from_millis(300);

fn table() -> Table {
    Table {
        zone: "alice.btmm.internal".parse().unwrap(),
        own: "imac".parse().unwrap(),
        prefix: "fd12:3456:789a::".parse().unwrap(),
        machines: [("imac", "fd12:3456:789a::1"), ("laptop", LAPTOP_INNER), ("asleep", "fd12:3456:789a::3")]
            .into_iter()
            .map(|(name, inner)| (name.parse().unwrap(), inner.parse().unwrap()))
            .collect(),
    }
}

/// A machine with `btmm0` and an uplink, on which a name server answers whatever it is asked and remembers the names.
struct Machine {
    node: Node,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Machine {
    fn new() -> Self {
        let node = Node::new("imac").unwrap();
        node.ip(
            "link add btmm0 type veth peer name far0\nlink set btmm0 up\nlink set far0 up\naddr add fd12:3456:789a::1/128 dev btmm0 nodad\n\
             link add eth0 type veth peer name far1\nlink set eth0 up\nlink set far1 up\naddr add 192.0.2.53/24 dev eth0",
        )
        .unwrap();
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let socket = node.enter(|| UdpSocket::bind("192.0.2.53:53").unwrap()).unwrap();
        let names = Arc::clone(&asked);
        // Ends with the process; the socket keeps nothing of the node but its network.
        std::thread::spawn(move || serve_uplink(&socket, &names));
        Self { node, asked }
    }

    fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }

    fn link(&self) -> Link {
        let index = self.node.run("cat /sys/class/net/btmm0/ifindex").unwrap().out;
        Link::new(index.trim().parse().unwrap(), DEFAULT_ADDRESS, &table())
    }

    fn run(&self, words: &str) -> Finished {
        self.try_run(words).unwrap()
    }

    fn try_run(&self, words: &str) -> anyhow::Result<Finished> {
        let mut split = words.split_whitespace();
        let mut command = self.node.foreign(split.next().unwrap());
        command.args(split);
        finish(command)
    }

    /// Runs a stub in this machine beside the story. `laptop` comes up in time, `asleep` fails at once.
    fn with_stub<T>(&self, story: impl FnOnce() -> T) -> T {
        let (over, ended) = oneshot::channel::<()>();
        let (ready, listening) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.node
                    .enter(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(serve_stub(ready, ended));
                    })
                    .unwrap();
            });
            listening.recv().expect("the stub listens");
            let result = story();
            drop(over);
            result
        })
    }
}

async fn serve_stub(ready: std::sync::mpsc::Sender<()>, mut ended: oneshot::Receiver<()>) {
    let mut driver = Driver::bind(DEFAULT_ADDRESS).await.unwrap();
    ready.send(()).unwrap();
    let mut stub = Stub::new(Config::default());
    stub.handle(Input::Table(Some(table())), Instant::now());
    let mut rising = Vec::new();
    loop {
        let next = rising.first().map(|(at, _)| *at).unwrap_or_else(tokio::time::Instant::now);
        let input = tokio::select! {
            _ = &mut ended => return,
            input = driver.next() => input,
            () = tokio::time::sleep_until(next), if !rising.is_empty() => Input::TunnelUp(rising.remove(0).1),
        };
        stub.handle(input, Instant::now());
        while let Some(command) = stub.poll_command() {
            match command {
                Command::Answer { to, bytes } => driver.answer(to, bytes),
                Command::WantTunnel(machine) if machine.as_str() == "asleep" => {
                    stub.handle(Input::TunnelFailed(machine, "asleep is asleep".to_owned()), Instant::now());
                }
                Command::WantTunnel(machine) => rising.push((tokio::time::Instant::now() + TUNNEL, machine)),
            }
        }
    }
}

fn serve_uplink(socket: &UdpSocket, asked: &Mutex<BTreeSet<String>>) {
    let mut bytes = [0; 1500];
    while let Ok((length, asker)) = socket.recv_from(&mut bytes) {
        let Ok(query) = Message::from_vec(&bytes[..length]) else { continue };
        let [question] = query.queries.as_slice() else { continue };
        asked.lock().unwrap().insert(question.name().to_ascii().to_ascii_lowercase());
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(question.clone());
        if question.query_type() == RecordType::A {
            let address = RData::A(A("198.51.100.80".parse().unwrap()));
            answer.add_answer(Record::from_rdata(question.name().clone(), 1, address));
        }
        socket.send_to(&answer.to_vec().unwrap(), asker).unwrap();
    }
}

const RESOLVED: &str = "DNS=192.0.2.53\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n";

/// Runs the future in the machine.
fn within<T: Send>(machine: &Machine, future: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    machine.node.enter(run).unwrap()
}

#[test]
fn resolved_sends_the_accounts_names_to_the_stub_and_no_others() {
    let machine = Machine::new();
    let mut resolved = Resolved::start(&machine.node, RESOLVED).unwrap();
    machine.node.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n").unwrap();
    machine.with_stub(|| {
        let link = machine.link();
        within(&machine, async {
            let mut system = SystemResolver::connect().await;
            assert_eq!(system.apply(&link).await, Integration::Resolved);
            let status = machine.run("resolvectl status btmm0").out;
            assert!(status.contains("127.45.0.1"), "{status}");
            assert!(status.contains("~alice.btmm.internal") && status.contains("-DefaultRoute"), "{status}");

            let start = Instant::now();
            let found = machine.run(&format!("getent ahostsv6 {LAPTOP}")).out;
            assert!(found.starts_with(LAPTOP_INNER) && start.elapsed() >= TUNNEL, "{found} {:?}", start.elapsed());
            assert!(machine.run(&format!("getent ahosts {LAPTOP}")).out.starts_with(LAPTOP_INNER), "beside an A query");
            assert!(machine.run(&format!("resolvectl query {LAPTOP_INNER}")).out.contains(LAPTOP));
            assert!(machine.run("getent ahosts www.example.org").out.starts_with("198.51.100.80"));

            let start = Instant::now();
            assert!(machine.try_run("getent ahosts asleep.alice.btmm.internal").is_err());
            println!("a failure is known after {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(2), "resolved's retries are answered at once");
            assert!(machine.try_run("getent ahosts ghost.alice.btmm.internal").is_err());
            assert_eq!(machine.asked(), BTreeSet::from(["www.example.org.".to_owned()]), "the uplink hears of no machine");

            resolved.restart().unwrap();
            tokio::time::timeout(Duration::from_secs(10), system.appeared()).await.expect("the restart is noticed");
            assert_eq!(system.apply(&link).await, Integration::Resolved);
            assert!(machine.run(&format!("getent ahostsv6 {LAPTOP}")).out.starts_with(LAPTOP_INNER));

            system.revert(link.index).await;
            let status = machine.run("resolvectl status btmm0").out;
            assert!(!status.contains("127.45.0.1") && !status.contains("alice"), "{status}");
        });
    });
}

/// Makes this thread another user's, as the daemon is.
fn become_user(uid: u32) {
    // SAFETY: plain numbers; the system call itself, unlike the C library's function, changes this thread only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    assert_eq!(result, 0, "setresuid");
}

#[test]
fn the_daemon_needs_no_root_but_the_polkit_rule_it_ships_with() {
    let machine = Machine::new();
    machine.run("useradd --system --uid 4500 btmm");
    let _resolved = Resolved::start(&machine.node, RESOLVED).unwrap();
    let mut polkit = machine.node.spawn(machine.node.foreign("/usr/lib/polkit-1/polkitd")).unwrap();
    polkit.wait_for("Acquired the name org.freedesktop.PolicyKit1", Duration::from_secs(20)).unwrap();
    let link = machine.link();
    let rule = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/btmm.rules")).unwrap();
    machine.node.write("/run/btmm.rules", rule).unwrap();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let registered = link.clone();
        let daemon = async move {
            become_user(4500);
            let mut registration = Registration::start(registered);
            let mut over = false;
            while !over {
                let integration = registration.next().await;
                over = integration == Integration::Resolved;
                over |= tell.send(integration).is_err();
            }
        };
        scope.spawn(|| within(&machine, daemon));
        let Ok(Integration::Refused(reason)) = told.recv_timeout(Duration::from_secs(20)) else { panic!("allowed without a rule") };
        println!("{reason}");
        machine.run("cp /run/btmm.rules /etc/polkit-1/rules.d/50-btmm.rules");
        while told.recv_timeout(Duration::from_secs(20)).expect("it is tried again by itself") != Integration::Resolved {}
    });
    assert!(machine.run("resolvectl status btmm0").out.contains("~alice.btmm.internal"));
    within(&machine, async {
        become_user(4500);
        SystemResolver::connect().await.revert(link.index).await;
    });
    assert!(!machine.run("resolvectl status btmm0").out.contains("alice"), "it may also take back what it set");
}

#[test]
fn without_resolved_the_owner_is_told_what_to_write_and_it_works() {
    let machine = Machine::new();
    machine.with_stub(|| {
        let integration = within(&machine, async { SystemResolver::connect().await.apply(&machine.link()).await });
        let words = integration.to_string();
        let line = words.lines().find_map(|line| line.split_once("/etc/resolv.conf: ")).expect("a line for resolv.conf").1;
        assert_eq!(line, "nameserver 127.45.0.1", "{words}");
        machine.node.write("/etc/resolv.conf", format!("{line}\nnameserver 192.0.2.53\n")).unwrap();
        let start = Instant::now();
        assert!(machine.run(&format!("getent ahosts {LAPTOP}")).out.starts_with(LAPTOP_INNER));
        assert!(start.elapsed() >= TUNNEL);
        assert!(machine.run("getent ahosts www.example.org").out.starts_with("198.51.100.80"), "refused by us, glibc goes on");
        assert_eq!(machine.asked(), BTreeSet::from(["www.example.org.".to_owned()]));
    });
}
