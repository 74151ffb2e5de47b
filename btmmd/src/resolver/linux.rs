//! systemd-resolved over D-Bus.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zbus::{MatchRule, MessageStream};

use super::resolved::{self, Backoff, Call, Integration, Link};

/// The bus and resolved answer at once on a machine at rest. What D-Bus itself waits for an answer, for one that is starting.
const PATIENCE: Duration = Duration::from_secs(25);
const BUS: &str = "org.freedesktop.DBus";
const SERVICE: &str = "org.freedesktop.resolve1";
const OBJECT: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";

/// The system's resolver, if it is one that can be told about the stub. Never edits `/etc/resolv.conf`.
pub struct SystemResolver {
    bus: Option<Bus>,
}

struct Bus {
    connection: zbus::Connection,
    owners: MessageStream,
}

impl SystemResolver {
    /// Connects to the system bus. Without one there is nothing to tell.
    pub async fn connect() -> Self {
        match patiently(Bus::connect()).await {
            Ok(bus) => Self { bus: Some(bus) },
            Err(error) => {
                tracing::debug!(%error, "no system bus: the resolver has to be pointed at btmmd by hand");
                Self { bus: None }
            }
        }
    }

    /// Has resolved send the account's names to the stub. To be called when `btmm0` is up, when the table changes, and after
    /// [`SystemResolver::appeared`].
    pub async fn apply(&self, link: &Link) -> Integration {
        let Some(bus) = &self.bus else { return Integration::manual(link) };
        match patiently(bus.run(link.index, resolved::apply(link))).await {
            Ok(true) => Integration::Resolved,
            Ok(false) => Integration::manual(link),
            Err(error) => Integration::Refused(error.to_string()),
        }
    }

    /// Has resolved forget the stub.
    pub async fn revert(&self, index: u32) {
        if let Some(bus) = &self.bus
            && let Err(error) = patiently(bus.run(index, resolved::revert())).await
        {
            tracing::debug!(%error, "systemd-resolved keeps the settings of btmm0 until that goes away");
        }
    }

    /// Ends when resolved has appeared on the bus, for the first time or anew, and has then forgotten us; or when the bus is gone. Without
    /// a bus never. Cancel safe.
    pub async fn appeared(&mut self) {
        let Some(bus) = &mut self.bus else { return pending().await };
        while let Some(change) = bus.owners.next().await {
            // Name, old owner, new owner.
            if change.is_ok_and(|change| change.body().deserialize::<(&str, &str, &str)>().is_ok_and(|(_, _, new)| !new.is_empty())) {
                return;
            }
        }
        self.bus = None;
    }

    fn is_connected(&self) -> bool {
        self.bus.is_some()
    }
}

/// Keeps resolved pointed at the stub: tells it again when it has been restarted, and tries again, ever less often, after a failure.
/// In a task of its own, which ends when this is dropped; nothing waits for it.
pub struct Registration {
    told: mpsc::Receiver<Integration>,
    task: JoinHandle<()>,
}

impl Registration {
    /// Begins with this link. Must be called within a tokio runtime.
    pub fn start(link: Link) -> Self {
        let (tell, told) = mpsc::channel(4);
        Self { told, task: tokio::spawn(keep(link, tell)) }
    }

    /// How each try ended. Cancel safe.
    pub async fn next(&mut self) -> Integration {
        match self.told.recv().await {
            Some(integration) => integration,
            None => pending().await,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(link: Link, tell: mpsc::Sender<Integration>) {
    let (mut backoff, mut system) = (Backoff::default(), SystemResolver { bus: None });
    loop {
        if !system.is_connected() {
            system = SystemResolver::connect().await;
        }
        let integration = system.apply(&link).await;
        let settled = system.is_connected() && !matches!(integration, Integration::Refused(_));
        if tell.send(integration).await.is_err() {
            return;
        }
        if settled {
            backoff.rest();
            system.appeared().await;
        } else {
            // Time to try again, or resolved is another one now: either way it is told.
            let _ = tokio::time::timeout(backoff.wait(), system.appeared()).await;
        }
    }
}

async fn patiently<T>(work: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    let overdue = |_| zbus::Error::Failure(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, work).await.map_err(overdue)?
}

impl Bus {
    async fn connect() -> zbus::Result<Self> {
        let connection = zbus::Connection::system().await?;
        let owner_changed = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(BUS)
            .interface(BUS)
            .member("NameOwnerChanged")
            .add_arg(SERVICE)
            .build()?;
        let owners = MessageStream::for_match_rule(owner_changed, &connection, None).await?;
        Ok(Self { connection, owners })
    }

    /// `false`: resolved does not run, and is not started by asking.
    async fn run(&self, index: u32, calls: Vec<Call>) -> zbus::Result<bool> {
        let reply = self.connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &SERVICE).await?;
        if !reply.body().deserialize::<bool>()? {
            return Ok(false);
        }
        let index = i32::try_from(index).map_err(|_| zbus::Error::Failure(format!("interface index {index}")))?;
        for call in calls {
            self.call(index, call).await?;
        }
        Ok(true)
    }

    async fn call(&self, index: i32, call: Call) -> zbus::Result<()> {
        match call {
            Call::Server(address) => self.method("SetLinkDNSEx", &(index, vec![server(address)])).await,
            Call::RoutingDomains(zones) => {
                let domains: Vec<(String, bool)> = zones.into_iter().map(|zone| (zone, true)).collect();
                self.method("SetLinkDomains", &(index, domains)).await
            }
            Call::DefaultRoute(yes) => self.method("SetLinkDefaultRoute", &(index, yes)).await,
            Call::Dnssec(mode) => self.method("SetLinkDNSSEC", &(index, mode)).await,
            Call::DnsOverTls(mode) => self.method("SetLinkDNSOverTLS", &(index, mode)).await,
            Call::Llmnr(mode) => self.method("SetLinkLLMNR", &(index, mode)).await,
            Call::MulticastDns(mode) => self.method("SetLinkMulticastDNS", &(index, mode)).await,
            Call::Revert => self.method("RevertLink", &(index,)).await,
        }
    }

    async fn method<B>(&self, name: &str, body: &B) -> zbus::Result<()>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        self.connection.call_method(Some(SERVICE), OBJECT, Some(MANAGER), name, body).await.map(drop)
    }
}

/// `(iayqs)`: family, address, port, server name for TLS.
fn server(address: SocketAddr) -> (i32, Vec<u8>, u16, &'static str) {
    match address.ip() {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec(), address.port(), ""),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec(), address.port(), ""),
    }
}
