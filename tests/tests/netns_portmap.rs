//! NAT-PMP and UPnP against the real miniupnpd, on routers made of namespaces.

#[path = "netns_portmap/igd.rs"]
mod igd;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use btmm_tests::lab::{Node, Options, Running, TwoHomes};
use btmmd::portmap::driver::Driver;
use btmmd::portmap::{Cause, Command, Config, Gateway, Input, Mapper, Mapping, Method, Port, Refusal, Transport};
use igd::Igd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const IKE: Port = Port { transport: Transport::Udp, number: 4500 };
const BASE: Port = Port { transport: Transport::Tcp, number: 4500 };
const HOME_A: Gateway = Gateway { address: Ipv4Addr::new(192, 168, 1, 1), local: TwoHomes::IMAC };
/// Longer than a router is asked by both methods for nothing.
const SOON: Duration = Duration::from_secs(15);

/// A mapper at work in a machine of the lab.
struct Client {
    inputs: UnboundedSender<Input>,
    commands: Receiver<Command>,
}

impl Client {
    fn give(&self, input: Input) {
        self.inputs.send(input).expect("the mapper runs");
    }

    /// Waits for a change of `port` that fits; panics with the changes that did not.
    fn until(&self, port: Port, limit: Duration, fits: impl Fn(&Mapping) -> bool) -> Mapping {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        loop {
            match self.commands.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Command::Changed { port: changed, mapping }) if changed == port && fits(&mapping) => return mapping,
                Ok(other) => others.push(other),
                Err(_) => panic!("no such change of {port:?} within {limit:?}, but {others:?}"),
            }
        }
    }

    fn mapped(&self, port: Port) -> SocketAddrV4 {
        self.until(port, SOON, |mapping| mapping.external().is_some()).external().expect("mapped")
    }

    fn cause(&self, limit: Duration) -> Cause {
        let mapping = self.until(IKE, limit, |mapping| !matches!(mapping, Mapping::None(Cause::Asking(_))));
        let Mapping::None(cause) = mapping else { panic!("mapped: {mapping}") };
        cause
    }

    /// Whether nothing changed for so long.
    fn is_quiet(&self, time: Duration) -> bool {
        matches!(self.commands.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    fn stop(&self) {
        self.give(Input::Stop);
        let end = Instant::now() + SOON;
        loop {
            match self.commands.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Command::Released) => return,
                Ok(_) => {}
                Err(error) => panic!("not released: {error}"),
            }
        }
    }
}

/// Runs a mapper in `node` beside the story.
fn with_client<T>(node: &Node, gateway: Gateway, config: Config, story: impl FnOnce(&Client) -> T) -> T {
    let (inputs, taken) = unbounded_channel();
    let (given, commands) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            node.enter(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run(config, taken, &given));
            })
            .unwrap();
        });
        let client = Client { inputs, commands };
        client.give(Input::Gateway(Some(gateway)));
        story(&client)
    })
}

/// The loop of the daemon, until the story has ended.
async fn run(config: Config, mut inputs: UnboundedReceiver<Input>, changes: &std::sync::mpsc::Sender<Command>) {
    let (mut mapper, mut driver) = (Mapper::new(config), Driver::new());
    loop {
        let timeout = mapper.poll_timeout().map(|(at, _)| at.into());
        let input = tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => input,
                None => return,
            },
            input = driver.next() => input,
            () = tokio::time::sleep_until(timeout.unwrap_or_else(tokio::time::Instant::now)), if timeout.is_some() => Input::Timeout,
        };
        mapper.handle(input, Instant::now());
        while let Some(command) = mapper.poll_command() {
            match command {
                Command::Send { gateway, method, request } => driver.send(gateway, method, request).await,
                other => drop(changes.send(other)),
            }
        }
    }
}

fn for_seconds(ports: &[Port], lifetime: u64) -> Config {
    Config { lifetime: Duration::from_secs(lifetime), ..Config::new(ports.to_vec()) }
}

