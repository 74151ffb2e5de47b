//! `btmm passwd` and `btmm keytab`: secrets to and from the daemon.

use super::{Failure, Output, runtime_dir, secret};
use crate::cli::args::{Keytab, Passwd, ServiceAction, Services};
use crate::cli::{keytab, passwd, services};
use crate::control::client::ClientError;
use crate::control::driver::connect;
use crate::control::error::{ControlError, ExitClass};
use crate::control::secrets::{self, PasswordChange, Secret};
use crate::lkdc::keytab as file;
use zeroize::Zeroizing;

/// Runs `btmm passwd`.
pub(super) fn run_passwd(args: &Passwd, output: Output) -> Result<ExitClass, Failure> {
    let change = passwd::wanted(args);
    if change != PasswordChange::Totp && (args.code.code_file.is_some() || args.code.code_fd.is_some()) {
        return Err(Failure::Value { argument: "code", message: "a code goes with --totp".to_owned() });
    }
    // Before anybody types anything.
    let mut client = connect(&runtime_dir())?;
    let own = !nix::unistd::geteuid().is_root();
    let old = if own && secret::can_ask() { Some(secret::ask("present password (empty if there is none): ")?) } else { None };
    let password = if change == PasswordChange::Set { Some(new_password(args)?) } else { None };
    let given = |text: Zeroizing<String>| Secret::from(text.to_string());
    let old = old.filter(|old| !old.is_empty()).map(given);
    let call = secrets::Passwd { user: args.user.clone(), change, password: password.map(given), old, code: None };
    let reply = client.passwd(&call)?;
    if change != PasswordChange::Totp {
        return output.print(&reply, |_| passwd::done(change, &reply));
    }
    output.print_line(&reply, || passwd::done(change, &reply))?;
    if !output.json {
        eprint!("{}", passwd::totp_note(&reply));
    }
    confirm(args, &call, output)
}

/// How often a code may be mistyped.
const TRIES: u32 = 3;

/// Has a code of the new second factor, without which it does not take effect. An authenticator may have to be found first, and set up: the
/// daemon has long hung up on the silence by then, and is called anew with each code.
fn confirm(args: &Passwd, offer: &secrets::Passwd, output: Output) -> Result<ExitClass, Failure> {
    let change = PasswordChange::TotpConfirm;
    for tries_left in (0..TRIES).rev() {
        let given = secret::given(args.code.code_file.as_deref(), args.code.code_fd);
        let is_typed = given.is_none();
        if is_typed && !secret::can_ask() {
            let message =
                "nothing was changed: there is no terminal to ask for the first code at, so give it with --code-file or --code-fd";
            return Err(Failure::Value { argument: "code", message: message.to_owned() });
        }
        let code = given.unwrap_or_else(|| secret::ask("code that the authenticator shows now: "))?;
        let code = Some(Secret::from(code.trim().to_owned()));
        match connect(&runtime_dir())?.passwd(&secrets::Passwd { change, code, ..offer.clone() }) {
            Ok(reply) => return output.print_line(&reply, || passwd::done(change, &reply)),
            Err(ClientError::Refused(refused)) if is_typed && tries_left > 0 && passwd::is_wrong_code(&refused) => eprintln!("{refused}"),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Value { argument: "code", message: "nothing was changed".to_owned() })
}

/// Runs `btmm services`.
pub(super) fn run_services(args: &Services, output: Output) -> Result<ExitClass, Failure> {
    let reply = match &args.action {
        None | Some(ServiceAction::List) => connect(&runtime_dir())?.services()?,
        Some(ServiceAction::Require(args)) => {
            let contradiction = || Failure::Value { argument: "STRENGTH", message: "any does not go with another".to_owned() };
            let wanted = services::wanted(args).ok_or_else(contradiction)?;
            connect(&runtime_dir())?.require(&wanted)?
        }
    };
    output.print(&reply, |paint| services::render(&reply, paint))
}

fn new_password(args: &Passwd) -> Result<Zeroizing<String>, Failure> {
    if let Some(given) = secret::given(args.password_file.as_deref(), args.password_fd) {
        return given;
    }
    let first = secret::ask("new password: ")?;
    if *first != *secret::ask("the same again: ")? {
        return Err(Failure::Value { argument: "password", message: "the two are not the same; nothing was changed".to_owned() });
    }
    Ok(first)
}

/// Runs `btmm keytab`.
pub(super) fn run_keytab(args: &Keytab, output: Output) -> Result<ExitClass, Failure> {
    // Keys that are made and cannot be written are lost to the services. Who may not make any is told that first.
    if nix::unistd::geteuid().is_root() {
        file::check(&args.output)?;
    }
    let call = secrets::Keytab { services: args.services.clone(), rotate: args.rotate };
    let reply = connect(&runtime_dir())?.keytab(&call)?;
    let foreign = || ClientError::Refused(ControlError::failed("keytab", "btmmd's answer is not understood: is it of the same version?"));
    let octets = data_encoding::BASE64.decode(reply.keytab.reveal().as_bytes()).map(Zeroizing::new).map_err(|_| foreign())?;
    let entries = file::parse(&octets).map_err(|_| foreign())?;
    let report = keytab::Report::new(&args.output, &reply.realm, &entries);
    file::install(&args.output, entries)?;
    output.print(&report, |_| keytab::render(&report))
}
