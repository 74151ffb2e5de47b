//! A session on its way up, and who waits for it. Loading the eBPF programs takes the kernel seconds on a slow machine; the loop goes
//! on meanwhile: the service manager is told that we live, `btmm status` is answered, and SIGTERM ends the process.

use std::pin::Pin;
use std::sync::Arc;

use super::daemon::{Daemon, Stage, broken, notify};
use super::error::RunError;
use super::session::Session;
use crate::account::identity::Identity;
use crate::control::error::ControlError;
use crate::control::messages::AccountStatus;
use crate::control::request::{Answer, ControlRequest};

/// Callers that wait for a session at the most; the next one is told to come again.
const WAITING_MAX: usize = 64;

type Bringing<T> = Pin<Box<dyn Future<Output = T>>>;

/// A session on its way up. Dropping it gives up what was begun; the next start, and `btmmd --cleanup`, put the kernel in order.
pub(super) struct Starting {
    /// Whose session it is.
    pub identity: Arc<Identity>,
    session: Bringing<Result<Session, RunError>>,
    waiting: Vec<Waiting>,
}

/// Somebody who waits for the session.
pub(super) enum Waiting {
    /// A call that only a session can answer.
    Call(ControlRequest),
    /// The one who made the account or joined it.
    Account(Answer<AccountStatus>),
}

impl Starting {
    pub fn new(identity: Arc<Identity>, session: impl Future<Output = Result<Session, RunError>> + 'static) -> Self {
        Self { identity, session: Box::pin(session), waiting: Vec::new() }
    }

    /// Goes on with it until it is up, or has failed. Cancel safe; not to be called again once it has answered.
    pub async fn finished(&mut self) -> Result<Box<Session>, RunError> {
        self.session.as_mut().await.map(Box::new)
    }

    /// Lets a caller wait.
    pub fn wait(&mut self, waiting: Waiting) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(waiting);
        } else {
            // Dropping it answers `Failed`.
            tracing::warn!(callers = WAITING_MAX, "too many callers wait for the start");
        }
    }
}

/// A join on its way. One at a time.
pub(super) struct Joining {
    joined: Bringing<Result<Identity, ControlError>>,
    answer: Answer<AccountStatus>,
}

impl Joining {
    pub fn new(joined: impl Future<Output = Result<Identity, ControlError>> + 'static, answer: Answer<AccountStatus>) -> Self {
        Self { joined: Box::pin(joined), answer }
    }

    /// Goes on with it. Cancel safe; not to be called again once it has answered.
    pub async fn finished(&mut self) -> Result<Identity, ControlError> {
        self.joined.as_mut().await
    }
}

impl Daemon {
    /// The session is up, or has failed: whoever waited is answered, and what happened meanwhile is caught up with.
    pub(super) async fn started(&mut self, session: Result<Box<Session>, RunError>) {
        let Stage::Starting(Starting { identity, waiting, .. }) = std::mem::replace(&mut self.stage, Stage::Alone) else { return };
        self.stage = match session {
            Ok(session) => Stage::Member(session),
            Err(cause) => broken(identity, cause),
        };
        if let Stage::Member(session) = &mut self.stage
            && session.engine.is_on() != self.on
        {
            session.set_switch(self.on).await;
        }
        self.enrolled().await;
        for waiting in waiting {
            match waiting {
                Waiting::Call(request) => self.answer(request).await,
                // A caller who has hung up wants no answer.
                Waiting::Account(answer) => drop(answer.send(self.session().map(Session::account_status))),
            }
        }
        self.tell_ready();
    }

