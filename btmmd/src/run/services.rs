//! What this machine's services ask of those who want tickets for them.

use tracing::info;

use super::daemon::Daemon;
use super::register::refused;
use crate::control::error::ControlError;
use crate::control::request::{Answer, Caller};
use crate::control::services::{Require, Service, Services};
use crate::lkdc::principals::{Register, SharedRegister};

impl Daemon {
    /// Tells what services ask.
    pub(super) fn services(&mut self, answer: Answer<Services>) {
        self.with_register(answer, |register| Ok(told(&register.lock())));
    }

    /// Sets what one asks. Whether the caller may has been checked.
    pub(super) fn require(&mut self, caller: Caller, wanted: Require, answer: Answer<Services>) {
        self.with_register(answer, move |register| {
            let mut register = register.lock();
            register.require(&wanted.service, &wanted.strength).map_err(refused)?;
            info!(target: "btmmd::audit", uid = caller.uid, service = wanted.service, strength = ?wanted.strength, "a service's demand was set");
            Ok(told(&register))
        });
    }

    /// Asks the register from a thread that may wait for it.
    fn with_register<T: Send + 'static>(
        &mut self,
        answer: Answer<T>,
        ask: impl FnOnce(&SharedRegister) -> Result<T, ControlError> + Send + 'static,
    ) {
        match self.register() {
            Err(error) => drop(answer.send(Err(error))),
            Ok(register) => drop(tokio::task::spawn_blocking(move || drop(answer.send(ask(&register))))),
        }
    }
}

fn told(register: &Register) -> Services {
    let services = register.demands().into_iter().map(|(service, strength)| Service { service, strength }).collect();
    Services { services }
}
