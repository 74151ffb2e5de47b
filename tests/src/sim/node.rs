//! One machine: IKE, its kernel, and an engine that knows only "I want the other one".

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use btmmd::ike::{Cause, Command, Ike, IkeConfig, Input};

use super::credentials::{Held, Identity, MACHINES};
use super::kernel::Kernel;
use super::network::{Network, START};
use super::random::Random;

/// After a failure the engine tries again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// With BTMM_TRACE set, every command is printed.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("BTMM_TRACE").is_some());

fn brief(command: &Command) -> String {
    match command {
        Command::Send { remote, bytes, .. } => format!("Send {} octets, exchange {} to {remote}", bytes.len(), bytes.get(18).unwrap_or(&0)),
        other => format!("{other:?}"),
    }
}

/// Something the machine told its engine.
#[derive(Clone, Debug)]
pub enum Told {
    /// The tunnel is up.
    Up,
    /// The tunnel is gone.
    Down(Cause),
    /// The tunnel could not be raised.
    Failed(Cause),
    /// The peer lives; round-trip time.
    Alive(Duration),
}

/// One machine.
pub struct Node {
    /// Its IKE.
    pub ike: Ike,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its own address.
    pub local: SocketAddr,
    /// Its address as others see it; another than `local` behind a NAT.
    pub public: SocketAddr,
    /// Keepalives sent to the NAT in front of us.
    pub keepalives: u64,
    /// All that IKE told, in order.
    pub told: Vec<Told>,
    /// Whether the engine wants the other machine.
    pub wanted: bool,
    identity: Arc<Identity>,
    other: Arc<Identity>,
    config: IkeConfig,
    random: Random,
    up: bool,
    dialling: bool,
    again_at: Option<Instant>,
}

impl Node {
    /// Machine 0 or 1 of [`MACHINES`].
    pub fn new(index: usize, config: IkeConfig, seed: u64) -> Self {
        Self::of(MACHINES[index].clone(), MACHINES[1 - index].clone(), index, config, seed)
    }

    /// A machine of this identity, that knows the other one.
    pub fn of(identity: Arc<Identity>, other: Arc<Identity>, index: usize, config: IkeConfig, seed: u64) -> Self {
        let local: SocketAddr = if index == 0 { "192.0.2.1:4500" } else { "198.51.100.2:4500" }.parse().expect("an address");
        let mut random = Random::new(seed);
        let ike = Ike::new(config.clone(), Box::new(Held(identity.clone())), Box::new(Random::new(random.next())));
        Self {
            ike,
            kernel: Kernel::default(),
            local,
            public: local,
            keepalives: 0,
            told: Vec::new(),
            wanted: false,
            identity,
            other,
            config,
            random,
            up: false,
            dialling: false,
            again_at: None,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.identity.name()
    }

    /// The other machine's name.
    pub fn peer(&self) -> String {
        self.other.name().to_owned()
    }

    /// Whether the tunnel is up, by what IKE told.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether an `Initiate` has not been answered yet.
    pub fn is_dialling(&self) -> bool {
        self.dialling
    }

    /// Starts wanting the other machine.
    pub fn want(&mut self, candidates: Vec<SocketAddr>, now: Instant, network: &mut Network) {
        self.wanted = true;
        self.again_at = None;
        self.dialling = true;
        self.input(Input::Initiate { peer: self.peer(), inner: self.other.inner(), candidates }, now, network);
    }

    /// Gives IKE an input and does what it commands.
    pub fn input(&mut self, input: Input, now: Instant, network: &mut Network) {
        self.ike.handle(input, now);
        while let Some(command) = self.ike.poll_command() {
            self.perform(command, now, network);
        }
    }

    /// When something is due of its own accord.
    pub fn next_event(&self) -> Option<Instant> {
        self.ike.poll_timeout().map(|(when, _)| when).into_iter().chain(self.again_at).min()
    }

    /// Does what is due.
    pub fn due(&mut self, candidates: Vec<SocketAddr>, now: Instant, network: &mut Network) {
        if self.again_at.is_some_and(|when| when <= now) {
            self.again_at = None;
            if self.wanted && !self.up && !self.dialling {
                self.want(candidates, now, network);
            }
        }
        if let Some((due, what)) = self.ike.poll_timeout().filter(|(due, _)| *due <= now) {
            self.input(Input::Timeout, now, network);
            let still = self.ike.poll_timeout().filter(|(next, _)| *next <= now);
            assert!(still.is_none(), "{what} was due at {due:?} and still is something: {still:?}");
        }
    }

    /// Forgets everything but who it is.
    pub fn crash(&mut self) {
        let entropy = Random::new(self.random.next());
        self.ike = Ike::new(self.config.clone(), Box::new(Held(self.identity.clone())), Box::new(entropy));
        self.kernel.reset();
        (self.up, self.dialling, self.wanted, self.again_at) = (false, false, false, None);
    }

    fn perform(&mut self, command: Command, now: Instant, network: &mut Network) {
        if *TRACE {
            println!("{:9.3} {} {}", (now - *START).as_secs_f64(), self.name(), brief(&command));
        }
        match command {
            Command::Send { remote, bytes, .. } => network.send(now, self.public, remote, &bytes),
            Command::Keepalive { .. } => self.keepalives += 1,
            Command::InstallSa(sa) => self.kernel.install(sa),
            Command::RemoveSa(sa) => self.kernel.remove(sa),
            Command::MoveSa { sa, local, remote } => self.kernel.relocate(sa, local, remote),
            Command::Up { .. } => {
                (self.up, self.dialling) = (true, false);
                self.told.push(Told::Up);
            }
            Command::Down { why, .. } => {
                assert!(self.up, "Down without Up: {why}");
                assert_eq!(self.kernel.count(), (0, 0), "Down leaves states behind: {why}");
                self.up = false;
                self.told.push(Told::Down(why));
                self.again_at = Some(now + AGAIN_AFTER);
            }
            Command::Failed { why, .. } => {
                assert!(self.dialling && !self.up, "Failed without Initiate: {why}");
                self.dialling = false;
                self.told.push(Told::Failed(why));
                self.again_at = Some(now + AGAIN_AFTER);
            }
            Command::Alive { rtt, .. } => self.told.push(Told::Alive(rtt)),
        }
    }
}
