//! The life of the process: account or none, signals, watchdog, control socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::base::Home;
use super::error::RunError;
use super::event::Event;
use super::paths::Paths;
use super::renew::{Renewal, Renewals};
use super::session::Session;
use super::starting::{Joining, Starting};
use super::switch;
use crate::account::identity::Identity;
use crate::clock;
use crate::config::Config;
use crate::control::driver::{Server, group};
use crate::control::error::ControlError;
use crate::control::request::ControlRequest;
use crate::datapath::{Settings, firewall};
use crate::lkdc::discover::linux::withdraw;
use crate::lkdc::principals::SharedRegister;
use crate::rendezvous::driver::Base;

/// A session that could not start, or failed, is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// Goodbyes are waited for this long.
const GOODBYE: Duration = Duration::from_secs(3);

/// Where this machine stands.
pub(super) enum Stage {
    /// In no account.
    Alone,
    /// In its account, and its session is on its way up.
    Starting(Starting),
    /// In its account.
    Member(Box<Session>),
    /// In its account, and something is broken.
    Broken {
        /// Who we are.
        identity: Arc<Identity>,
        /// What is broken, in one line.
        cause: String,
        /// When it is tried again.
        retry: Instant,
    },
}

/// The daemon.
pub(super) struct Daemon {
    pub paths: Paths,
    pub config: Arc<Config>,
    pub on: bool,
    pub stage: Stage,
    pub home: Option<Home>,
    pub joining: Option<Joining>,
    pub renewals: Renewals,
    pub ready: bool,
    pub register: Option<SharedRegister>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps the daemon from starting at all: its configuration, its state, its control socket. What only keeps it from its
/// account is told by `btmm status` and tried again.
pub async fn daemon(paths: Paths, config: Config) -> Result<(), RunError> {
    let on = switch::load(&paths.switch())?;
    let server = Server::bind(&paths.socket(), group()).map_err(|error| RunError::of("control socket", error))?;
    let (requests_in, requests) = mpsc::channel(32);
    let control = tokio::spawn(server.run(requests_in));
    let (config, renewals) = (Arc::new(config), Renewals::new());
    let mut daemon = Daemon { paths, config, on, stage: Stage::Alone, home: None, joining: None, renewals, ready: false, register: None };
    daemon.begin().await?;
    let ended = daemon.run(requests).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    control.abort();
    daemon.stop().await;
    ended
}

/// What woke the loop.
enum Woken {
    Call(Option<ControlRequest>),
    Session(Event),
    Started(Result<Box<Session>, RunError>),
    Joined(Result<Identity, ControlError>),
    Enrolled,
    Retry,
    Renewal(Renewal),
    Watchdog,
    Reload,
    Stop,
}

impl Daemon {
    /// Takes up the account, when there is one on disk.
    async fn begin(&mut self) -> Result<(), RunError> {
        match Identity::load_if_joined(&self.paths.state).map_err(|error| RunError::of("account", error))? {
            Some(identity) => self.enter(Arc::new(identity)).await,
            None => {
                self.keep_switch();
                withdraw(&self.paths.runtime).unwrap_or_else(|error| warn!(%error, "krb5.conf is not in order"));
            }
        }
        if !matches!(self.stage, Stage::Starting(_)) {
            self.tell_ready();
        }
        Ok(())
    }

    /// Without an account the port-4500 switch is kept all the same.
    fn keep_switch(&self) {
        let settings = Settings { port: self.config.port.get(), ..Settings::new(&self.paths.state) };
        match firewall::restore(&self.paths.pins, &settings) {
            Ok(status) => status.warning.iter().for_each(|warning| warn!("{warning}")),
            Err(error) => error!(%error, "the port-4500 switch is not in force"),
        }
    }

    /// Starts the session of this identity; a failure is kept, told, and tried again.
    pub(super) async fn enter(&mut self, identity: Arc<Identity>) {
        self.stage = match self.start(identity.clone()).await {
            Ok(starting) => Stage::Starting(starting),
            Err(cause) => broken(identity, cause),
        };
    }

    /// Opens what a base serves, which outlives sessions, and begins the session.
    async fn start(&mut self, identity: Arc<Identity>) -> Result<Starting, RunError> {
        if identity.is_base() && self.home.is_none() {
            self.home = Some(Home::open(&identity, &self.config, &self.paths).await?);
        }
        let base = match &self.home {
            Some(home) => Base::Local(home.server()),
            None => super::base::contact(&identity)?,
        };
        let roster = match &self.home {
            Some(home) => Ok(home.roster()),
            None => super::base::known_roster(&self.paths.state, &identity),
        };
        let register = if self.config.lkdc.enabled { self.register_of(&identity).map(Some) } else { Ok(None) };
        let register = register.unwrap_or_else(|error| {
            error!(%error, "no tickets are given");
            None
        });
        let (config, paths, on) = (self.config.clone(), self.paths.clone(), self.on);
        Ok(Starting::new(identity.clone(), Session::start(identity, roster, config, paths, base, on, register)))
    }

