//! Asks the router by UPnP (Internet Gateway Device), with the `igd-next` crate.
//!
//! Only the default gateway itself is asked: whatever else in the home network calls itself a router is left alone.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use igd_next::aio::Gateway as Device;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddAnyPortError, AddPortError, GetExternalIpError, PortMappingProtocol, RemovePortError, RequestError, SearchOptions};
use tokio::sync::Mutex;

use crate::portmap::{Answer, AnswerBody, Gateway, Input, Method, Port, Refusal, Request, Transport};

/// SSDP's port, and the address of all who speak it.
const SSDP: u16 = 1900;
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// How long the router may take to say where its services are: asked by its address, then with everybody else. A firewall on this machine
/// lets an answer to the first in.
const SEARCHES: [(bool, Duration); 2] = [(true, Duration::from_millis(2500)), (false, Duration::from_millis(5000))];
/// A router that is slower than this does not answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the owner reads in the router's list of mappings.
const DESCRIPTION: &str = "btmm";

/// Questions on their way.
#[derive(Default)]
pub(super) struct Upnp {
    known: Arc<Mutex<Known>>,
    work: FuturesUnordered<BoxFuture<'static, Input>>,
}

/// What is known of the present router.
#[derive(Default)]
struct Known {
    of: Option<Gateway>,
    device: Option<Device<Tokio>>,
    /// The outer port that it forwards to each of ours.
    granted: BTreeMap<Port, u16>,
}

/// Why the router did not do what it was asked.
enum Trouble {
    /// There is nobody who speaks UPnP, or not to the end.
    Silent,
    Refused(Refusal),
}

impl Upnp {
    /// Asks. The answer comes by [`Upnp::next`].
    pub fn ask(&mut self, gateway: Gateway, request: Request) {
        let known = self.known.clone();
        self.work.push(Box::pin(async move {
            // One question after the other: what is given back may be what the one before is about to get.
            let mut known = known.lock().await;
            let asked = tokio::time::timeout(PATIENCE, attempt(&mut known, gateway, request)).await.unwrap_or(Err(Trouble::Silent));
            let (router, method) = (gateway.address, Method::Upnp);
            match asked {
                Ok(body) => Input::Answer { router, method, answer: Answer { epoch: None, body } },
                Err(Trouble::Silent) => Input::Unreachable { router, method },
                Err(Trouble::Refused(refusal)) => Input::Refused { router, method, refusal },
            }
        }));
    }

    /// What came of a question. Never ends while there is none. Cancel safe.
    pub async fn next(&mut self) -> Input {
        match self.work.next().await {
            Some(input) => input,
            None => pending().await,
        }
    }
}

/// Asks the device that is known, which may have other addresses after a restart, and else the one that is found.
async fn attempt(known: &mut Known, gateway: Gateway, request: Request) -> Result<AnswerBody, Trouble> {
    if known.of != Some(gateway) {
        *known = Known { of: Some(gateway), ..Known::default() };
    }
    if let Some(device) = known.device.take() {
        match perform(known, &device, gateway, request).await {
            Err(Trouble::Silent) => {}
            done => {
                known.device = Some(device);
                return done;
            }
        }
    }
    let device = discover(gateway).await?;
    let done = perform(known, &device, gateway, request).await;
    known.device = Some(device);
    done
}

async fn discover(gateway: Gateway) -> Result<Device<Tokio>, Trouble> {
    for (by_address, time) in SEARCHES {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddr::from((gateway.local, 0));
        options.broadcast_address = SocketAddr::from((if by_address { gateway.address } else { EVERYBODY }, SSDP));
        options.timeout = Some(time);
        options.single_search_timeout = Some(time);
        match search_gateway(options).await {
            Ok(device) if device.addr.ip() == IpAddr::V4(gateway.address) => return Ok(device),
            Ok(device) => tracing::debug!(device = %device.addr, "another gateway than the default one answers UPnP"),
            Err(error) => tracing::trace!(%error, by_address, "no UPnP gateway found"),
        }
    }
    Err(Trouble::Silent)
}