/// Sends from `from` to `external` and has `inside` answer on port 4500; the inside sees who asked.
fn echo(from: &Node, external: SocketAddrV4, inside: &Node) -> SocketAddr {
    std::thread::scope(|scope| {
        let listener = inside.enter(|| UdpSocket::bind("0.0.0.0:4500").unwrap()).unwrap();
        listener.set_read_timeout(Some(SOON)).unwrap();
        let answerer = scope.spawn(move || {
            let mut bytes = [0; 64];
            let (length, asker) = listener.recv_from(&mut bytes).expect("the router forwards inwards");
            listener.send_to(&bytes[..length], asker).unwrap();
            asker
        });
        let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.connect(external).unwrap();
        socket.send(b"hello").unwrap();
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("the answer comes from the address asked");
        assert_eq!(&bytes[..length], b"hello");
        answerer.join().unwrap()
    })
}

#[test]
fn the_router_forwards_what_was_mapped_and_no_more_once_released() {
    let homes = TwoHomes::new().unwrap();
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE, BASE]), |client| {
        let external = client.mapped(IKE);
        assert_eq!(external, SocketAddrV4::new(TwoHomes::ROUTER_A, 4500));
        assert_eq!(client.mapped(BASE), external);
        assert_eq!(homes.router_a.mappings().unwrap().len(), 2);
        let asker = echo(&homes.base, external, &homes.imac);
        assert_eq!(asker.ip(), TwoHomes::BASE);
        client.stop();
        assert_eq!(homes.router_a.mappings().unwrap(), Vec::<String>::new());
    });
}

/// A neighbour has the port already: it keeps it, and another one works.
fn leaves_the_neighbours_port_alone(homes: &TwoHomes) {
    let neighbour = Gateway { local: Ipv4Addr::new(192, 168, 1, 21), ..HOME_A };
    homes.imac.ip("addr add 192.168.1.21/24 dev eth0").unwrap();
    // Where a connection is not told from which address it is to come, the neighbour's is from its own.
    homes.imac.ip("route add 192.168.1.1/32 dev eth0 src 192.168.1.21").unwrap();
    with_client(&homes.imac, neighbour, Config::new(vec![IKE]), |first| {
        assert_eq!(first.mapped(IKE).port(), 4500);
        homes.imac.ip("route del 192.168.1.1/32 dev eth0").unwrap();
        with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |second| {
            let external = second.mapped(IKE);
            assert_ne!(external.port(), 4500);
            echo(&homes.base, external, &homes.imac);
            second.stop();
        });
        assert_eq!(homes.router_a.mappings().unwrap().len(), 1, "the neighbour keeps its own");
    });
}

#[test]
fn a_taken_port_gets_another_one_that_works() {
    leaves_the_neighbours_port_alone(&TwoHomes::new().unwrap());
}

#[test]
fn a_mapping_is_renewed_before_it_ends() {
    let homes = TwoHomes::new().unwrap();
    with_client(&homes.imac, HOME_A, for_seconds(&[IKE], 4), |client| {
        let mapping = client.until(IKE, SOON, |mapping| mapping.external().is_some());
        let Mapping::Mapped { lifetime, method: Method::NatPmp, external } = mapping else { panic!("{mapping:?}") };
        assert_eq!(lifetime, Duration::from_secs(4));
        assert!(client.is_quiet(Duration::from_secs(9)), "no change through two lifetimes");
        echo(&homes.base, external, &homes.imac);
    });
}

#[test]
fn a_router_that_restarts_is_asked_again_at_once() {
    let mut homes = TwoHomes::new().unwrap();
    let TwoHomes { imac, router_a, .. } = &mut homes;
    with_client(imac, HOME_A, Config::new(vec![IKE]), |client| {
        client.mapped(IKE);
        // The epoch must have grown by more than the two seconds of grace.
        std::thread::sleep(Duration::from_secs(4));
        // Takes every rule away.
        router_a.reboot().unwrap();
        let start = Instant::now();
        while router_a.mappings().unwrap().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "not mapped again");
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("mapped again {:?} after the restart", start.elapsed());
    });
    echo(&homes.base, SocketAddrV4::new(TwoHomes::ROUTER_A, 4500), &homes.imac);
}

