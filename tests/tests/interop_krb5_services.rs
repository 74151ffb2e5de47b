//! Real services that let in by ticket alone: OpenSSH and Samba, first with MIT's KDC and then with ours.
use btmm_tests::lab::kerberos::{Conf, Machine, MitKdc, Pair};
use btmm_tests::lab::{Finished, Running};

const PASSWORD: &str = "correct horse battery";

#[test]
fn stock_services_take_tickets_of_a_stock_kdc() {
    let pair = Pair::new().expect("two machines");
    let realm = pair.imac.realm();
    // Samba alone takes no tickets that hold privileges of a Windows domain.
    let kdc = MitKdc::new(&realm).principal("alice", PASSWORD).line("disable_pac = true");
    let kdc = kdc.service("host/imac.alice.btmm.internal").service("cifs/imac.alice.btmm.internal");
    let kdc = kdc.start(&pair.imac).expect("krb5kdc");
    log_in_everywhere(&pair, &kdc);
}

#[test]
fn stock_services_take_tickets_of_our_kdc() {
    let pair = Pair::new().expect("two machines");
    let keytab = pair.imac.foreign_path("/etc/krb5.keytab");
    let kdc = pair.imac.start_kdc(&["--password", &format!("alice={PASSWORD}"), "--keytab", &keytab]).expect("our KDC");
    let conf = Conf::new().set(&format!("default_realm = {}", pair.imac.realm()));
    pair.imac.configure(&conf.realm_of(&pair.imac)).expect("a krb5.conf");
    log_in_everywhere(&pair, &kdc);
}

/// From no ticket and no way in, by one ticket, into both services.
fn log_in_everywhere(pair: &Pair, kdc: &Running) {
    let Pair { imac, laptop, .. } = pair;
    let target = "alice@imac.alice.btmm.internal";
    imac.add_person("alice").expect("a person");
    imac.write_foreign("/home/alice/note", "written at home\n").expect("a file");
    laptop.configure(&Conf::new().realm_of(imac)).expect("a krb5.conf");
    let sshd = imac.start_sshd().expect("sshd");
    let refused = format!("{:#}", laptop.ssh(target, "id -un").expect_err("no ticket yet"));
    assert!(refused.contains("Permission denied (gssapi"), "{refused}");
    laptop.kinit(&[&format!("alice@{}", imac.realm())], Some(PASSWORD)).expect("a ticket");
    assert_eq!(inside(laptop.ssh(target, "id -un"), &[kdc, &sshd]).out, "alice\n");
    let denied = format!("{:#}", laptop.ssh("root@imac.alice.btmm.internal", "id -un").expect_err("alice is not root"));
    assert!(denied.contains("Permission denied (gssapi"), "{denied}");
    samba(imac, laptop, kdc);
}

fn samba(imac: &Machine, laptop: &Machine, kdc: &Running) {
    let smbd = imac.start_smbd(&imac.realm(), "/home/alice").expect("smbd");
    let share = "//imac.alice.btmm.internal/home";
    let listed = inside(laptop.smbclient(share, "ls"), &[kdc, &smbd]).out;
    assert!(listed.contains("note"), "{listed}");
    laptop.kdestroy().expect("thrown away");
    laptop.smbclient(share, "ls").expect_err("no ticket any more");
}

#[track_caller]
fn inside(result: anyhow::Result<Finished>, logs: &[&Running]) -> Finished {
    result.unwrap_or_else(|error| {
        let logs: Vec<String> = logs.iter().map(|running| running.log()).collect();
        panic!("{error:#}\n--- services\n{}", logs.join("\n---\n"))
    })
}
