//! The realm's register of principals, and what people ask of it. Passwords are stretched and files written beside the event loop.

use std::time::{Duration, SystemTime};

use nix::unistd::{Uid, User};
use tracing::{info, warn};

use super::daemon::{Daemon, Stage};
use crate::account::identity::Identity;
use crate::config::Config;
use crate::control::error::ControlError;
use crate::control::request::{Answer, Caller};
use crate::control::secrets::{Keytab, Passwd, PasswordChange, PasswordChanged, ServiceKeys};
use crate::entropy::SystemEntropy;
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::{Principal, RealmName};
use crate::lkdc::principals::{Names, Register, RegisterError, SharedRegister};

/// Who guesses passwords waits.
const WRONG: Duration = Duration::from_secs(1);

impl Daemon {
    /// The register of this machine's realm, made when there is none yet.
    pub(super) fn register(&mut self) -> Result<SharedRegister, ControlError> {
        let identity = match &self.stage {
            Stage::Alone => return Err(ControlError::NoAccount {}),
            Stage::Member(session) => session.identity.clone(),
            Stage::Starting(starting) => starting.identity.clone(),
            Stage::Broken { identity, .. } => identity.clone(),
        };
        self.register_of(&identity).map_err(|error| ControlError::failed("principals", error))
    }

    /// The same for an identity whose session is yet to begin.
    pub(super) fn register_of(&mut self, identity: &Identity) -> Result<SharedRegister, RegisterError> {
        let names = names(identity, &self.config);
        if let Some(register) = &self.register
            && register.names() == &names
        {
            return Ok(register.clone());
        }
        // Old keys are kept as long as a ticket can live: renewed to the last, or begun as late as may be.
        let longest = self.config.lkdc.renew_life.duration() + self.config.lkdc.ticket_life.duration();
        let register = SharedRegister::new(Register::open(&self.paths.state, names, longest, SystemTime::now(), &mut SystemEntropy)?);
        self.register = Some(register.clone());
        Ok(register)
    }

    /// Keys of the ticket granting service that are old are replaced, and keys whose tickets have ended forgotten. Cheap when there are none.
    pub(super) fn age_register(&self) {
        let Some(register) = self.register.clone() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = register.lock().age(SystemTime::now(), &mut SystemEntropy) {
                warn!(%error, "old keys are still there");
            }
        });
    }

    /// Changes a password, when the caller may.
    pub(super) fn passwd(&mut self, caller: Caller, wanted: Passwd, answer: Answer<PasswordChanged>) {
        match self.register() {
            Err(error) => drop(answer.send(Err(error))),
            Ok(register) => drop(tokio::task::spawn_blocking(move || drop(answer.send(change(&register, caller, &wanted))))),
        }
    }

    /// Gives out the keys of services.
    pub(super) fn keytab(&mut self, caller: Caller, wanted: Keytab, answer: Answer<ServiceKeys>) {
        match self.register() {
            Err(error) => drop(answer.send(Err(error))),
            Ok(register) => drop(tokio::task::spawn_blocking(move || drop(answer.send(export(&register, caller, &wanted))))),
        }
    }
}

pub(super) fn names(identity: &Identity, config: &Config) -> Names {
    Names {
        realm: RealmName::of_key(identity.key().spki()),
        machine: identity.name().to_string(),
        zone: identity.zone().to_string(),
        account: identity.account().to_string(),
        users: config.lkdc.users.clone(),
    }
}

fn export(register: &SharedRegister, caller: Caller, wanted: &Keytab) -> Result<ServiceKeys, ControlError> {
    let mut register = register.lock();
    if wanted.rotate {
        register.rotate(&wanted.services, SystemTime::now(), &mut SystemEntropy).map_err(refused)?;
    }
    let keytab = register.keytab(&wanted.services).map_err(refused)?;
    let realm = register.names().realm.to_string();
    info!(uid = caller.uid, services = ?wanted.services, rotated = wanted.rotate, "service keys were given out");
    Ok(ServiceKeys { realm, keytab: data_encoding::BASE64.encode(&keytab).into() })
}