    /// This machine is in an account now, or why not.
    pub(super) async fn joined(&mut self, joined: Result<Identity, ControlError>) {
        let Some(Joining { answer, .. }) = self.joining.take() else { return };
        match joined {
            Ok(identity) => self.enter_for(Arc::new(identity), answer).await,
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Starts the session of a machine that has just come into its account, and answers who brought it there.
    pub(super) async fn enter_for(&mut self, identity: Arc<Identity>, answer: Answer<AccountStatus>) {
        self.enter(identity).await;
        match &mut self.stage {
            Stage::Starting(starting) => starting.wait(Waiting::Account(answer)),
            _ => drop(answer.send(self.session().map(Session::account_status))),
        }
    }

    /// Tells the service manager, once, that the first start is over.
    pub(super) fn tell_ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            notify(&[sd_notify::NotifyState::Ready]);
            tracing::info!("ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::account::{AccountOptions, create};
    use crate::clock;
    use crate::config::Config;
    use crate::control::request::{Call, Caller};
    use crate::run::paths::Paths;
    use crate::run::renew::Renewals;

    const ROOT: Caller = Caller { uid: 0, gid: 0, pid: None, may_change: true };

    /// A daemon of the machine `base` whose session comes when `session` does.
    fn daemon(folder: &std::path::Path, session: impl Future<Output = Result<Session, RunError>> + 'static) -> Daemon {
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
        let (identity, _) = create(folder, options, clock::wall()).unwrap();
        let starting = Starting::new(Arc::new(identity), session);
        let at = |name: &str| folder.join(name);
        Daemon {
            paths: Paths { config: at("btmmd.toml"), state: folder.to_owned(), runtime: at("run"), pins: at("pins") },
            config: Arc::new(Config::default()),
            on: true,
            stage: Stage::Starting(starting),
            home: None,
            joining: None,
            renewals: Renewals::new(),
            ready: false,
            register: None,
        }
    }

    #[tokio::test]
    async fn while_a_session_starts_status_is_answered_and_who_needs_the_session_waits_for_it() {
        let folder = crate::account::driver::tests::directory();
        let (over, ended) = oneshot::channel::<()>();
        let session = async move {
            ended.await.unwrap();
            Err(RunError::of("btmm0", "no such luck"))
        };
        let mut daemon = daemon(folder.path(), session);
        let (calls, requests) = mpsc::channel(4);
        let (status_to, status) = oneshot::channel();
        let (machines_to, mut machines) = oneshot::channel();
        for call in [Call::Machines(machines_to), Call::Status(status_to)] {
            calls.send(ControlRequest { caller: ROOT, call }).await.unwrap();
        }
        let story = async {
            let status = status.await.unwrap().unwrap();
            assert_eq!(status.health.first().map(|finding| finding.what.as_str()), Some("btmmd is still starting"));
            assert!(machines.try_recv().is_err(), "nothing to tell yet");
            over.send(()).unwrap();
            assert!(machines.await.unwrap().unwrap_err().to_string().contains("no such luck"));
            drop(calls);
        };
        let (ended, ()) = tokio::join!(daemon.run(requests), story);
        assert!(ended.unwrap_err().to_string().contains("control socket"));
        assert!(daemon.ready && matches!(daemon.stage, Stage::Broken { .. }));
    }

    #[tokio::test]
    async fn a_machine_that_is_joining_does_not_join_twice() {
        let folder = crate::account::driver::tests::directory();
        let mut daemon = daemon(folder.path(), std::future::pending());
        daemon.stage = Stage::Alone;
        let (first_to, first) = oneshot::channel();
        daemon.joining = Some(Joining::new(async { Err(ControlError::failed("home base", "it is off")) }, first_to));
        let (calls, requests) = mpsc::channel(4);
        let (create_to, create) = oneshot::channel();
        let wanted = crate::control::messages::AccountCreate { name: "bob".to_owned(), zone: None, machine: None, serve: true, key: None };
        daemon.answer(ControlRequest { caller: ROOT, call: Call::AccountCreate(wanted, create_to) }).await;
        assert!(create.await.unwrap().unwrap_err().to_string().contains("joining an account already"));
        let story = async {
            assert!(first.await.unwrap().unwrap_err().to_string().contains("it is off"));
            drop(calls);
        };
        let (_, ()) = tokio::join!(daemon.run(requests), story);
        assert!(daemon.joining.is_none());
    }
}
