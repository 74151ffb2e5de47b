//! MIT's own tools on a machine. When one fails, the error holds its trace.
use std::process::Command;

use anyhow::{Result, anyhow};

use super::{FOLDER, Machine};
use crate::lab::{Finished, feed};

impl Machine {
    /// A foreign program with this machine's ticket cache (`FOLDER/cc`) and a trace of libkrb5 in `FOLDER/trace`.
    #[must_use]
    pub fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.node.foreign(program);
        command.args(arguments);
        command.env("KRB5CCNAME", format!("FILE:{FOLDER}/cc")).env("KRB5_TRACE", format!("{FOLDER}/trace")).env("LC_ALL", "C");
        command
    }

    /// Runs such a program to its end, feeding `input`; a failure is told with the trace.
    pub fn tell(&self, program: &str, arguments: &[&str], input: &str) -> Result<Finished> {
        let _ = std::fs::remove_file(self.trace_path());
        feed(self.program(program, arguments), input).map_err(|error| anyhow!("{error:#}\n--- trace\n{}", self.trace()))
    }

    /// Gets a ticket-granting ticket. The password goes to standard input.
    pub fn kinit(&self, arguments: &[&str], password: Option<&str>) -> Result<Finished> {
        self.tell("kinit", arguments, &password.map(|password| format!("{password}\n")).unwrap_or_default())
    }

    /// Gets a ticket-granting ticket with this machine's sharing certificate.
    pub fn kinit_by_certificate(&self, arguments: &[&str]) -> Result<Finished> {
        let identity = format!("X509_user_identity={}", self.identity());
        self.kinit(&[&["-X", identity.as_str()], arguments].concat(), None)
    }

    /// Lists the cache.
    pub fn klist(&self, arguments: &[&str]) -> Result<Finished> {
        self.tell("klist", arguments, "")
    }

    /// Gets service tickets.
    pub fn kvno(&self, arguments: &[&str]) -> Result<Finished> {
        self.tell("kvno", arguments, "")
    }

    /// Throws the cache away.
    pub fn kdestroy(&self) -> Result<Finished> {
        self.tell("kdestroy", &[], "")
    }

    /// What libkrb5 did in the program run last.
    #[must_use]
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.trace_path()).unwrap_or_default()
    }

    fn trace_path(&self) -> std::path::PathBuf {
        self.node.path(format!("{FOLDER}/trace"))
    }
}
