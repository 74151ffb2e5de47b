//! The switch's map and file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Choice, FirewallStatus, Kept};
use crate::datapath::interfaces::Interface;
use crate::datapath::linux::pinned;
use crate::datapath::{Counters, Datapath, DatapathError, Settings};
use crate::disk;

const FILE: &str = "firewall";

/// The choice on disk. What cannot be read blocks.
pub fn read_choice(state_dir: &Path) -> Kept {
    let path = state_dir.join(FILE);
    let why = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept { choice: Choice::Allow, warning: None },
        Err(error) => error.to_string(),
        Ok(bytes) => match Choice::parse(&bytes) {
            Some(choice) => return Kept { choice, warning: None },
            None => "neither \"allow\" nor \"block\"".to_owned(),
        },
    };
    let warning = format!("{}: {why}; port 4500 is blocked until `btmm firewall allow`", path.display());
    Kept { choice: Choice::Block, warning: Some(warning) }
}

/// Writes the choice in one step.
pub fn keep(state_dir: &Path, choice: Choice) -> Result<(), DatapathError> {
    let path = state_dir.join(FILE);
    write(state_dir, &path, choice).map_err(|source| DatapathError::State { path, source })
}

fn write(state_dir: &Path, path: &Path, choice: Choice) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let owner = fs::metadata(state_dir)?;
    disk::replace(path, choice.as_str().as_bytes(), 0o644, |file| {
        if nix::unistd::Uid::effective().is_root() && owner.uid() != 0 {
            std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    })
}

/// Turns the pinned switch, if there is one.
pub fn set_pinned(pins: &Path, choice: Choice) -> Result<(), DatapathError> {
    match pinned::switch(pins)? {
        Some(mut switch) => switch.set(choice == Choice::Block),
        None => Ok(()),
    }
}

/// Puts every interface that may lead out under the switch: one that is down or has no address yet would come up outside of it. What is
/// recorded of them is not believed: attaching again replaces, and repairs where somebody else took a program off.
pub fn enforce_everywhere(pins: &Path, settings: &Settings) -> Result<(), DatapathError> {
    let mut datapath = Datapath::load(pins, settings)?;
    datapath.set_blocked(true)?;
    let mut failed = Vec::new();
    for interface in Interface::all()?.into_iter().filter(Interface::may_lead_out) {
        let index = interface.index;
        if let Err(error) = datapath.attach(interface) {
            failed.push((index, error));
        }
    }
    partial(failed)
}

/// What is left of the failures without interfaces that went meanwhile, as those of containers do.
fn partial(failed: Vec<(u32, DatapathError)>) -> Result<(), DatapathError> {
    if failed.is_empty() {
        return Ok(());
    }
    let still_there: Vec<u32> = Interface::all()?.iter().map(|interface| interface.index).collect();
    let told: Vec<String> = failed.iter().filter(|(index, _)| still_there.contains(index)).map(|(_, error)| error.to_string()).collect();
    if told.is_empty() { Ok(()) } else { Err(DatapathError::Partial(told.join("; "))) }
}

/// Puts one interface under the switch; whether there is one of that name. One process at a time: when a machine boots they appear together.
pub fn enforce_on(pins: &Path, settings: &Settings, name: &str) -> Result<bool, DatapathError> {
    let path = settings.state_dir.join(FILE);
    let choice = File::open(&path).and_then(|file| file.lock().map(|()| file));
    let _one_at_a_time = choice.map_err(|source| DatapathError::State { path, source })?;
    let Some(interface) = Interface::all()?.into_iter().find(|interface| interface.name == name) else { return Ok(false) };
    if interface.may_lead_out() {
        let mut datapath = Datapath::load(pins, settings)?;
        datapath.attach(interface)?;
    }
    Ok(true)
}

pub fn status(pins: &Path, state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    let kept = read_choice(state_dir);
    let blocked = match pinned::switch(pins)? {
        Some(switch) => switch.get()?,
        None => kept.choice == Choice::Block,
    };
    let enforced_on = pinned::uplinks(pins)?;
    let open = |interface: &Interface| interface.is_uplink() && !enforced_on.contains(&interface.name);
    let not_enforced_on = Interface::all()?.into_iter().filter(open).map(|interface| interface.name).collect();
    let counters = pinned::counters(pins)?.unwrap_or(Counters::default());
    Ok(FirewallStatus { blocked, enforced_on, not_enforced_on, counters, warning: kept.warning })
}
