//! The mapper: which request goes to the router when, and what its answers mean.
//!
//! ```text
//!  gateway known ──public──────────────────────────────────────────────► Public
//!       │ private
//!       ▼
//!  ask outer address ──private──► Double NAT ─┐
//!       │ public                              ├─ back-off, ask again
//!       ▼                 refused, silence ───┤
//!  map each port ─────────────────────────────┘
//!       │ granted
//!       ▼
//!  Mapped ── half of the lifetime: map again ── epoch went back, address changed: all again ── Stop: lifetime 0
//! ```
//! One request is on its way at a time, as cheap routers need (RFC 6886 §3.1): 250 ms, doubling, nine sends. A router that forwards nothing yet
//! and does not speak a method is asked by the next one; what forwards is kept up by the method that made it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::command::{Command, Config, Input};
use super::epoch::Epoch;
use super::in_flight::{Again, InFlight};
use super::lease::Lease;
use super::{Answer, AnswerBody, Cause, Gateway, Mapping, Method, Port, Refusal, Request, is_public};

const FIRST_BACKOFF: Duration = Duration::from_secs(15);
const LAST_BACKOFF: Duration = Duration::from_secs(900);
/// How often the router is asked for its outer address, to see a restart or a new address whose announcement was lost.
const PROBE: Duration = Duration::from_secs(300);
const ANNOUNCED: Duration = Duration::from_secs(1);
/// How long [`Input::Stop`] waits for the router to confirm.
const RELEASE: Duration = Duration::from_secs(1);

/// Keeps the [`Config::ports`] mapped.
#[derive(Debug)]
pub struct Mapper {
    config: Config,
    gateway: Option<Gateway>,
    method: Method,
    /// Why the methods before came to nothing.
    before: Option<Cause>,
    epoch: Epoch,
    external: Option<Ipv4Addr>,
    leases: BTreeMap<Port, Lease>,
    causes: BTreeMap<Port, Cause>,
    queue: VecDeque<Request>,
    in_flight: Option<InFlight>,
    retry: Option<Instant>,
    backoff: Duration,
    probe: Option<Instant>,
    /// The last announcement that was followed.
    announced: Option<Instant>,
    release: Option<Instant>,
    stopped: bool,
    told: BTreeMap<Port, Mapping>,
    commands: VecDeque<Command>,
}

impl Mapper {
    /// A mapper that waits for its first [`Input::Gateway`].
    pub fn new(config: Config) -> Self {
        Self {
            method: first(&config),
            before: None,
            config,
            gateway: None,
            epoch: Epoch::default(),
            external: None,
            leases: BTreeMap::new(),
            causes: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: None,
            retry: None,
            backoff: FIRST_BACKOFF,
            probe: None,
            announced: None,
            release: None,
            stopped: false,
            told: BTreeMap::new(),
            commands: VecDeque::new(),
        }
    }

