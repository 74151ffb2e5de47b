//! MIT's KDC on a machine, as the other side or as the measure.
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Conf, FOLDER, Machine};
use crate::lab::{Running, finish};

/// What an MIT KDC is to serve.
#[derive(Debug, Clone)]
pub struct MitKdc {
    realm: String,
    /// Lines for `kadmin.local`.
    queries: Vec<String>,
    etypes: String,
    workers: u32,
    lines: String,
    sections: String,
}

impl MitKdc {
    /// A realm without principals. Its PKINIT certificate is that of the machine it runs on.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        let etypes = "aes256-cts-hmac-sha384-192:normal aes128-cts-hmac-sha256-128:normal aes256-cts:normal aes128-cts:normal";
        Self {
            realm: realm.to_owned(),
            queries: Vec::new(),
            etypes: etypes.to_owned(),
            workers: 0,
            lines: String::new(),
            sections: String::new(),
        }
    }

    /// A user with a password. Any certificate of the account stands in for the password.
    #[must_use]
    pub fn principal(mut self, name: &str, password: &str) -> Self {
        self.queries.push(format!("add_principal +requires_preauth -pw \"{password}\" {name}"));
        self.queries.push(format!("set_string {name} pkinit_cert_match <SUBJECT>.*"));
        self
    }

    /// A service with a random key, which is also put into `/etc/krb5.keytab` of the KDC's machine.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.queries.push(format!("add_principal -randkey {name}"));
        self.queries.push(format!("ktadd -k /etc/krb5.keytab {name}"));
        self
    }

    /// One more query for `kadmin.local`.
    #[must_use]
    pub fn query(mut self, line: &str) -> Self {
        self.queries.push(line.to_owned());
        self
    }

    /// Worker processes (`krb5kdc -w`).
    #[must_use]
    pub fn workers(mut self, count: u32) -> Self {
        self.workers = count;
        self
    }

    /// One more line in the realm's section of `kdc.conf`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push_str(&format!("        {line}\n"));
        self
    }

    /// Encryption types of all keys, as `supported_enctypes` lists them.
    #[must_use]
    pub fn etypes(mut self, list: &str) -> Self {
        list.clone_into(&mut self.etypes);
        self
    }

    /// A section more in `kdc.conf`.
    #[must_use]
    pub fn section(mut self, lines: &str) -> Self {
        self.sections.push_str(&format!("{lines}\n"));
        self
    }

    /// Makes the database and starts the KDC on port 88 of all addresses, with a trace in `kdc.trace`. The machine gets a `krb5.conf`
    /// with the realm.
    pub fn start(&self, machine: &Machine) -> Result<Running> {
        self.create(machine)?;
        let mut command = self.command(machine);
        command.env("KRB5_TRACE", format!("{FOLDER}/kdc.trace"));
        Self::commence(machine, command)
    }

    /// Starts a KDC on the database of [`create`](Self::create), on another port.
    pub fn serve(&self, machine: &Machine, port: u16) -> Result<Running> {
        let mut command = self.command(machine);
        command.args(["-p", &port.to_string(), "-P", &format!("{FOLDER}/kdc-{port}.pid")]);
        Self::commence(machine, command)
    }

    fn command(&self, machine: &Machine) -> Command {
        let mut command = machine.node.foreign("krb5kdc");
        command.arg("-n");
        if self.workers > 0 {
            command.args(["-w", &self.workers.to_string()]);
        }
        command
    }

    fn commence(machine: &Machine, command: Command) -> Result<Running> {
        let mut kdc = machine.node.spawn(command)?;
        kdc.wait_for("commencing operation", Duration::from_secs(20))?;
        Ok(kdc)
    }

    /// Makes the database, and writes a `krb5.conf` with the realm.
    pub fn create(&self, machine: &Machine) -> Result<()> {
        machine.configure(&self.client_conf(machine))?;
        machine.write_foreign("/etc/krb5kdc/kdc.conf", self.conf())?;
        std::fs::create_dir_all(machine.node.path("/run/lab/root/var/lib/krb5kdc"))?;
        let run = |arguments: &[&str]| {
            let mut command = machine.node.foreign(arguments.first().copied().unwrap_or_default());
            command.args(arguments.get(1..).unwrap_or_default());
            finish(command)
        };
        run(&["kdb5_util", "-r", &self.realm, "create", "-s", "-P", "the master password"]).context("making the database")?;
        for query in &self.queries {
            run(&["kadmin.local", "-r", &self.realm, "-q", query])?;
        }
        Ok(())
    }

    /// Its libkrb5 must not ask that a certificate names the principal: those of the account name only the account's own realm.
    fn client_conf(&self, machine: &Machine) -> Conf {
        let conf = Conf::new().set(&format!("default_realm = {}", self.realm)).set("spake_preauth_groups = edwards25519");
        conf.realm(&self.realm, machine).last("[plugins]\n    certauth = {\n        disable = pkinit_san\n    }")
    }

    fn conf(&self) -> String {
        format!(
            "[kdcdefaults]\n    kdc_listen = 88\n    kdc_tcp_listen = 88\n[realms]\n    {} = {{\n        \
             database_name = /var/lib/krb5kdc/principal\n        key_stash_file = /var/lib/krb5kdc/stash\n        max_life = 10h\n        \
             max_renewable_life = 7d\n        master_key_type = aes256-cts\n        supported_enctypes = {}\n        \
             pkinit_identity = {}\n        pkinit_anchors = FILE:{FOLDER}/account.pem\n        spake_preauth_kdc_challenge = edwards25519\n{}    }}\n\
             {}[logging]\n    kdc = STDERR\n",
            self.realm,
            self.etypes,
            format_args!("FILE:{FOLDER}/machine.pem,{FOLDER}/machine.key"),
            self.lines,
            self.sections
        )
    }
}
