//! `btmm passwd` and `btmm keytab`: secrets to and from the daemon.

use super::{Failure, Output, runtime_dir, secret};
use crate::cli::args::{Keytab, Passwd};
use crate::cli::{keytab, passwd};
use crate::control::client::ClientError;
use crate::control::driver::connect;
use crate::control::error::{ControlError, ExitClass};
use crate::control::secrets::{self, PasswordChange, Secret};
use crate::lkdc::keytab as file;
use zeroize::Zeroizing;

/// Runs `btmm passwd`.
pub(super) fn run_passwd(args: &Passwd, output: Output) -> Result<ExitClass, Failure> {
    let change = passwd::wanted(args);
    // Before anybody types anything.
    let mut client = connect(&runtime_dir())?;
    let own = !nix::unistd::geteuid().is_root();
    let old = if own && secret::can_ask() { Some(secret::ask("present password (empty if there is none): ")?) } else { None };
    let password = if change == PasswordChange::Set { Some(new_password(args)?) } else { None };
    let given = |text: Zeroizing<String>| Secret::from(text.to_string());
    let old = old.filter(|old| !old.is_empty()).map(given);
    let call = secrets::Passwd { user: args.user.clone(), change, password: password.map(given), old };
    let reply = client.passwd(&call)?;
    let done = output.print(&reply, |_| passwd::done(change, &reply))?;
    if change == PasswordChange::Totp && !output.json {
        eprint!("{}", passwd::totp_note(&reply));
    }
    Ok(done)
}

fn new_password(args: &Passwd) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = &args.password_file {
        return secret::from_file(path);
    }
    if let Some(number) = args.password_fd {
        return secret::from_descriptor(number);
    }
    let first = secret::ask("new password: ")?;
    if *first != *secret::ask("the same again: ")? {
        return Err(Failure::Value { argument: "password", message: "the two are not the same; nothing was changed".to_owned() });
    }
    Ok(first)
}

/// Runs `btmm keytab`.
pub(super) fn run_keytab(args: &Keytab, output: Output) -> Result<ExitClass, Failure> {
    let call = secrets::Keytab { services: args.services.clone(), rotate: args.rotate };
    let reply = connect(&runtime_dir())?.keytab(&call)?;
    let foreign = || ClientError::Refused(ControlError::failed("keytab", "btmmd's answer is not understood: is it of the same version?"));
    let octets = data_encoding::BASE64.decode(reply.keytab.reveal().as_bytes()).map(Zeroizing::new).map_err(|_| foreign())?;
    let entries = file::parse(&octets).map_err(|_| foreign())?;
    let report = keytab::Report::new(&args.output, &reply.realm, &entries);
    file::install(&args.output, entries)?;
    output.print(&report, |_| keytab::render(&report))
}
