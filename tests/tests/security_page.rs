//! `btmmd/docs/security.md` and the tests that hold it.

use std::fs;
use std::path::Path;

/// Every Rust source below a folder, as one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).expect("a source");
        }
    }
    text
}

#[test]
fn every_test_this_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let page = fs::read_to_string(root.join("btmmd/docs/security.md")).expect("the page");
    let tests: String = ["tests/tests", "btmm-ebpf/src", "btmmd/src"].iter().map(|folder| sources(&root.join(folder))).collect();
    let is_name =
        |word: &&str| word.matches('_').count() >= 4 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 40, "the page names its tests: {}", named.len());
    let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

#[test]
fn every_row_of_a_verdict_table_names_a_test_and_every_counter_has_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let page = fs::read_to_string(root.join("btmmd/docs/security.md")).expect("the page");
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #") && !line.starts_with("| state")).collect();
    assert!(rows.len() >= 30, "{}", rows.len());
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        assert!(last.contains('`'), "no test: {row}");
    }
    let counters = serde_json::to_value(btmmd::datapath::Counters::default()).expect("counters");
    for name in counters.as_object().expect("fields").keys() {
        assert!(page.contains(&format!("`{name}`")), "no row is counted as {name}");
    }
}

#[test]
fn the_page_the_configuration_and_the_gate_have_one_default_rate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let page = fs::read_to_string(root.join("btmmd/docs/security.md")).expect("the page");
    let (configured, gate) = (btmmd::config::Config::default().ike, btmmd::datapath::Settings::new("/"));
    let (rate, burst) = (configured.rate.get(), configured.burst.get());
    assert_eq!((gate.ike_per_second, gate.ike_burst), (rate, burst));
    assert!(page.contains(&format!("Default: {rate} messages a second, {burst} at once")), "{rate}, {burst}");
}