    pub(super) async fn run(&mut self, mut requests: mpsc::Receiver<ControlRequest>) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        loop {
            match self.wait(&mut requests, &mut signals).await {
                Woken::Call(Some(request)) => self.answer(request).await,
                Woken::Call(None) => return Err(RunError::of("control socket", "it has closed")),
                Woken::Session(event) => self.feed(event).await,
                Woken::Started(session) => self.started(session).await,
                Woken::Joined(joined) => self.joined(joined).await,
                Woken::Enrolled => self.enrolled().await,
                Woken::Retry => self.retry().await,
                Woken::Renewal(renewal) => self.renew(renewal).await,
                Woken::Watchdog => notify(&[sd_notify::NotifyState::Watchdog]),
                Woken::Reload => info!(changed = ?self.reload(), "configuration read again"),
                Woken::Stop => return Ok(()),
            }
        }
    }

    async fn wait(&mut self, requests: &mut mpsc::Receiver<ControlRequest>, signals: &mut Signals) -> Woken {
        let Self { stage, home, joining, renewals, .. } = self;
        // A new certificate begins a new session: not while one is being begun.
        let settled = !matches!(stage, Stage::Starting(_));
        let stage = async {
            match stage {
                Stage::Alone => std::future::pending().await,
                Stage::Starting(starting) => Woken::Started(starting.finished().await),
                Stage::Member(session) => Woken::Session(session.next().await),
                Stage::Broken { retry, .. } => {
                    tokio::time::sleep_until((*retry).into()).await;
                    Woken::Retry
                }
            }
        };
        let enrolled = async {
            match home {
                Some(home) => home.changed().await,
                None => std::future::pending().await,
            }
        };
        let joined = async {
            match joining {
                Some(joining) => joining.finished().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = requests.recv() => Woken::Call(request),
            woken = stage => woken,
            () = enrolled => Woken::Enrolled,
            joined = joined => Woken::Joined(joined),
            renewal = renewals.next(), if settled => Woken::Renewal(renewal),
            woken = signals.next() => woken,
        }
    }

    async fn feed(&mut self, event: Event) {
        let Stage::Member(session) = &mut self.stage else { return };
        let base_was_away = session.told.zone_error.is_some();
        match session.handle(event).await {
            Ok(()) if base_was_away && session.told.zone_error.is_none() => self.renewals.base_is_back(),
            Ok(()) => {}
            Err(cause) => {
                let identity = session.identity.clone();
                self.stage = broken(identity, cause);
            }
        }
    }

    async fn retry(&mut self) {
        if let Stage::Broken { identity, .. } = &self.stage {
            let identity = identity.clone();
            self.enter(identity).await;
        }
    }

    /// A machine has joined at this base. A session that is on its way up learns of it when it is up.
    pub(super) async fn enrolled(&mut self) {
        if let (Stage::Member(session), Some(home)) = (&mut self.stage, &self.home) {
            session.set_roster(home.roster());
            session.settle().await;
        }
    }

    /// Ends the session with goodbyes.
    pub(super) async fn leave(&mut self) {
        if let Stage::Member(session) = &mut self.stage {
            let end = clock::monotonic() + GOODBYE;
            session.say_goodbye(end).await;
        }
        self.stage = Stage::Alone;
    }

    async fn stop(&mut self) {
        self.leave().await;
        if let Some(home) = &self.home
            && let Err(error) = home.server().save().await
        {
            error!(%error, "the zone is not on disk");
        }
    }
}

pub(super) fn broken(identity: Arc<Identity>, cause: RunError) -> Stage {
    error!(%cause, "not in the account's network; tried again soon");
    Stage::Broken { identity, cause: cause.to_string(), retry: clock::monotonic() + RETRY }
}

/// Signals and the watchdog's beat.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    beat: Option<tokio::time::Interval>,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let open = |kind| signal(kind).map_err(|error| RunError::of("signals", error));
        let beat = sd_notify::watchdog_enabled().map(|every| tokio::time::interval(every / 2));
        Ok(Self { term: open(SignalKind::terminate())?, int: open(SignalKind::interrupt())?, hup: open(SignalKind::hangup())?, beat })
    }

    async fn next(&mut self) -> Woken {
        let beat = async {
            match &mut self.beat {
                Some(beat) => drop(beat.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.term.recv() => Woken::Stop,
            _ = self.int.recv() => Woken::Stop,
            _ = self.hup.recv() => Woken::Reload,
            () = beat => Woken::Watchdog,
        }
    }
}

pub(super) fn notify(states: &[sd_notify::NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager was not told");
    }
}
