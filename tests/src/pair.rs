//! Two machines on one wire, each with a real handle to its kernel's IPsec and its encapsulation sockets, and no daemon.
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use btmmd::esp::{Direction, EspKey};
use btmmd::ike::driver::EncapSockets;
use btmmd::xfrm::Xfrm;
use btmmd::xfrm::port::{DEFAULT_MTU, InnerNetwork, PolicyId, PolicySpec, SaSpec};
use tokio::runtime::Runtime;

use crate::lab::Node;

/// The encapsulation port of both.
pub const PORT: u16 = 4500;

/// The family of the outer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// 192.0.2.1 and .2.
    V4,
    /// 2001:db8::1 and ::2.
    V6,
}

/// One of the two machines.
#[derive(Debug)]
pub struct End {
    /// Its namespaces; the wire is its interface `wire`.
    pub node: Node,
    /// Its kernel's IPsec.
    pub xfrm: Xfrm,
    /// Its encapsulation sockets.
    pub sockets: EncapSockets,
    /// Its inner address and the account's prefix.
    pub network: InnerNetwork,
    /// Its outer address.
    pub outer: IpAddr,
    /// SPI of what it receives.
    spi_in: u32,
}

/// Two machines on one wire.
#[derive(Debug)]
pub struct Pair {
    /// Runs the handles' tasks, whichever thread opened them.
    pub runtime: Runtime,
    /// One.
    pub left: End,
    /// The other.
    pub right: End,
}

impl Pair {
    /// Makes both machines with sockets and handles; nothing of ours is in their kernels yet.
    pub fn new(outer: Outer) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (left, right) = (Node::new("left")?, Node::new("right")?);
        left.ip(&format!("link add wire type veth peer name wire netns {}", right.pid()))?;
        for (node, last) in [(&left, 1), (&right, 2)] {
            node.ip(&format!(
                "address add 192.0.2.{last}/24 dev wire\naddress add 2001:db8::{last}/64 dev wire nodad\nlink set wire up\nlink set lo up"
            ))?;
        }
        let left = End::new(&runtime, left, outer, 1)?;
        let right = End::new(&runtime, right, outer, 2)?;
        Ok(Self { runtime, left, right })
    }

    /// Raises the inner network on both.
    pub fn raise(&self) -> Result<()> {
        for end in [&self.left, &self.right] {
            self.runtime.block_on(end.xfrm.raise(&end.network))?;
        }
        Ok(())
    }

    /// Installs policies and both states on both.
    pub fn connect(&self) -> Result<()> {
        for (end, peer) in [(&self.left, &self.right), (&self.right, &self.left)] {
            self.runtime.block_on(end.xfrm.set_policies(&end.policy(peer)))?;
            self.runtime.block_on(end.xfrm.install_sa(&end.sa(peer, Direction::In)))?;
            self.runtime.block_on(end.xfrm.install_sa(&end.sa(peer, Direction::Out)))?;
        }
        Ok(())
    }
}

impl End {
    fn new(runtime: &Runtime, node: Node, outer: Outer, last: u8) -> Result<Self> {
        let (xfrm, sockets) = node.enter(|| -> Result<_> {
            let _context = runtime.enter();
            Ok((Xfrm::open()?, EncapSockets::bind(PORT)?))
        })??;
        let prefix: Ipv6Addr = "fd00:1:2::".parse()?;
        let address = Ipv6Addr::from(u128::from(prefix) | u128::from(last) | 0xa00);
        let outer = match outer {
            Outer::V4 => IpAddr::from([192, 0, 2, last]),
            Outer::V6 => format!("2001:db8::{last}").parse()?,
        };
        let network = InnerNetwork { address, prefix, mtu: DEFAULT_MTU };
        Ok(Self { node, xfrm, sockets, network, outer, spi_in: 0x1000_0000 | u32::from(last) })
    }

    /// Its policies with the other end, before any tunnel.
    pub fn policy(&self, peer: &Self) -> PolicySpec {
        let id = PolicyId { inner_local: self.network.address, inner_remote: peer.network.address };
        PolicySpec { id, reqid: 1, outer: None }
    }

    /// One of its two states with the other end; the key of each direction is another.
    pub fn sa(&self, peer: &Self, direction: Direction) -> SaSpec {
        let spi = match direction {
            Direction::In => self.spi_in,
            Direction::Out => peer.spi_in,
        };
        SaSpec {
            direction,
            spi,
            local: SocketAddr::new(self.outer, PORT),
            remote: SocketAddr::new(peer.outer, PORT),
            inner_local: self.network.address,
            inner_remote: peer.network.address,
            reqid: 1,
            key: EspKey([spi.to_be_bytes()[3] ^ 0x5a; 36].into()),
            soft_lifetime: Duration::from_secs(3000),
            hard_lifetime: Duration::from_secs(3600),
        }
    }

    /// Sends `length` octets by TCP to the other end's inner address and answers how many arrived.
    pub fn transfer(&self, peer: &Self, length: usize) -> Result<usize> {
        use std::io::{Read, Write};
        let limit = Some(Duration::from_secs(60));
        let listener = peer.node.enter(|| std::net::TcpListener::bind((peer.network.address, 0)))??;
        let to = listener.local_addr()?;
        let sender = std::thread::spawn({
            let mut stream =
                self.node.enter(|| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(10)))?.context("connecting")?;
            move || {
                stream.set_write_timeout(limit)?;
                stream.write_all(&vec![0x42; length])
            }
        });
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(limit)?;
        let mut arrived = vec![];
        stream.read_to_end(&mut arrived)?;
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        anyhow::ensure!(arrived.iter().all(|&octet| octet == 0x42), "the octets changed on the way");
        Ok(arrived.len())
    }
}
