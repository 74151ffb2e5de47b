//! A `krb5.conf` for the machines of the account, to be included by that of the system.
//!
//! What it says beside realms and the default cache is said of the account's realms alone: it must not change what a machine does in other
//! realms.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Place, Realms};

/// Where tickets are: a collection, because each machine is a realm with a cache of its own, and GSSAPI then takes the one whose realm is
/// that of the service. In the kernel, so that a user's agent, shells and jobs see the same with or without a log-in session, no file holds
/// keys, and programs of other users have no way to it. Taken where the system's `krb5.conf` names no other first.
const CACHE: &str = "KEYRING:persistent:%{uid}";

/// What goes into the file beside the realms.
#[derive(Clone, Debug)]
pub struct Conf<'a> {
    /// The realm of this machine, in which its own services look for local users. Taken where the system's `krb5.conf` names no other first.
    pub own: Option<&'a Place>,
    /// Path of the account's CA certificate, PEM.
    pub anchor: &'a str,
    /// Principals of the own realm whose local user has another name.
    pub users: &'a BTreeMap<String, String>,
}

/// The file's text. Names of users that would break its syntax are left out.
pub fn krb5_conf(realms: &Realms, conf: &Conf<'_>) -> String {
    let mut text = String::from("# Kept by btmmd. Changes are lost.\n[libdefaults]\n");
    if let Some(own) = conf.own {
        line(&mut text, 1, "default_realm", own.realm.as_str());
    }
    line(&mut text, 1, "default_ccache_name", CACHE);
    text.push_str("\n[realms]\n");
    for place in realms.places() {
        let _ = writeln!(text, "    {} = {{", place.realm);
        // Where programs do not load the locate plugin.
        line(&mut text, 2, "kdc", &format!("[{}]:88", place.inner));
        line(&mut text, 2, "pkinit_anchors", &format!("FILE:{}", conf.anchor));
        if conf.own.is_some_and(|own| own.realm == place.realm) {
            local_names(&mut text, conf.users);
        }
        text.push_str("    }\n");
    }
    text.push_str("\n[domain_realm]\n");
    for place in realms.places() {
        line(&mut text, 1, &place.fqdn, place.realm.as_str());
    }
    text
}

fn local_names(text: &mut String, users: &BTreeMap<String, String>) {
    let others: Vec<_> = users.iter().filter(|(principal, local)| principal != local && plain(principal) && plain(local)).collect();
    if others.is_empty() {
        return;
    }
    text.push_str("        auth_to_local_names = {\n");
    for (principal, local) in others {
        line(text, 3, principal, local);
    }
    text.push_str("        }\n");
}

fn line(text: &mut String, depth: usize, key: &str, value: &str) {
    // A String takes everything.
    let _ = writeln!(text, "{:indent$}{key} = {value}", "", indent = 4 * depth);
}

/// Nothing that means something in the file.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'@' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::realms;
    use super::*;

    fn users(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(principal, local)| ((*principal).to_owned(), (*local).to_owned())).collect()
    }

    #[test]
    fn each_host_has_its_realm_its_kdc_and_its_anchor() {
        let (realms, none) = (realms(), BTreeMap::new());
        let own = realms.of_host("imac");
        let text = krb5_conf(&realms, &Conf { own, anchor: "/run/btmm/account.pem", users: &none });
        let realm = own.expect("known").realm.as_str();
        let section = format!(
            "    {realm} = {{\n        kdc = [fd12:3456:789a::1]:88\n        pkinit_anchors = FILE:/run/btmm/account.pem\n    }}\n"
        );
        assert!(text.contains(&section), "{text}");
        assert!(text.contains(&format!("\n[domain_realm]\n    imac.alice.btmm.internal = {realm}\n    laptop.")), "{text}");
        assert!(
            text.contains(&format!("[libdefaults]\n    default_realm = {realm}\n    default_ccache_name = KEYRING:persistent:%{{uid}}\n")),
            "{text}"
        );
    }

    #[test]
    fn users_with_another_local_name_are_mapped_in_the_own_realm_only() {
        let (realms, users) = (realms(), users(&[("alice", "al"), ("bob", "bob"), ("eve = {", "root"), ("mal", "root\n}")]));
        let text = krb5_conf(&realms, &Conf { own: realms.of_host("laptop"), anchor: "/a", users: &users });
        assert_eq!(text.matches("auth_to_local_names").count(), 1, "{text}");
        assert!(text.contains("        auth_to_local_names = {\n            alice = al\n        }\n"), "{text}");
        assert!(!text.contains("root"), "{text}");
        let text = krb5_conf(&realms, &Conf { own: None, anchor: "/a", users: &users });
        assert!(!text.contains("auth_to_local") && !text.contains("default_realm"), "{text}");
    }
}
