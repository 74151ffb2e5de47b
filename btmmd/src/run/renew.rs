//! The sharing certificate is renewed by itself from two thirds of its life, so that no owner is locked out by an expiry.
//!
//! - `retry`: when a base that gave none is asked again. `ending`: what the owner is told when the end comes near.

pub(super) mod ending;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::daemon::{Daemon, Stage};
use super::paths::Paths;
use crate::account::driver::Member;
use crate::account::identity::Identity;
use crate::account::tls::OwnCertificate;
use crate::clock;
use crate::entropy::SystemEntropy;
use retry::Retry;

/// Between two looks at the calendar.
const EVERY: Duration = Duration::from_secs(3600);

/// When to look, what came of asking the base, and when it is asked again.
pub(super) struct Renewals {
    calendar: tokio::time::Interval,
    done: mpsc::Receiver<Result<(), String>>,
    report: mpsc::Sender<Result<(), String>>,
    asking: bool,
    retry: Retry,
}

/// What there is to do.
pub(super) enum Renewal {
    /// Look at the calendar.
    Look,
    /// The base has answered, and a new certificate is on disk; or not, and why.
    Done(Result<(), String>),
}

impl Renewals {
    /// Looks at once, and then every hour. Must be called within a tokio runtime.
    pub fn new() -> Self {
        let (report, done) = mpsc::channel(1);
        Self { calendar: tokio::time::interval(EVERY), done, report, asking: false, retry: Retry::default() }
    }

    /// Waits for something to do. Cancel safe.
    pub async fn next(&mut self) -> Renewal {
        let due = self.retry.due();
        let again = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.calendar.tick() => Renewal::Look,
            () = again => Renewal::Look,
            Some(done) = self.done.recv() => Renewal::Done(done),
        }
    }

    /// The base answers again, whatever it was asked.
    pub fn base_is_back(&mut self) {
        self.retry.base_is_back(clock::monotonic(), &mut SystemEntropy);
    }

    /// Asks the base in the background, once at a time.
    fn ask(&mut self, identity: &Arc<Identity>, paths: &Paths) {
        if std::mem::replace(&mut self.asking, true) {
            return;
        }
        let (identity, state, report) = ((**identity).clone(), paths.state.clone(), self.report.clone());
        tokio::spawn(async move {
            let renewed = async {
                let own = OwnCertificate::new(&identity);
                Member::new(identity, own, &state)?.renew().await
            };
            let renewed = renewed.await.map_err(|error| error.to_string());
            // The daemon may be on its way out: it looks again when it starts.
            let _ = report.send(renewed).await;
        });
    }
}

impl Daemon {
    /// Renews what is due, and takes a renewed certificate into use.
    pub(super) async fn renew(&mut self, renewal: Renewal) {
        match renewal {
            Renewal::Look => {
                self.renewals.retry.begun();
                self.age_register();
                self.renew_if_due().await;
            }
            Renewal::Done(Ok(())) => self.take_up_new_certificate().await,
            Renewal::Done(Err(error)) => {
                self.renewals.asking = false;
                self.not_renewed(&error);
            }
        }
    }

    async fn renew_if_due(&mut self) {
        let identity = match &self.stage {
            Stage::Member(session) => session.identity.clone(),
            Stage::Broken { identity, .. } => identity.clone(),
            // While one is being started the calendar is not looked at.
            Stage::Alone | Stage::Starting(_) => return,
        };
        if !identity.is_to_be_renewed(clock::wall()) {
            return;
        }
        match &self.home {
            None => self.renewals.ask(&identity, &self.paths),
            Some(home) => match home.renew_own(&identity) {
                Ok(()) => self.take_up_new_certificate().await,
                Err(error) => self.not_renewed(&error.to_string()),
            },
        }
    }

    fn not_renewed(&mut self, error: &str) {
        warn!(error, "this machine's certificate is not renewed yet");
        self.renewals.retry.failed(clock::monotonic(), &mut SystemEntropy);
        if let Stage::Member(session) = &mut self.stage {
            session.told.renewal_error = Some(error.to_owned());
        }
    }

    /// A session shows one certificate all its life, so it is begun anew: seconds, once in eight months.
    async fn take_up_new_certificate(&mut self) {
        self.renewals.asking = false;
        self.renewals.retry.succeeded();
        match Identity::load(&self.paths.state) {
            Ok(identity) => {
                info!("this machine's certificate is renewed");
                self.leave().await;
                self.home = None;
                self.enter(Arc::new(identity)).await;
            }
            Err(error) => warn!(%error, "the renewed certificate is not used"),
        }
    }
}
