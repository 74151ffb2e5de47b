//! The session's doors to the outside, and what comes in by them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::account::key::MachineKey;
use crate::account::roster::Roster;
use crate::clock::Jumps;
use crate::control::request::{Answer, Caller};
use crate::control::secrets::{RealmTickets, TicketWanted};
use crate::datapath::DatapathError;
use crate::datapath::waiting_room::WaitingRoom;
use crate::ike::driver::{Datagram, EncapSockets};
use crate::lkdc::client::keeper::{Order, Outcome};
use crate::netwatch::Snapshot;
use crate::rendezvous::driver as rendezvous;
use crate::xfrm::port::KernelEvent;
use crate::{portmap, resolver};

/// Something happened.
pub(super) enum Event {
    /// An IKE datagram.
    Datagram(Datagram),
    /// The encapsulation sockets failed.
    SocketsFailed(std::io::Error),
    /// The kernel's IPsec has something to say; `None` when the monitor has ended.
    Kernel(Option<KernelEvent>),
    /// Addresses, routes or links are others now.
    Network(Arc<Snapshot>),
    /// A packet for a peer without a tunnel.
    Held(Vec<u8>, Instant),
    /// The waiting room failed.
    WaitingRoomFailed(DatapathError),
    /// The zone.
    Rendezvous(rendezvous::Event),
    /// A program asks for a name.
    Query(resolver::Input),
    /// systemd-resolved was told where the account's names are answered.
    Registered(resolver::Integration),
    /// The router.
    Router(portmap::Input),
    /// The account's machines, as the base signed them.
    Roster(Box<Result<Roster, String>>),
    /// A ticket that was asked for, or why there is none.
    Ticket(Box<(Order, Outcome)>),
    /// Somebody who may have it waits for a ticket.
    TicketWanted(Caller, TicketWanted, Answer<RealmTickets>),
    /// The token has made a signature that a tunnel waits for.
    Signed,
    /// The wall clock jumped, and how long the machine slept, if it did; or nobody will tell any more.
    ClockJumped(std::io::Result<Duration>),
    /// A timer.
    Timeout,
}

/// Every socket and channel of a session.
pub(super) struct Doors {
    pub sockets: EncapSockets,
    pub waiting_room: WaitingRoom,
    /// Absent when switched off by configuration, or when the address is taken.
    pub stub: Option<resolver::driver::Driver>,
    /// Absent when switched off by configuration, or there is no stub.
    pub resolved: Option<resolver::linux::Registration>,
    pub router: portmap::driver::Driver,
    /// Absent when the kernel does not tell, or no more.
    pub jumps: Option<Jumps>,
    pub kernel: mpsc::Receiver<KernelEvent>,
    pub network: watch::Receiver<Arc<Snapshot>>,
    pub zone: mpsc::UnboundedReceiver<rendezvous::Event>,
    /// What was done beside the event loop.
    pub inbox: mpsc::Receiver<Event>,
    pub key: Arc<MachineKey>,
}

impl Doors {
    /// The next event. Cancel safe. `timeout` is the next timer of anything in the session.
    pub async fn next(&mut self, timeout: Option<Instant>) -> Event {
        let Self { sockets, waiting_room, stub, resolved, router, jumps, kernel, network, zone, inbox, key } = self;
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let query = async {
            match stub {
                Some(stub) => stub.next().await,
                None => std::future::pending().await,
            }
        };
        let registration = async {
            match resolved {
                Some(resolved) => resolved.next().await,
                None => std::future::pending().await,
            }
        };
        let jump = async {
            match jumps.as_mut() {
                Some(jumps) => jumps.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            datagram = sockets.recv() => datagram.map_or_else(Event::SocketsFailed, Event::Datagram),
            packet = waiting_room.recv() => packet.map_or_else(Event::WaitingRoomFailed, |(packet, at)| Event::Held(packet, at)),
            event = kernel.recv() => Event::Kernel(event),
            Ok(()) = network.changed() => Event::Network(network.borrow_and_update().clone()),
            Some(event) = zone.recv() => Event::Rendezvous(event),
            input = query => Event::Query(input),
            integration = registration => Event::Registered(integration),
            input = router.next() => Event::Router(input),
            Some(event) = inbox.recv() => event,
            () = key.signed() => Event::Signed,
            jumped = jump => Event::ClockJumped(jumped),
            () = timer => Event::Timeout,
        }
    }
}