    /// Takes one input. Afterwards take every [`Mapper::poll_command`].
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.stopped && !matches!(input, Input::Answer { .. } | Input::Timeout | Input::Unreachable { .. } | Input::Refused { .. }) {
            return;
        }
        match input {
            Input::Gateway(gateway) => self.on_gateway(gateway, now),
            Input::Refresh => self.start_round(now),
            Input::Announced { router } if self.asks(router) => self.on_announced(now),
            Input::Answer { router, method, answer } if self.asks_by(router, method) => self.on_answer(answer, now),
            Input::Refused { router, method, refusal } if self.asks_by(router, method) => {
                self.give_up(Cause::Refused { router, refusal }, now);
            }
            Input::Unreachable { router, method } if self.asks_by(router, method) => self.give_up(Cause::NoAnswer(router), now),
            Input::CannotAsk { router, method, reason } if self.asks_by(router, method) => {
                self.give_up(Cause::CannotAsk { router, reason }, now);
            }
            Input::Timeout => self.on_timeout(now),
            Input::Stop => self.on_stop(now),
            Input::Announced { .. }
            | Input::Answer { .. }
            | Input::Refused { .. }
            | Input::Unreachable { .. }
            | Input::CannotAsk { .. } => {}
        }
        self.send_next(now);
        self.tell();
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to hand in [`Input::Timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let leases = self.leases.values().filter(|_| !self.stopped);
        let leases =
            leases.flat_map(|lease| [lease.renew.map(|at| (at, "renew a port mapping")), Some((lease.expires, "port mapping ends"))]);
        [
            self.in_flight.as_ref().map(|request| (request.resend, "ask the router again")),
            self.retry.map(|at| (at, "try port mapping again")),
            self.probe.map(|at| (at, "see whether the router restarted")),
            self.release.map(|at| (at, "stop waiting for the router")),
        ]
        .into_iter()
        .chain(leases)
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Where `port` can be reached now.
    pub fn mapping(&self, port: Port) -> Mapping {
        let Some(gateway) = self.gateway else { return Mapping::None(Cause::NoRoute) };
        if self.stopped {
            return Mapping::None(Cause::Released);
        }
        if is_public(gateway.local) {
            return Mapping::Public(SocketAddrV4::new(gateway.local, port.number));
        }
        if let (Some(address), Some(lease)) = (self.external, self.leases.get(&port)) {
            let external = SocketAddrV4::new(address, lease.external);
            return Mapping::Mapped { external, lifetime: lease.granted, method: self.method };
        }
        Mapping::None(self.causes.get(&port).cloned().unwrap_or(Cause::Asking(gateway.address)))
    }

    fn asks(&self, router: Ipv4Addr) -> bool {
        self.gateway.is_some_and(|gateway| gateway.address == router)
    }

    fn asks_by(&self, router: Ipv4Addr, method: Method) -> bool {
        self.method == method && self.asks(router)
    }

    fn on_gateway(&mut self, gateway: Option<Gateway>, now: Instant) {
        if self.gateway == gateway {
            return;
        }
        if let Some(old) = self.gateway {
            let ports = self.held_ports();
            self.leases.clear();
            // The router may still be there although we have left it, or have a new address from it. One datagram, no wait. A connection is
            // another matter: it could reach somebody else's router of the same address.
            if self.method == Method::NatPmp {
                let method = self.method;
                self.commands.extend(ports.into_iter().map(|port| Command::Send { gateway: old, method, request: release(port) }));
            }
        }
        self.gateway = gateway;
        self.epoch = Epoch::default();
        self.external = None;
        self.causes.clear();
        self.backoff = FIRST_BACKOFF;
        self.start_round(now);
    }

    /// Asks for everything again.
    fn start_round(&mut self, now: Instant) {
        self.queue.clear();
        self.in_flight = None;
        self.retry = None;
        self.probe = None;
        self.before = None;
        if self.leases.is_empty() {
            self.method = first(&self.config);
        }
        if self.gateway.is_some_and(|gateway| !is_public(gateway.local)) {
            self.probe = Some(now + PROBE);
            self.want(Request::ExternalAddress);
            self.want_all_ports();
        }
    }

    /// Asks by the next method, if there is one and nothing was granted by this one. False when there is not.
    fn try_next_method(&mut self, cause: &Cause) -> bool {
        let next = self.config.methods.iter().copied().skip_while(|method| *method != self.method).nth(1);
        let Some(next) = next.filter(|_| self.leases.is_empty() && !self.stopped) else { return false };
        self.method = next;
        self.before.get_or_insert_with(|| cause.clone());
        self.epoch = Epoch::default();
        self.external = None;
        self.in_flight = None;
        self.queue.clear();
        self.want(Request::ExternalAddress);
        self.want_all_ports();
        true
    }

    fn want_all_ports(&mut self) {
        for port in self.config.ports.clone() {
            self.want(self.map(port));
        }
    }

    /// The request that makes or renews the mapping of `port`.
    fn map(&self, port: Port) -> Request {
        let external = self.leases.get(&port).map_or(port.number, |lease| lease.external);
        Request::Map { port, external, lifetime: u32::try_from(self.config.lifetime.as_secs()).unwrap_or(u32::MAX) }
    }

    fn want(&mut self, request: Request) {
        if !self.queue.contains(&request) && self.in_flight.as_ref().is_none_or(|sent| sent.request != request) {
            self.queue.push_back(request);
        }
    }

    fn send_next(&mut self, now: Instant) {
        if self.in_flight.is_none()
            && let Some(gateway) = self.gateway
            && let Some(request) = self.queue.pop_front()
        {
            self.in_flight = Some(InFlight::new(request, self.method, now));
            self.commands.push_back(Command::Send { gateway, method: self.method, request });
        }
        if self.stopped && self.in_flight.is_none() && self.release.take().is_some() {
            self.commands.push_back(Command::Released);
        }
    }

    /// Announcements are repeated, and anyone at home can send them: the router is asked once a second at most.
    fn on_announced(&mut self, now: Instant) {
        if self.announced.is_none_or(|before| now >= before + ANNOUNCED) {
            self.announced = Some(now);
            if self.retry.is_some() {
                self.start_round(now);
            } else {
                self.want(Request::ExternalAddress);
            }
        }
    }

    fn on_answer(&mut self, answer: Answer, now: Instant) {
        let lost = answer.epoch.is_some_and(|epoch| self.epoch.note(epoch, now));
        let expected = self.in_flight.as_ref().map(|sent| sent.request);
        match (answer.body, expected) {
            (AnswerBody::ExternalAddress(address), _) => {
                if expected == Some(Request::ExternalAddress) {
                    self.in_flight = None;
                }
                self.on_external(address, now);
            }
            (AnswerBody::Mapped { port, external, lifetime }, Some(Request::Map { port: asked, lifetime: wanted, .. }))
                if port == asked =>
            {
                self.on_mapped(port, external, lifetime, wanted, now);
            }
            (AnswerBody::Mapped { .. }, _) => {}
        }
        if lost && !self.stopped {
            let kept = match answer.body {
                AnswerBody::Mapped { port, .. } => Some(port),
                AnswerBody::ExternalAddress(_) => None,
            };
            self.want(Request::ExternalAddress);
            for port in self.config.ports.clone().into_iter().filter(|port| Some(*port) != kept) {
                self.want(self.map(port));
            }
        }
    }

    fn on_external(&mut self, address: Ipv4Addr, now: Instant) {
        let Some(gateway) = self.gateway else { return };
        if self.stopped || is_public(gateway.local) {
            return;
        }
        self.probe = Some(now + PROBE);
        if !is_public(address) {
            let router = gateway.address;
            let cause = if address.is_unspecified() {
                Cause::Refused { router, refusal: Refusal::NetworkFailure }
            } else {
                Cause::DoubleNat { router, external: address }
            };
            self.external = None;
            self.leases.clear();
            self.queue.clear();
            self.blame_all(&cause);
            self.retry_later(now);
        } else if self.external.replace(address).is_some_and(|before| before != address) {
            self.want_all_ports();
        }
    }

    fn on_mapped(&mut self, port: Port, external: u16, lifetime: u32, wanted: u32, now: Instant) {
        self.in_flight = None;
        if wanted == 0 {
            self.leases.remove(&port);
        } else if let (Some(gateway), true) = (self.gateway, lifetime == 0 || external == 0) {
            self.leases.remove(&port);
            self.causes.insert(port, Cause::Refused { router: gateway.address, refusal: Refusal::Other });
            self.retry_later(now);
        } else {
            self.leases.insert(port, Lease::new(external, lifetime, now));
            self.causes.remove(&port);
            self.backoff = FIRST_BACKOFF;
        }
    }

    /// The request on its way has failed. What was granted before stays until it ends.
    fn give_up(&mut self, cause: Cause, now: Instant) {
        let Some(sent) = self.in_flight.take() else { return };
        if self.stopped || is_of_the_method(&cause, sent.request) && self.try_next_method(&cause) {
            return;
        }
        // That nobody speaks the last method says less than what was heard by another.
        let cause = match (cause, self.before.take()) {
            (Cause::NoAnswer(_), Some(before)) => before,
            (cause, _) => cause,
        };
        match (sent.request, &cause) {
            (Request::Map { port, .. }, Cause::Refused { .. }) => {
                self.leases.remove(&port);
                self.causes.insert(port, cause);
            }
            _ => {
                self.queue.clear();
                self.blame_all(&cause);
            }
        }
        self.retry_later(now);
    }

    fn blame_all(&mut self, cause: &Cause) {
        self.causes = self.config.ports.iter().map(|port| (*port, cause.clone())).collect();
    }

    fn retry_later(&mut self, now: Instant) {
        let end = self.leases.values().map(|lease| lease.half_of_rest(now)).min();
        for lease in self.leases.values_mut() {
            lease.renew = None;
        }
        self.probe = None;
        self.retry = Some(now + end.map_or(self.backoff, |end| end.min(self.backoff)));
        self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
    }

    fn on_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.release) {
            self.queue.clear();
            self.in_flight = None;
        }
        self.resend(now);
        self.leases.retain(|_, lease| lease.expires > now);
        if due(self.retry) {
            self.start_round(now);
        }
        if due(self.probe) {
            self.probe = Some(now + PROBE);
            self.want(Request::ExternalAddress);
            // Without an epoch nobody tells that the router forgot: it is told again what it may know.
            if self.method == Method::Upnp {
                self.want_all_ports();
            }
        }
        let due: Vec<Port> = self.leases.iter().filter(|(_, lease)| !self.stopped && due(lease.renew)).map(|(port, _)| *port).collect();
        for port in due {
            if let Some(lease) = self.leases.get_mut(&port) {
                lease.renew = None;
            }
            self.want(self.map(port));
        }
    }

    fn resend(&mut self, now: Instant) {
        let (Some(gateway), Some(sent)) = (self.gateway, self.in_flight.as_mut()) else { return };
        let cause = match sent.request {
            Request::Map { .. } if self.external.is_some() => Cause::Ignored(gateway.address),
            _ => Cause::NoAnswer(gateway.address),
        };
        let request = sent.request;
        let silent = match sent.again(now) {
            Again::Wait => return,
            Again::GiveUp => return self.give_up(cause, now),
            Again::Send { silent } => silent,
        };
        if silent && self.try_next_method(&cause) {
            return;
        }
        self.commands.push_back(Command::Send { gateway, method: self.method, request });
        if silent && !self.stopped {
            self.blame_all(&cause);
        }
    }

    fn on_stop(&mut self, now: Instant) {
        self.queue = self.held_ports().into_iter().map(release).collect();
        self.in_flight = None;
        self.retry = None;
        self.probe = None;
        self.stopped = true;
        self.release = Some(now + RELEASE);
    }

    /// The ports the router forwards, or may be about to.
    fn held_ports(&self) -> BTreeSet<Port> {
        let asked = self.in_flight.as_ref().and_then(|sent| match sent.request {
            Request::Map { port, .. } => Some(port),
            Request::ExternalAddress => None,
        });
        self.leases.keys().copied().chain(asked).collect()
    }

    fn tell(&mut self) {
        for port in &self.config.ports {
            let mapping = self.mapping(*port);
            if self.told.get(port) != Some(&mapping) {
                self.told.insert(*port, mapping.clone());
                self.commands.push_back(Command::Changed { port: *port, mapping });
            }
        }
    }
}

fn first(config: &Config) -> Method {
    config.methods.first().copied().unwrap_or(Method::NatPmp)
}

/// Whether another method may do better: this one is not spoken there, or not enough of it.
fn is_of_the_method(cause: &Cause, request: Request) -> bool {
    match cause {
        Cause::NoAnswer(_) | Cause::Ignored(_) => true,
        Cause::Refused { refusal: Refusal::UnsupportedVersion | Refusal::UnsupportedOpcode, .. } => true,
        // It has no outer address by any method.
        Cause::Refused { refusal: Refusal::NetworkFailure, .. } => false,
        Cause::Refused { .. } => request == Request::ExternalAddress,
        _ => false,
    }
}

fn release(port: Port) -> Request {
    Request::Map { port, external: 0, lifetime: 0 }
}
