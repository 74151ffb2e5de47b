//! People who wait for a sign of life.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::account::name::MachineName;
use crate::control::error::ControlError;
use crate::control::messages::Pong;
use crate::control::request::Answer;
use crate::engine::{Peer, Tunnel};

/// A `btmm ping` that waits.
struct Waiting {
    machine: MachineName,
    answer: Answer<Pong>,
    asked: Instant,
    /// How long the tunnel took, when there was none.
    connect: Option<Duration>,
    /// The probe has been sent.
    probing: bool,
}

/// Every `btmm ping` that waits.
#[derive(Default)]
pub(super) struct Pings {
    waiting: Vec<Waiting>,
}

impl Pings {
    /// Someone asks for `peer`. Answers whether it is to be probed now: its tunnel is up already.
    pub fn ask(&mut self, peer: &Peer, answer: Answer<Pong>, now: Instant) -> bool {
        let up = matches!(peer.tunnel(), Tunnel::Up { .. });
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        self.waiting.push(Waiting { machine: peer.name().clone(), answer, asked: now, connect: None, probing: up });
        up
    }

    /// The tunnel is up. Answers whether somebody waits for a probe of it.
    pub fn up(&mut self, machine: &MachineName, now: Instant) -> bool {
        let mut wanted = false;
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.machine == *machine && !waiting.probing) {
            waiting.connect = Some(now.duration_since(waiting.asked));
            waiting.probing = true;
            wanted = true;
        }
        wanted
    }

    /// The peer gave a sign of life from `remote`.
    pub fn alive(&mut self, peer: &Peer, remote: SocketAddr, rtt: Duration) {
        for waiting in self.take(peer.name(), true) {
            let pong = Pong {
                machine: peer.name().to_string(),
                inner: peer.inner(),
                remote,
                via: "direct".to_owned(),
                rtt_us: micros(rtt),
                connect_us: waiting.connect.map(micros),
            };
            // A caller who has hung up wants no answer.
            let _ = waiting.answer.send(Ok(pong));
        }
    }

    /// There is no reaching it.
    pub fn failed(&mut self, machine: &MachineName, cause: &str) {
        for waiting in self.take(machine, false) {
            let error = ControlError::Unreachable { machine: machine.to_string(), message: cause.to_owned() };
            let _ = waiting.answer.send(Err(error));
        }
    }

    fn take(&mut self, machine: &MachineName, only_probing: bool) -> Vec<Waiting> {
        self.waiting.extract_if(.., |waiting| waiting.machine == *machine && (waiting.probing || !only_probing)).collect()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::control::server::Deadlines;
    use crate::engine::Settings;
    use crate::ike::IkeConfig;

    #[test]
    fn who_pings_waits_until_the_reason_is_known() {
        let engine = Settings::default();
        assert!(Deadlines::default().probe > engine.find + engine.connect);
        assert!(engine.connect > IkeConfig::default().dial_timeout);
    }
}
