//! The picture most stories need: two homes, a base, and the internet between them.
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;

use super::{Capture, Node, Router, RouterPlan};

/// What differs between stories.
#[derive(Debug, Clone)]
pub struct Options {
    /// The homes and the base have IPv4 (each home behind a masquerading router).
    pub ipv4: bool,
    /// The homes and the base have global IPv6, routed without translation.
    pub ipv6: bool,
    /// Routers let IPv6 in from outside unasked.
    pub ipv6_open: bool,
    /// Routers answer NAT-PMP.
    pub nat_pmp: bool,
    /// One-way delay between any two of router A, router B and the base (netem: VM only).
    pub delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { ipv4: true, ipv6: false, ipv6_open: true, nat_pmp: true, delay: Duration::ZERO }
    }
}

/// ```text
///   imac 192.168.1.20 ── router_a ─┐                      ┌─ router_b ── 192.168.2.20 laptop
///        2001:db8:a::20            ├── internet (bridge) ─┤              2001:db8:b::20
///              203.0.114.1, 2001:db8::a   │      203.0.114.2, 2001:db8::b
///                                  base 203.0.113.10, 2001:db8::10
/// ```
/// The routers' IPv4 addresses are not from a documentation prefix, because miniupnpd refuses to map ports at a reserved address.
#[derive(Debug)]
pub struct TwoHomes {
    /// The machine at home A.
    pub imac: Node,
    /// The machine at home B.
    pub laptop: Node,
    /// The home base with a public address.
    pub base: Node,
    /// The router of home A.
    pub router_a: Router,
    /// The router of home B.
    pub router_b: Router,
    /// The bridge `internet0` between them, which sees every packet.
    pub internet: Node,
}

impl TwoHomes {
    /// The base's IPv4 address.
    pub const BASE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    /// The base's IPv6 address.
    pub const BASE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
    /// Router A's address on the internet.
    pub const ROUTER_A: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 1);
    /// Router B's address on the internet.
    pub const ROUTER_B: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 2);
    /// `imac`'s address at home.
    pub const IMAC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);
    /// `laptop`'s address at home.
    pub const LAPTOP: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 20);
    /// `imac`'s IPv6 address.
    pub const IMAC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x20);
    /// `laptop`'s IPv6 address.
    pub const LAPTOP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x20);

    /// IPv4 with NAT-PMP, no delay.
    pub fn new() -> Result<Self> {
        Self::with(&Options::default())
    }

    /// As the options say.
    pub fn with(options: &Options) -> Result<Self> {
        let internet = Node::new("internet")?;
        internet.ip("link add internet0 type bridge forward_delay 0 mcast_snooping 0\nlink set internet0 up")?;
        internet.ip("addr add 203.0.113.1/22 dev internet0\naddr add 2001:db8::1/64 dev internet0 nodad")?;
        let base = Node::new("base")?;
        plug(&internet, &base, "eth0")?;
        let home = |letter: char, machine: &str| -> Result<(Node, Router)> {
            let node = Node::new(&format!("router-{letter}"))?;
            plug(&internet, &node, "wan")?;
            let inside = Node::new(machine)?;
            node.ip("link add lan type bridge forward_delay 0 mcast_snooping 0\nlink set lan up")?;
            join_lan(&node, &inside, "eth0")?;
            address_home(letter, &node, &inside, options)?;
            let (wan, lan) = match letter {
                'a' => (Self::ROUTER_A, Ipv4Addr::new(192, 168, 1, 1)),
                _ => (Self::ROUTER_B, Ipv4Addr::new(192, 168, 2, 1)),
            };
            let nat_pmp = options.nat_pmp && options.ipv4;
            let plan = RouterPlan { wan: (wan, 22), lan, nat_pmp, ipv6_open: options.ipv6_open };
            Ok((inside, Router::new(node, plan)?))
        };
        let (imac, router_a) = home('a', "imac")?;
        let (laptop, router_b) = home('b', "laptop")?;
        if options.ipv4 {
            base.ip("addr add 203.0.113.10/22 dev eth0\nroute add default via 203.0.113.1")?;
        }
        if options.ipv6 {
            base.ip("addr add 2001:db8::10/64 dev eth0 nodad")?;
            base.ip("route add 2001:db8:a::/64 via 2001:db8::a\nroute add 2001:db8:b::/64 via 2001:db8::b")?;
        }
        let homes = Self { imac, laptop, base, router_a, router_b, internet };
        homes.set_delay(options.delay)?;
        Ok(homes)
    }

    /// Sets the one-way delay between any two of router A, router B and the base; zero takes it away.
    pub fn set_delay(&self, delay: Duration) -> Result<()> {
        if delay.is_zero() {
            return Ok(());
        }
        for node in [&self.base, &self.router_a.node, &self.router_b.node] {
            let port = port_of(node);
            let delay = delay.as_micros();
            self.internet.run(&format!("tc qdisc replace dev {port} root netem delay {delay}us limit 100000"))?;
        }
        Ok(())
    }

    /// The laptop is carried from home B to home A: another interface, with an address in imac's network.
    pub fn visit(&self) -> Result<()> {
        self.laptop.ip("link set eth0 down")?;
        join_lan(&self.router_a.node, &self.laptop, "eth1")?;
        self.laptop.ip("addr add 192.168.1.30/24 dev eth1\nroute add default via 192.168.1.1")
    }

    /// The laptop is carried back.
    pub fn return_home(&self) -> Result<()> {
        self.laptop.ip("link del eth1\nlink set eth0 up\nroute add default via 192.168.2.1")
    }

    /// Captures every packet on the internet.
    pub fn capture(&self) -> Result<Capture> {
        Capture::start(&self.internet, "internet0")
    }

    /// Every machine, for a sweep.
    #[must_use]
    pub fn machines(&self) -> [&Node; 3] {
        [&self.base, &self.imac, &self.laptop]
    }
}

