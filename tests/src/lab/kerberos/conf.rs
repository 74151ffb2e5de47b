//! What a test wants in `krb5.conf`.
use std::fmt::Write as _;

use anyhow::Result;

use super::{FOLDER, Machine, ZONE};

/// A `krb5.conf`: no DNS, no canonical names from it, the account's CA as PKINIT anchor. Realms only as they are added.
#[derive(Debug, Clone, Default)]
pub struct Conf {
    defaults: String,
    realms: Vec<(String, String)>,
    domains: String,
    before: String,
    after: String,
}

impl Conf {
    /// Without any realm: a KDC is found by a plugin or not at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A line of `[libdefaults]`.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.defaults, "    {line}");
        self
    }

    /// The realm of this machine by its own key, found at its inner address.
    #[must_use]
    pub fn realm_of(self, machine: &Machine) -> Self {
        self.realm(&machine.realm(), machine)
    }

    /// A realm with its KDC at a machine's inner address, and the machine's name in it.
    #[must_use]
    pub fn realm(self, realm: &str, machine: &Machine) -> Self {
        self.realm_with(realm, &format!("kdc = [{}]:88", machine.inner)).domain(&machine.fqdn(), realm)
    }

    /// A line more in the section of a realm.
    #[must_use]
    pub fn realm_with(mut self, realm: &str, line: &str) -> Self {
        match self.realms.iter_mut().find(|(name, _)| name == realm) {
            Some((_, lines)) => {
                let _ = writeln!(lines, "        {line}");
            }
            None => self.realms.push((realm.to_owned(), format!("        {line}\n"))),
        }
        self
    }

    /// The realm of a host.
    #[must_use]
    pub fn domain(mut self, host: &str, realm: &str) -> Self {
        let _ = writeln!(self.domains, "    {host} = {realm}");
        self
    }

    /// A line before all sections, such as `includedir`.
    #[must_use]
    pub fn first(mut self, line: &str) -> Self {
        let _ = writeln!(self.before, "{line}");
        self
    }

    /// Lines after all sections, such as a section of their own.
    #[must_use]
    pub fn last(mut self, lines: &str) -> Self {
        let _ = writeln!(self.after, "{lines}");
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let realms: String = self.realms.iter().map(|(name, lines)| format!("    {name} = {{\n{lines}    }}\n")).collect();
        format!(
            "{}[libdefaults]\n    dns_lookup_kdc = false\n    dns_lookup_realm = false\n    dns_canonicalize_hostname = false\n    \
             rdns = false\n    pkinit_anchors = FILE:{FOLDER}/account.pem\n{}\n[realms]\n{realms}\n[domain_realm]\n{}\n{}",
            self.before, self.defaults, self.domains, self.after
        )
    }
}

impl Machine {
    /// Writes its `krb5.conf`.
    pub fn configure(&self, conf: &Conf) -> Result<()> {
        self.write_foreign("/etc/krb5.conf", conf.text())
    }

    /// `pkinit_identities` of this machine's own key, for `-X X509_user_identity=…`.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("FILE:{FOLDER}/machine.pem,{FOLDER}/machine.key")
    }

    /// What its zone calls it, with the realm's principal for a service: `host/imac.alice.btmm.internal@REALM`.
    #[must_use]
    pub fn service(&self, service: &str, realm: &str) -> String {
        format!("{service}/{}.{ZONE}@{realm}", self.name)
    }
}
