//! `btmm keytab`: what was written, for people and programs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::words::{counted, printable};
use crate::lkdc::keytab::KeytabEntry;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// The realm.
    pub realm: String,
    /// The principals with keys in it.
    pub principals: BTreeSet<String>,
    /// The newest version of their keys.
    pub kvno: u32,
    /// How many keys were written.
    pub keys: usize,
}

impl Report {
    /// Of `entries` in `file`.
    pub fn new(file: &Path, realm: &str, entries: &[KeytabEntry]) -> Self {
        Self {
            file: file.display().to_string(),
            realm: realm.to_owned(),
            principals: entries.iter().map(|entry| entry.name.principal.to_string()).collect(),
            kvno: entries.iter().map(|entry| entry.kvno).max().unwrap_or_default(),
            keys: entries.len(),
        }
    }
}

/// For people.
pub fn render(report: &Report) -> String {
    format!(
        "{} of {} written to {} (newest version {})\n",
        counted(report.keys, "key"),
        counted(report.principals.len(), "name"),
        printable(&report.file),
        report.kvno
    )
}