/// The bridge's port towards a node.
fn port_of(node: &Node) -> String {
    format!("to-{}", node.name())
}

fn plug(internet: &Node, node: &Node, interface: &str) -> Result<()> {
    let port = port_of(node);
    internet.ip(&format!("link add {port} type veth peer name {interface} netns {}\nlink set {port} master internet0 up", node.pid()))?;
    node.ip(&format!("link set {interface} up"))
}

/// Plugs a machine into a home's network.
fn join_lan(router: &Node, inside: &Node, interface: &str) -> Result<()> {
    let port = format!("to-{}", inside.name());
    router.ip(&format!("link add {port} type veth peer name {interface} netns {}\nlink set {port} master lan up", inside.pid()))?;
    inside.ip(&format!("link set {interface} up"))
}

fn address_home(letter: char, router: &Node, inside: &Node, options: &Options) -> Result<()> {
    let (number, other) = if letter == 'a' { (1, 'b') } else { (2, 'a') };
    if options.ipv4 {
        router.ip(&format!(
            "addr add 203.0.114.{number}/22 dev wan\naddr add 192.168.{number}.1/24 dev lan\nroute add default via 203.0.113.1"
        ))?;
        inside.ip(&format!("addr add 192.168.{number}.20/24 dev eth0\nroute add default via 192.168.{number}.1"))?;
    }
    if options.ipv6 {
        router.ip(&format!(
            "addr add 2001:db8::{letter}/64 dev wan nodad\naddr add 2001:db8:{letter}::1/64 dev lan nodad\n\
             route add 2001:db8:{other}::/64 via 2001:db8::{other}\nroute add ::/0 via 2001:db8::1"
        ))?;
        inside.ip(&format!("addr add 2001:db8:{letter}::20/64 dev eth0 nodad\nroute add ::/0 via 2001:db8:{letter}::1"))?;
    }
    Ok(())
}
