//! What goes into the [`Mapper`](super::Mapper) and what comes out.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Answer, Gateway, LIFETIME, Mapping, Method, Port, Refusal, Request};

/// What to keep mapped.
#[derive(Debug, Clone)]
pub struct Config {
    /// The ports peers should reach.
    pub ports: Vec<Port>,
    /// Asked of the router, in whole seconds.
    pub lifetime: Duration,
    /// How the router is asked: each in its turn, where the one before came to nothing.
    pub methods: &'static [Method],
}

impl Config {
    /// These ports, for the recommended two hours, by any method.
    pub fn new(ports: Vec<Port>) -> Self {
        Self { ports, lifetime: LIFETIME, methods: &[Method::NatPmp, Method::Upnp] }
    }
}

/// What happens to the mapper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The default route, now. Saying the same again changes nothing.
    Gateway(Option<Gateway>),
    /// The link was cut or resumed: the router may be another one with the same address.
    Refresh,
    /// The router announced a restart or a new address, perhaps. It is asked which.
    Announced {
        /// The router.
        router: Ipv4Addr,
    },
    /// The router answered.
    Answer {
        /// The router.
        router: Ipv4Addr,
        /// How it was asked.
        method: Method,
        /// Its words.
        answer: Answer,
    },
    /// The router said no to the request on its way.
    Refused {
        /// The router.
        router: Ipv4Addr,
        /// How it was asked.
        method: Method,
        /// Its reason.
        refusal: Refusal,
    },
    /// The router's port is closed (ICMP), or nobody there speaks the method.
    Unreachable {
        /// The router.
        router: Ipv4Addr,
        /// How it was asked.
        method: Method,
    },
    /// The request could not be sent.
    CannotAsk {
        /// The router.
        router: Ipv4Addr,
        /// How it was to be asked.
        method: Method,
        /// The system's reason.
        reason: String,
    },
    /// [`Mapper::poll_timeout`](super::Mapper::poll_timeout) has come.
    Timeout,
    /// Give every mapping back; [`Command::Released`] follows within a second. Final: a new mapper is made to start again.
    Stop,
}

/// What the mapper wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send one datagram, or ask by UPnP until there is an answer or none.
    Send {
        /// Where.
        gateway: Gateway,
        /// How.
        method: Method,
        /// What.
        request: Request,
    },
    /// Tell the engine: publish, withdraw, show.
    Changed {
        /// The port concerned.
        port: Port,
        /// Its new state.
        mapping: Mapping,
    },
    /// Everything was given back or the router does not answer; the daemon may exit.
    Released,
}