#[test]
fn a_router_with_neither_nat_pmp_nor_upnp_is_named() {
    let homes = without_nat_pmp();
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let cause = client.cause(SOON);
        assert_eq!(cause.to_string(), "no answer: neither NAT-PMP nor UPnP is enabled on the router 192.168.1.1");
    });
}

#[test]
fn a_silent_router_is_asked_by_upnp_after_four_seconds_and_then_named() {
    let homes = without_nat_pmp();
    homes.router_a.node.nft("table ip mute { chain input { type filter hook input priority 0; udp dport 5351 drop; }; }").unwrap();
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let start = Instant::now();
        assert_eq!(client.cause(SOON), Cause::NoAnswer(HOME_A.address));
        assert!(start.elapsed() > Duration::from_secs(3) + Duration::from_secs(4), "{:?}", start.elapsed());
    });
}

#[test]
fn a_router_that_nobody_is_behind_cannot_be_asked() {
    let homes = TwoHomes::new().unwrap();
    homes.imac.ip("route add unreachable 192.168.1.1/32").unwrap();
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let Cause::CannotAsk { router, reason } = client.cause(SOON) else { panic!("another cause") };
        assert_eq!(router, HOME_A.address);
        assert!(reason.contains("No route to host"), "{reason}");
    });
}

/// Restarts the router's miniupnpd with lines of its own, which speaks NAT-PMP.
fn reconfigure(homes: &TwoHomes, wan: &str, lines: &str) -> Running {
    let lines = format!("enable_natpmp=yes\nenable_upnp=no\n{lines}");
    restart(homes, wan, &lines, "Listening for NAT-PMP")
}

/// The same, but it speaks UPnP alone.
fn by_upnp(homes: &TwoHomes, lines: &str) -> Running {
    let lines = format!("enable_natpmp=no\nenable_upnp=yes\n{lines}");
    restart(homes, "203.0.114.1/22", &lines, "HTTP listening on port")
}

fn restart(homes: &TwoHomes, wan: &str, lines: &str, listens: &str) -> Running {
    let node = &homes.router_a.node;
    node.ip(&format!("addr flush dev wan\naddr add {wan} dev wan")).unwrap();
    miniupnpd(node, ("wan", "lan"), lines, listens)
}

/// A miniupnpd with these interfaces outside and inside.
fn miniupnpd(node: &Node, (outside, inside): (&str, &str), lines: &str, listens: &str) -> Running {
    node.write(
        "/run/other.conf",
        format!(
            "ext_ifname={outside}\nlistening_ip={inside}\nsecure_mode=yes\nupnp_table_name=router\n\
             upnp_nat_table_name=router\nupnp_forward_chain=upnp_forward\nupnp_nat_chain=upnp_prerouting\n\
             upnp_nat_postrouting_chain=upnp_postrouting\nuuid=00000000-0000-0000-0000-000000000002\n{lines}\n"
        ),
    )
    .unwrap();
    let mut command = node.foreign("miniupnpd");
    command.args(["-d", "-f", "/run/other.conf", "-P", "/run/other.pid"]);
    let mut daemon = node.spawn(command).unwrap();
    daemon.wait_for(listens, Duration::from_secs(30)).unwrap();
    daemon
}

const ALLOWED: &str = "allow 1024-65535 192.168.1.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535";

fn without_nat_pmp() -> TwoHomes {
    TwoHomes::with(&Options { nat_pmp: false, ..Options::default() }).unwrap()
}

