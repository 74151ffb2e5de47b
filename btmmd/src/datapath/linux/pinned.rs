//! What an earlier run has pinned, without loading anything.

use std::path::Path;

use super::attach;
use super::maps::{CounterMap, Switch};
use super::pins::{self, Pins};
use crate::datapath::{Counters, DatapathError};

/// The switch.
pub fn switch(root: &Path) -> Result<Option<Switch>, DatapathError> {
    Pins::existing(root)?.map(|pins| Switch::open(&pins.switch())).transpose()
}

/// Names of the interfaces under the gate.
pub fn uplinks(root: &Path) -> Result<Vec<String>, DatapathError> {
    let Some(pins) = Pins::existing(root)? else { return Ok(Vec::new()) };
    Ok(attach::uplinks(&pins)?.into_iter().map(|uplink| uplink.interface).collect())
}

/// The counters, unless they are of another layout.
pub fn counters(root: &Path) -> Result<Option<Counters>, DatapathError> {
    let Some(path) = Pins::existing(root)?.map(|pins| pins.counters()) else { return Ok(None) };
    if pins::present(&path)? { CounterMap::open(&path)?.sum().map(Some) } else { Ok(None) }
}
