use super::*;

fn refused(text: &str) -> String {
    Config::parse(text, Path::new("/etc/btmm/btmmd.toml")).unwrap_err().to_string()
}

fn parsed(text: &str) -> Config {
    Config::parse(text, Path::new("t.toml")).unwrap()
}

#[test]
fn an_absent_or_empty_file_gives_the_defaults() {
    assert_eq!(Config::load(Path::new("/nonexistent/btmmd.toml")).unwrap(), Config::default());
    assert_eq!(parsed(""), Config::default());
    assert_eq!(Config::default().port.get(), 4500);
    assert_eq!(Config::default().idle_timeout.duration().as_secs(), 600);
}

#[test]
fn the_example_holds_every_key_at_its_default() {
    let example = Config::example();
    assert_eq!(parsed(&example), Config::default(), "as shipped, everything is commented out");
    let uncommented: String = example
        .lines()
        .map(|line| if line.starts_with('#') && !line.starts_with("# ") { &line[1..] } else { line }.to_owned() + "\n")
        .collect();
    assert_eq!(parsed(&uncommented), Config::default(), "{uncommented}");
    let table = uncommented.parse::<toml::Table>().unwrap();
    assert_eq!(table, toml::Table::try_from(Config::default()).unwrap(), "no key is missing from the example");
}

#[test]
fn every_setting_is_documented() {
    for table in Config::tables() {
        assert!(!table.about.is_empty());
        for entry in table.entries {
            assert!(!entry.doc.is_empty() && !entry.default.is_empty(), "{}", entry.key);
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let error = refused("port = 4500\nprot = 1\n");
    assert!(error.starts_with("/etc/btmm/btmmd.toml:2:1: unknown field `prot`"), "{error}");
    assert!(error.contains("idle_timeout") && !error.contains('\n'), "{error}");
    assert!(refused("interface = \"btmm0\"").contains("unknown field `interface`"), "its name is not a setting");
    assert!(refused("[ike]\nlifetime = 1\n").starts_with("/etc/btmm/btmmd.toml:2:1: unknown field `lifetime`"));
}

#[test]
fn a_wrong_value_is_told_with_key_place_and_what_is_allowed() {
    for (text, expected) in [
        ("port = 0", "1:8: port: 0 is not allowed: use 1 to 65535"),
        ("port = 65536", "1:8: port: 65536 is not allowed: use 1 to 65535"),
        ("\n\n  idle_timeout = 5", "3:18: idle_timeout: 5 is not allowed: use 10 to 86400"),
        (
            "uplinks = [\"a b\"]",
            "1:11: uplinks: \"a b\" is not an interface name: use 1 to 15 printable characters, no space, slash or colon",
        ),
        (
            "[resolver]\nstub = \"8.8.8.8\"",
            "2:8: stub: \"8.8.8.8\" is not allowed: use a loopback address, 127.0.0.0/8 or ::1, without a port",
        ),
        ("uplinks = \"eth0\"", "1:11: uplinks: invalid value: string \"eth0\", expected \"auto\" or a list of interface names"),
        ("uplinks = []", "1:11: uplinks: invalid length 0, expected \"auto\" or a list of interface names"),
        ("log_level = \"loud\"", "1:13: log_level: unknown variant `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`"),
        ("[resolver]\nresolved = \"on\"", "2:12: resolved: unknown variant `on`, expected `auto` or `off`"),
        ("[serve]\nlisten = [\"here\"]", "2:11: listen: invalid socket address syntax"),
    ] {
        assert_eq!(refused(text), format!("/etc/btmm/btmmd.toml:{expected}"), "{text}");
    }
}

#[test]
fn broken_toml_is_told_with_its_place_in_one_line() {
    for text in ["port = ", "port 4500", "[ike", "port = 1\nport = 2", "\u{0}", "port = 4500 x", "é = 1\n= 2"] {
        let error = refused(text);
        assert!(error.starts_with("/etc/btmm/btmmd.toml:") && !error.contains('\n'), "{text:?}: {error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert_eq!(refused("[ike]\nike_lifetime = 60"), "/etc/btmm/btmmd.toml: ike.child_lifetime = 3600 is longer than ike.ike_lifetime = 60");
    assert_eq!(
        refused("uplinks = [\"eth0\", \"btmm0\"]"),
        "/etc/btmm/btmmd.toml: uplinks lists \"btmm0\", which is the tunnel's own interface"
    );
}

#[test]
fn uplinks_may_be_listed() {
    let names = ["eth0", "wlan0"].map(|name| InterfaceName::try_from(name.to_owned()).unwrap());
    assert_eq!(parsed("uplinks = [\"eth0\", \"wlan0\"]").uplinks, Uplinks::List(names.to_vec()));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/")).unwrap_err().to_string();
    assert!(error.starts_with("/: "), "{error}");
}

#[test]
fn who_must_not_fail_over_the_file_gets_the_defaults_and_why() {
    let (config, error) = Config::load_or_default(Path::new("/"));
    assert!(config == Config::default() && error.is_some());
    assert!(Config::load_or_default(Path::new("/nonexistent/btmmd.toml")).1.is_none());
}

#[test]
fn spans_are_written_with_their_unit_and_bounded() {
    let config = parsed("[lkdc]\nticket_life = \"90m\"\nusers = { alice = \"al\" }\n");
    assert_eq!((config.lkdc.ticket_life.seconds(), config.lkdc.ticket_life.to_string()), (5400, "90m".to_owned()));
    assert_eq!(config.lkdc.users.get("alice").map(String::as_str), Some("al"));
    assert_eq!(Config::default().lkdc.renew_life.to_string(), "7d");
    let services: Vec<&str> = config.lkdc.services.iter().map(|service| service.as_str()).collect();
    assert_eq!(services, ["host", "cifs"]);
    assert!(refused("[lkdc]\nservices = [\"host/imac\"]\n").contains("is not a service's name"));
    for bad in ["299s", "8d", "10", "h", "", "-1h", "4294967295d", "1w"] {
        let error = refused(&format!("[lkdc]\nticket_life = {bad:?}\n"));
        assert!(error.contains("is not allowed: use 5m to 7d"), "{error}");
    }
    let error = refused("[lkdc]\nticket_life = \"2d\"\nrenew_life = \"1d\"\n");
    assert!(error.contains("lkdc.ticket_life = 2d is longer than lkdc.renew_life = 1d"), "{error}");
}