#[test]
fn a_router_that_speaks_only_upnp_forwards_and_no_more_once_released() {
    let homes = without_nat_pmp();
    let _daemon = by_upnp(&homes, ALLOWED);
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE, BASE]), |client| {
        let mapping = client.until(IKE, SOON, |mapping| mapping.external().is_some());
        let Mapping::Mapped { external, lifetime, method: Method::Upnp } = mapping else { panic!("{mapping:?}") };
        assert_eq!((external, lifetime.as_secs()), (SocketAddrV4::new(TwoHomes::ROUTER_A, 4500), 7200));
        assert_eq!(client.mapped(BASE), external);
        assert_eq!(homes.router_a.mappings().unwrap().len(), 2);
        echo(&homes.base, external, &homes.imac);
        client.stop();
        assert_eq!(homes.router_a.mappings().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_port_that_a_neighbour_has_by_upnp_is_left_to_it_and_another_one_works() {
    let homes = without_nat_pmp();
    let _daemon = by_upnp(&homes, ALLOWED);
    leaves_the_neighbours_port_alone(&homes);
}

#[test]
fn a_router_that_forbids_the_port_by_upnp_is_quoted() {
    let homes = without_nat_pmp();
    let _daemon = by_upnp(&homes, "deny 0-65535 0.0.0.0/0 0-65535");
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let cause = client.cause(SOON);
        assert!(matches!(cause, Cause::Refused { router, .. } if router == HOME_A.address), "{cause}");
        println!("{cause}");
        assert_eq!(homes.router_a.mappings().unwrap(), Vec::<String>::new());
    });
}

const EXTERNAL: &str = "<NewExternalIPAddress>203.0.113.9</NewExternalIPAddress>";

/// A gateway that keeps no lease (WANIPConnection:2 §2.4.16, error 725).
fn permanent_only(action: &str, arguments: &str) -> Result<&'static str, u16> {
    match action {
        "GetExternalIPAddress" => Ok(EXTERNAL),
        "AddPortMapping" if !arguments.contains(">0</NewLeaseDuration>") => Err(725),
        _ => Ok(""),
    }
}

#[test]
fn a_router_that_knows_no_leases_gets_a_mapping_for_ever_and_has_it_taken_back() {
    let homes = without_nat_pmp();
    let igd = Igd::start(&homes.router_a.node, HOME_A.address, permanent_only);
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        assert_eq!(client.mapped(IKE), SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 4500));
        client.stop();
    });
    let asked = igd.asked();
    let actions: Vec<&str> = asked.iter().filter_map(|asked| asked.split(' ').next()).collect();
    assert_eq!(actions, ["GetExternalIPAddress", "AddPortMapping", "AddPortMapping", "DeletePortMapping"]);
    assert!(asked[3].contains(">4500</NewExternalPort>"), "{}", asked[3]);
}

#[test]
fn an_error_of_upnp_is_quoted_with_its_number() {
    let homes = without_nat_pmp();
    let script = |action: &str, _: &str| if action == "AddPortMapping" { Err(501) } else { Ok(EXTERNAL) };
    let _igd = Igd::start(&homes.router_a.node, HOME_A.address, script);
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        assert_eq!(client.cause(SOON).to_string(), "the router 192.168.1.1 refused: by the UPnP error 501");
    });
}

#[test]
fn another_box_of_the_home_that_speaks_upnp_is_not_asked() {
    let homes = without_nat_pmp();
    homes.visit().unwrap();
    let igd = Igd::start(&homes.laptop, Ipv4Addr::new(192, 168, 1, 30), permanent_only);
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        assert_eq!(client.cause(SOON), Cause::NoAnswer(HOME_A.address));
    });
    assert_eq!(igd.asked(), Vec::<String>::new());
}

#[test]
fn a_router_that_hides_its_private_address_is_named() {
    let homes = without_nat_pmp();
    let _daemon = reconfigure(&homes, "10.1.2.3/8", "allow 1024-65535 0.0.0.0/0 1024-65535");
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let cause = client.cause(SOON);
        assert_eq!(cause, Cause::Refused { router: HOME_A.address, refusal: Refusal::NetworkFailure });
        assert!(cause.to_string().ends_with("it is offline, or behind another router (Double NAT)"), "{cause}");
        assert_eq!(homes.router_a.mappings().unwrap().len(), 0);
    });
}

