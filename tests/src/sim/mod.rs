//! Two machines in virtual time: IKE at both ends, a kernel that is a set of states, and a network that loses, doubles and reorders.
pub mod credentials;
pub mod kernel;
pub mod network;
pub mod node;
pub mod random;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use btmmd::ike::{IkeConfig, Input, SaCounts};

use network::Network;
use node::Node;
use random::Random;

/// The two machines, the network between them, and the time.
pub struct Sim {
    /// The machines.
    pub nodes: [Node; 2],
    /// What carries their datagrams.
    pub network: Network,
    /// Virtual time.
    pub now: Instant,
    /// Data packets on their way: when they arrive, where, and what they need to be understood.
    pub data: Vec<kernel::Packet>,
    /// Data packets are sent this often in each direction, if at all.
    pub data_every: Option<Duration>,
    next_data: Instant,
}

impl Sim {
    /// Two machines at rest.
    pub fn new(seed: u64, config: &IkeConfig) -> Self {
        let start = *network::START;
        let mut random = Random::new(seed);
        let nodes = [0, 1].map(|index| Node::new(index, config.clone(), random.next()));
        Self { nodes, network: Network::new(random.next()), now: start, data: Vec::new(), data_every: None, next_data: start }
    }

    /// Two machines with a tunnel, which the first one wanted.
    pub fn connected(seed: u64, config: &IkeConfig) -> Self {
        let mut sim = Self::new(seed, config);
        sim.want(0);
        sim.run_for(Duration::from_secs(1));
        sim.converged().expect("a perfect network connects within a second");
        sim
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - *network::START
    }

    /// Lets time pass, and everything that is due in it happen.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// Gives one machine an input now.
    pub fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        self.nodes[node].input(input, now, &mut self.network);
    }

    /// One machine wants the other from now on, and says so again whenever it fails.
    pub fn want(&mut self, node: usize) {
        let candidates = vec![self.nodes[1 - node].public];
        let now = self.now;
        self.nodes[node].want(candidates, now, &mut self.network);
    }

    /// One machine's power fails and comes back: nothing is left of its SAs.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].crash();
    }

    /// One machine appears at another address, and knows it or not.
    pub fn move_to(&mut self, node: usize, address: SocketAddr, told: bool) {
        self.nodes[node].public = address;
        self.nodes[node].local = address;
        if told {
            self.input(node, Input::NetworkChanged);
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let timers = self.nodes.iter().filter_map(Node::next_event);
        let data = self.data.iter().map(|packet| packet.arrives);
        let stream = self.data_every.map(|_| self.next_data);
        timers.chain(self.network.next_arrival()).chain(data).chain(stream).min()
    }

    fn step(&mut self) {
        while let Some(datagram) = self.network.arrived(self.now) {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.public == datagram.to) {
                let input = Input::Datagram { local: node.local, remote: datagram.from, bytes: datagram.bytes };
                node.input(input, self.now, &mut self.network);
            }
        }
        let (arrived, under_way): (Vec<_>, _) = std::mem::take(&mut self.data).into_iter().partition(|packet| packet.arrives <= self.now);
        self.data = under_way;
        for packet in arrived {
            match self.nodes.iter_mut().find(|node| node.public == packet.to) {
                Some(node) => node.kernel.receive(&packet),
                None => continue,
            }
        }
        for index in 0..2 {
            let candidates = vec![self.nodes[1 - index].public];
            self.nodes[index].due(candidates, self.now, &mut self.network);
        }
        if let Some(every) = self.data_every
            && self.next_data <= self.now
        {
            self.next_data = self.now + every;
            let delay = self.network.delay();
            self.data.extend(self.nodes.iter_mut().filter_map(|node| node.kernel.send(self.now + delay)));
        }
    }

    /// Whether both ends agree on exactly one IKE SA and one child; else what is wrong.
    pub fn converged(&self) -> Result<(), String> {
        let [a, b] = &self.nodes;
        for node in [a, b] {
            let name = node.name();
            if !node.is_up() {
                return Err(format!("{name} is not up"));
            }
            let counts = SaCounts { closing: 0, ..node.ike.counts() };
            if counts != (SaCounts { established: 1, ..SaCounts::default() }) {
                return Err(format!("{name} has {counts:?}"));
            }
            if node.kernel.count() != (1, 1) {
                return Err(format!("{name} has {:?} ESP states", node.kernel.count()));
            }
        }
        let spis = |node: &Node| node.ike.status().first().map(|sa| (sa.spi_i, sa.spi_r));
        if spis(a) != spis(b) {
            return Err("the ends have different IKE SAs".into());
        }
        if !a.kernel.mirrors(&b.kernel) || !b.kernel.mirrors(&a.kernel) {
            return Err("the ends' ESP states do not fit each other".into());
        }
        Ok(())
    }

    /// Whether nothing at all is left.
    pub fn empty(&self) -> Result<(), String> {
        for node in &self.nodes {
            let counts = node.ike.counts();
            if node.is_up() || counts != SaCounts::default() || node.kernel.count() != (0, 0) {
                return Err(format!("{} has {counts:?} and {:?} ESP states left", node.name(), node.kernel.count()));
            }
            if let Some((_, why)) = node.ike.poll_timeout() {
                return Err(format!("{} has nothing to wait for but waits: {why}", node.name()));
            }
        }
        Ok(())
    }
}
