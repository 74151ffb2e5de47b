//! The ten lines of `btmmd/docs/lkdc.md` do what they promise, typed as they stand there.
//!
//! Where a line needs the daemon or systemd, what it would do is done by what the lab has instead: `btmm-kdc` for `btmm passwd` and
//! `btmm keytab`, a start of sshd for its reload.
use btmm_tests::lab::kerberos::{Machine, Pair};
use btmm_tests::lab::{Finished, Running};

const PASSWORD: &str = "correct horse battery";

/// `("imac#", "command")` for each line of the page's first console block.
fn lines() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../btmmd/docs/lkdc.md");
    let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a console block");
    let lines: Vec<_> = block.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(lines.len(), 10, "{block}");
    assert!(lines.iter().all(|(prompt, _)| ["imac#", "laptop#", "laptop$"].contains(prompt)), "{block}");
    lines
}

#[track_caller]
fn shell(machine: &Machine, line: &str, kdc: &Running) -> Finished {
    let ran = machine.tell("sh", &["-c", line], &format!("{PASSWORD}\n"));
    ran.unwrap_or_else(|error| panic!("{line}: {error:#}\n--- KDC\n{}", kdc.log()))
}

#[test]
fn the_ten_lines_log_in_by_ssh_with_a_ticket() {
    let pair = Pair::new().expect("two machines");
    let (imac, laptop) = (&pair.imac, &pair.laptop);
    let keytab = imac.foreign_path("/etc/krb5.keytab");
    let kdc = imac.start_kdc(&["--password", &format!("alice={PASSWORD}"), "--keytab", &keytab]).expect("our KDC");
    [imac, laptop].iter().for_each(|machine| pair.prepare(machine).expect("as the package and btmmd leave it"));
    imac.add_person("alice").expect("a person");
    let (mut sshd, mut said) = (None, Vec::new());
    for (prompt, line) in lines() {
        match line {
            "btmm passwd alice" | "btmm keytab --output /etc/krb5.keytab host" => assert_eq!(prompt, "imac#"),
            "systemctl restart ssh" => sshd = Some(imac.start_sshd_as_configured().expect("sshd")),
            _ => {
                // A terminal would be asked whether the host is known; the lab says so beforehand, the same way for every host.
                laptop
                    .write_foreign("/etc/ssh/ssh_config", "StrictHostKeyChecking no\nPreferredAuthentications gssapi-with-mic\n")
                    .expect("written");
                said.push(shell(if prompt == "imac#" { imac } else { laptop }, line, &kdc));
            }
        }
    }
    drop(sshd);
    let [.., logged_in, listed] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(logged_in.out, "alice\n", "the last line but one runs a command on imac");
    assert!(listed.out.contains("host/imac.alice.btmm.internal@LKDC:SHA256."), "{listed:?}");
}