#[test]
fn a_router_that_forbids_the_port_may_grant_another() {
    let homes = without_nat_pmp();
    let _daemon = reconfigure(&homes, "203.0.114.1/22", "allow 4600-4610 0.0.0.0/0 4500\ndeny 0-65535 0.0.0.0/0 0-65535");
    with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
        let external = client.mapped(IKE);
        assert_eq!(external, SocketAddrV4::new(TwoHomes::ROUTER_A, 4600));
        echo(&homes.base, external, &homes.imac);
    });
}

/// A router made of answers, for what miniupnpd never says. Each request gets all the datagrams the function gives.
fn with_scripted<T>(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Sync, story: impl FnOnce(&Client) -> T) -> T {
    let homes = without_nat_pmp();
    let socket = homes.router_a.node.enter(|| UdpSocket::bind("192.168.1.1:5351").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 64];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, asker)) = socket.recv_from(&mut bytes) else { continue };
                for answer in script(&bytes[..length]) {
                    socket.send_to(&answer, asker).unwrap();
                }
            }
        });
        let result = with_client(&homes.imac, HOME_A, Config::new(vec![IKE]), |client| {
            // A failed story must end the router's thread too.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(client)))
        });
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// RFC 6886 §3.2, §3.3: an answer of the router `203.0.113.9`, or an error.
fn natpmp(request: &[u8], result: u8) -> Vec<u8> {
    let mut answer = vec![0, request[1] | 0x80, 0, result, 0, 0, 0, 9];
    match request[1] {
        0 => answer.extend([203, 0, 113, 9]),
        _ => {
            answer.extend(&request[4..8]);
            answer.extend(&request[8..12]);
        }
    }
    answer
}

#[test]
fn double_nat_is_named() {
    let script = |request: &[u8]| {
        let mut answer = natpmp(request, 0);
        answer[8..12].copy_from_slice(&[100, 64, 7, 7]);
        vec![answer]
    };
    with_scripted(script, |client| {
        let cause = client.cause(SOON);
        assert_eq!(cause.to_string(), "Double NAT: the router 192.168.1.1 itself has a private address (100.64.7.7)");
    });
}

#[test]
fn every_refusal_is_quoted() {
    let refusals = [
        (1, Refusal::UnsupportedVersion),
        (2, Refusal::NotAuthorized),
        (3, Refusal::NetworkFailure),
        (4, Refusal::OutOfResources),
        (5, Refusal::UnsupportedOpcode),
        (77, Refusal::Other),
    ];
    let code = AtomicU8::new(0);
    let script = |request: &[u8]| vec![natpmp(request, if request[1] == 0 { 0 } else { code.load(Ordering::Relaxed) })];
    with_scripted(script, |client| {
        client.mapped(IKE);
        for (number, refusal) in refusals {
            code.store(number, Ordering::Relaxed);
            client.give(Input::Refresh);
            assert_eq!(client.cause(SOON), Cause::Refused { router: HOME_A.address, refusal });
        }
    });
}

#[test]
fn a_router_that_speaks_only_pcp_is_named() {
    // RFC 6887 §9: version 2, and NAT-PMP's result "unsupported version".
    let script = |_: &[u8]| vec![vec![2, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
    with_scripted(script, |client| {
        assert_eq!(client.cause(SOON), Cause::Refused { router: HOME_A.address, refusal: Refusal::UnsupportedVersion });
    });
}

#[test]
fn a_router_that_ignores_mapping_requests_is_named() {
    let script = |request: &[u8]| if request[1] == 0 { vec![natpmp(request, 0)] } else { vec![] };
    with_scripted(script, |client| assert_eq!(client.cause(SOON), Cause::Ignored(HOME_A.address)));
}

#[test]
fn cut_answers_count_for_nothing() {
    let script = |request: &[u8]| {
        let whole = natpmp(request, 0);
        (0..=whole.len()).map(|length| whole[..length].to_vec()).collect()
    };
    with_scripted(script, |client| assert_eq!(client.mapped(IKE), SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 4500)));
}