async fn perform(known: &mut Known, device: &Device<Tokio>, gateway: Gateway, request: Request) -> Result<AnswerBody, Trouble> {
    match request {
        Request::ExternalAddress => match device.get_external_ip().await? {
            IpAddr::V4(address) => Ok(AnswerBody::ExternalAddress(address)),
            IpAddr::V6(_) => Err(Trouble::Refused(Refusal::Other)),
        },
        Request::Map { port, lifetime: 0, .. } => {
            if let Some(external) = known.granted.remove(&port) {
                match device.remove_port(protocol(port), external).await {
                    Ok(()) | Err(RemovePortError::NoSuchPortMapping) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(AnswerBody::Mapped { port, external: 0, lifetime: 0 })
        }
        Request::Map { port, external, lifetime } => {
            let external = map(device, port, external, SocketAddr::from((gateway.local, port.number)), lifetime).await?;
            known.granted.insert(port, external);
            Ok(AnswerBody::Mapped { port, external, lifetime })
        }
    }
}

/// The outer port that is forwarded now: the one asked for, or another where that is somebody else's.
async fn map(device: &Device<Tokio>, port: Port, external: u16, to: SocketAddr, lifetime: u32) -> Result<u16, Trouble> {
    match device.add_port(protocol(port), external, to, lifetime, DESCRIPTION).await {
        Ok(()) => Ok(external),
        Err(AddPortError::PortInUse) => map_any(device, port, to, lifetime).await,
        // It stands until it is taken back; the mapper asks again all the same, as if it ended.
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            device.add_port(protocol(port), external, to, 0, DESCRIPTION).await?;
            Ok(external)
        }
        Err(error) => Err(error.into()),
    }
}

async fn map_any(device: &Device<Tokio>, port: Port, to: SocketAddr, lifetime: u32) -> Result<u16, Trouble> {
    match device.add_any_port(protocol(port), to, lifetime, DESCRIPTION).await {
        Err(AddAnyPortError::OnlyPermanentLeasesSupported) => Ok(device.add_any_port(protocol(port), to, 0, DESCRIPTION).await?),
        mapped => Ok(mapped?),
    }
}

fn protocol(port: Port) -> PortMappingProtocol {
    match port.transport {
        Transport::Udp => PortMappingProtocol::UDP,
        Transport::Tcp => PortMappingProtocol::TCP,
    }
}

/// An error with a code is the router's word; any other means that it cannot be talked to.
impl From<RequestError> for Trouble {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::ErrorCode(code, _) => Self::Refused(Refusal::Upnp(code)),
            RequestError::UnsupportedAction(_) => Self::Refused(Refusal::UnsupportedOpcode),
            error => {
                tracing::debug!(%error, "UPnP");
                Self::Silent
            }
        }
    }
}

impl From<GetExternalIpError> for Trouble {
    fn from(error: GetExternalIpError) -> Self {
        match error {
            GetExternalIpError::ActionNotAuthorized => Self::Refused(Refusal::NotAuthorized),
            GetExternalIpError::RequestError(error) => error.into(),
        }
    }
}

impl From<RemovePortError> for Trouble {
    fn from(error: RemovePortError) -> Self {
        match error {
            RemovePortError::ActionNotAuthorized => Self::Refused(Refusal::NotAuthorized),
            RemovePortError::NoSuchPortMapping => Self::Refused(Refusal::Other),
            RemovePortError::RequestError(error) => error.into(),
        }
    }
}

impl From<AddPortError> for Trouble {
    fn from(error: AddPortError) -> Self {
        match error {
            AddPortError::ActionNotAuthorized => Self::Refused(Refusal::NotAuthorized),
            AddPortError::RequestError(error) => error.into(),
            AddPortError::PortInUse => Self::Refused(Refusal::OutOfResources),
            _ => Self::Refused(Refusal::Other),
        }
    }
}

impl From<AddAnyPortError> for Trouble {
    fn from(error: AddAnyPortError) -> Self {
        match error {
            AddAnyPortError::ActionNotAuthorized => Self::Refused(Refusal::NotAuthorized),
            AddAnyPortError::RequestError(error) => error.into(),
            AddAnyPortError::NoPortsAvailable | AddAnyPortError::ExternalPortInUse => Self::Refused(Refusal::OutOfResources),
            _ => Self::Refused(Refusal::Other),
        }
    }
}
