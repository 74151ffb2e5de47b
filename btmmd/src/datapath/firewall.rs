//! The switch of port 4500: `btmm firewall block`, `allow`, `status`. Works as root with no daemon; takes effect at the next packet.
//!
//! The choice lives in the pinned map `switch`, which the programs read for every packet, and in `<state_dir>/firewall`
//! (`block\n` or `allow\n`), from which a boot restores it. Fail closed: whenever the two disagree, or the file cannot be read,
//! the switch blocks.

mod linux;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Counters, DatapathError, Settings};

pub(super) use linux::read_choice;

/// What `btmm firewall status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallStatus {
    /// Whether the switch blocks.
    pub blocked: bool,
    /// Interfaces on which the programs that obey the switch are attached. Empty before the first `block` or start of the daemon.
    pub enforced_on: Vec<String>,
    /// Interfaces that carry traffic and have no gate, so that the switch does not reach them.
    pub not_enforced_on: Vec<String>,
    /// What the programs have counted.
    pub counters: Counters,
    /// The choice could not be read and the switch blocks because of that: one line that names the file.
    pub warning: Option<String>,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Let through; also when nothing was ever chosen.
    Allow,
    /// Block.
    Block,
}

impl Choice {
    /// As it is kept.
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow\n",
            Self::Block => "block\n",
        }
    }

    /// Reads exactly what was written, and nothing that resembles it.
    fn parse(text: &[u8]) -> Option<Self> {
        [Self::Allow, Self::Block].into_iter().find(|choice| choice.as_str().as_bytes() == text)
    }
}

/// The choice as found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub choice: Choice,
    /// Why it is not what was found.
    pub warning: Option<String>,
}

/// Blocks UDP to and from the encapsulation port, in and out, at the next packet, and keeps it so over restarts and boots.
///
/// Needs no daemon: puts the programs on every interface except loopback and our own, up or down, with an address or without.
/// The port is that of `settings` unless one is in force already.
///
/// # Errors
/// [`DatapathError::Partial`] when an interface could not be put under the switch (the others are blocked).
pub fn block(pins: &Path, settings: &Settings) -> Result<FirewallStatus, DatapathError> {
    linux::set_pinned(pins, Choice::Block)?;
    linux::keep(&settings.state_dir, Choice::Block)?;
    linux::enforce_everywhere(pins, settings)?;
    status(pins, &settings.state_dir)
}

/// Lets port 4500 through again. The SPI filter and the rate limit stay in force where they are attached.
///
/// # Errors
/// When the choice could not be written: the switch then stays as it was.
pub fn allow(pins: &Path, state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    linux::keep(state_dir, Choice::Allow)?;
    linux::set_pinned(pins, Choice::Allow)?;
    status(pins, state_dir)
}

/// The switch as it is. Loads and attaches nothing.
///
/// # Errors
/// When the pins exist but cannot be opened.
pub fn status(pins: &Path, state_dir: &Path) -> Result<FirewallStatus, DatapathError> {
    linux::status(pins, state_dir)
}

/// Brings the kept choice back after a boot, for use before the network is up. [`super::Datapath::open`] does the same by itself.
///
/// # Errors
/// As [`block`].
pub fn restore(pins: &Path, settings: &Settings) -> Result<FirewallStatus, DatapathError> {
    if read_choice(&settings.state_dir).choice == Choice::Block {
        linux::enforce_everywhere(pins, settings)?;
    }
    status(pins, &settings.state_dir)
}

/// Puts an interface that has just appeared under the kept choice: with no daemon nobody else would. Nothing is done where the choice lets
/// through, for a loopback or an interface of ours, and for one that is gone again. The lines, if any, are for the log: a choice that cannot
/// be read, an interface that does not exist, for then it is gone or has another name.
///
/// # Errors
/// As [`block`].
pub fn restore_on(pins: &Path, settings: &Settings, interface: &str) -> Result<Vec<String>, DatapathError> {
    let kept = read_choice(&settings.state_dir);
    let mut warnings = Vec::from_iter(kept.warning);
    if kept.choice == Choice::Block && !linux::enforce_on(pins, settings, interface)? {
        warnings.push(DatapathError::Interface(interface.to_owned()).to_string());
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_are_a_choice() {
        assert_eq!(Choice::parse(b"allow\n"), Some(Choice::Allow));
        assert_eq!(Choice::parse(b"block\n"), Some(Choice::Block));
        for bad in ["", "allow", "ALLOW\n", "allow\n\n", "al", "block\nallow\n", "\0"] {
            assert_eq!(Choice::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_choice_never_made_allows_and_one_that_cannot_be_read_blocks() {
        let folder = std::env::temp_dir().join(format!("btmm-firewall-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(read_choice(&folder), Kept { choice: Choice::Allow, warning: None });
        for choice in [Choice::Block, Choice::Allow] {
            linux::keep(&folder, choice).unwrap();
            assert_eq!(read_choice(&folder), Kept { choice, warning: None });
        }
        std::fs::write(folder.join("firewall"), b"alow\n").unwrap();
        let kept = read_choice(&folder);
        assert_eq!(kept.choice, Choice::Block);
        assert!(kept.warning.is_some_and(|line| line.contains(&folder.join("firewall").display().to_string())));
        std::fs::remove_file(folder.join("firewall")).unwrap();
        std::fs::create_dir(folder.join("firewall")).unwrap();
        assert_eq!(read_choice(&folder).choice, Choice::Block, "a folder in its place cannot be read either");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
