//! Real services of a machine, which let in by ticket alone. Their keys come from `/etc/krb5.keytab`.
use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{FOLDER, Machine};
use crate::lab::{Finished, Running};

/// How long a service may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of the machine's only person.
const UID: u32 = 1000;

const SSHD: &str = "\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
GSSAPIAuthentication yes
GSSAPIStrictAcceptorCheck no
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication no
PidFile none
";

impl Machine {
    /// Gives the machine a person with a home, whose password nobody knows.
    pub fn add_person(&self, name: &str) -> Result<()> {
        for (file, line) in [
            ("passwd", format!("{name}:x:{UID}:{UID}::/home/{name}:/bin/sh\n")),
            ("shadow", format!("{name}:*:20000:0:99999:7:::\n")),
            ("group", format!("{name}:x:{UID}:\n")),
        ] {
            let path = format!("/etc/{file}");
            let known = fs::read_to_string(self.node.path(self.foreign_path(&path)))?;
            self.write_foreign(&path, known + &line)?;
        }
        let home = self.node.path(self.foreign_path(&format!("/home/{name}")));
        fs::create_dir_all(&home)?;
        chown(&home, Some(UID), Some(UID)).context("the home's owner")
    }

    /// OpenSSH's server on port 22, with no way in but GSSAPI.
    pub fn start_sshd(&self) -> Result<Running> {
        self.write_foreign("/etc/ssh/sshd_config", SSHD)?;
        self.start_sshd_as_configured()
    }

    /// OpenSSH's server on port 22, as its files are. Without PAM, which has nothing to work with here.
    pub fn start_sshd_as_configured(&self) -> Result<Running> {
        fs::create_dir_all(self.node.path("/run/sshd"))?;
        let mut command = self.node.foreign("/usr/sbin/sshd");
        command.args(["-D", "-e", "-o", "LogLevel=DEBUG1", "-o", "UsePAM=no"]).env("KRB5_TRACE", format!("{FOLDER}/sshd.trace"));
        let mut sshd = self.node.spawn(command)?;
        sshd.wait_for("Server listening on :: port 22", PATIENCE)?;
        Ok(sshd)
    }

    /// Runs a command on another machine by ssh, with a ticket or not at all.
    pub fn ssh(&self, target: &str, command: &str) -> Result<Finished> {
        let options = [
            "-v",
            "-o",
            "GSSAPIAuthentication=yes",
            "-o",
            "PreferredAuthentications=gssapi-with-mic",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ];
        self.tell("ssh", &[&options[..], &[target, command]].concat(), "")
    }

    /// Samba's server with the share `home`, which takes Kerberos and nothing else. `realm` is that of its keytab.
    pub fn start_smbd(&self, realm: &str, share: &str) -> Result<Running> {
        self.write_foreign(
            "/etc/samba/smb.conf",
            format!(
                "[global]\nworkgroup = BTMM\nrealm = {realm}\nserver role = standalone server\nkerberos method = system keytab\n\
                 disable netbios = yes\nntlm auth = disabled\nmap to guest = never\nload printers = no\nprinting = bsd\nlog level = 3\n\
                 [home]\npath = {share}\nread only = no\n"
            ),
        )?;
        for folder in ["/var/lib/samba/private", "/var/cache/samba", "/var/log/samba"] {
            fs::create_dir_all(self.node.path(self.foreign_path(folder)))?;
        }
        fs::create_dir_all(self.node.path("/run/samba"))?;
        let mut command = self.node.foreign("smbd");
        command.args(["--foreground", "--no-process-group", "--debug-stdout"]).env("KRB5_TRACE", format!("{FOLDER}/smbd.trace"));
        let mut smbd = self.node.spawn(command)?;
        smbd.wait_for("waiting for connections", PATIENCE)?;
        Ok(smbd)
    }

    /// One command of `smbclient` on a share of another machine, with a ticket or not at all.
    pub fn smbclient(&self, share: &str, command: &str) -> Result<Finished> {
        self.tell("smbclient", &[share, "--use-kerberos=required", "--command", command], "")
    }
}