fn change(register: &SharedRegister, caller: Caller, wanted: &Passwd) -> Result<PasswordChanged, ControlError> {
    let user = permitted_user(register, caller, wanted.user.as_deref())?;
    let mut register = register.lock();
    let old = match wanted.old.as_ref().map(|old| old.reveal()) {
        // Root may do without; a right one does no harm.
        None if caller.may_change => None,
        None if register.has_password(&user) => {
            let message = format!("the present password of {user} is needed");
            return Err(ControlError::BadArgument { argument: "old password".to_owned(), message });
        }
        old => old,
    };
    let changed = apply(&mut register, &user, wanted, old);
    let principal = FullName::new(Principal::user(&user), register.names().realm.as_str()).to_string();
    drop(register);
    match changed {
        Ok((changed, uri)) => {
            if changed {
                info!(uid = caller.uid, user, change = ?wanted.change, "a password was changed");
            }
            Ok(PasswordChanged { user, principal, changed, uri })
        }
        Err(error) => {
            if matches!(error, RegisterError::WrongPassword(_)) {
                warn!(uid = caller.uid, user, "a wrong password was given");
                std::thread::sleep(WRONG);
            }
            Err(refused(error))
        }
    }
}

type Changed = (bool, Option<crate::control::secrets::Secret>);

fn apply(register: &mut Register, user: &str, wanted: &Passwd, old: Option<&str>) -> Result<Changed, RegisterError> {
    register.prove(user, old)?;
    match wanted.change {
        PasswordChange::Set => {
            let password = wanted.password.as_ref().map_or("", |password| password.reveal());
            register.set_password(user, password, None, SystemTime::now())?;
            Ok((true, None))
        }
        PasswordChange::Remove => Ok((register.forget(user)?, None)),
        PasswordChange::Totp => {
            let uri = register.offer_totp(user, SystemTime::now(), &mut SystemEntropy)?;
            Ok((false, Some(uri.to_string().into())))
        }
        PasswordChange::TotpConfirm => {
            let code = wanted.code.as_ref().map_or("", |code| code.reveal());
            register.confirm_totp(user, code, SystemTime::now())?;
            Ok((true, None))
        }
        PasswordChange::NoTotp => Ok((register.remove_totp(user)?, None)),
    }
}

/// The user meant, when the caller may change that user's password: root everybody's, others that of the principal which they are here.
fn permitted_user(register: &SharedRegister, caller: Caller, named: Option<&str>) -> Result<String, ControlError> {
    let failed = |error: nix::Error| ControlError::failed("local users", error);
    let bad = |message: String| ControlError::BadArgument { argument: "USER".to_owned(), message };
    let user = match named {
        Some(named) => named.to_owned(),
        None if caller.uid == 0 => return Err(bad("root must say whose password it is".to_owned())),
        None => {
            let own = User::from_uid(Uid::from_raw(caller.uid)).map_err(failed)?;
            own.ok_or_else(|| bad(format!("user {} has no name here", caller.uid)))?.name
        }
    };
    let names = register.names();
    let local = match names.local(&user) {
        Some(local) => User::from_name(&local).map_err(failed)?,
        None => None,
    };
    if caller.may_change {
        let known = user == names.account || names.users.contains_key(&user) || register.lock().has_password(&user);
        return if local.is_some() || known { Ok(user) } else { Err(bad(format!("there is no local user {user:?}"))) };
    }
    if local.is_some_and(|local| local.uid.as_raw() == caller.uid) {
        return Ok(user);
    }
    let message = "only root changes another user's password".to_owned();
    Err(ControlError::NotPermitted { method: "Passwd".to_owned(), uid: caller.uid, message })
}

pub(super) fn refused(error: RegisterError) -> ControlError {
    let argument = match &error {
        RegisterError::Password(_) | RegisterError::NoPassword(_) => "password",
        RegisterError::WrongPassword(_) => "old password",
        RegisterError::WrongCode(_) | RegisterError::NoOffer(_) => "code",
        RegisterError::NoService { .. } => "SERVICE",
        RegisterError::File(_) | RegisterError::NotKept(_) | RegisterError::Crypto(_) | RegisterError::Keytab(_) => {
            return ControlError::failed("principals", error);
        }
    };
    ControlError::BadArgument { argument: argument.to_owned(), message: error.to_string() }
}
