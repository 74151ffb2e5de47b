//! Whatever lies in the table of realms: the plugin's reader never panics, and gives only an address that stands beside the realm.
//!
//! Runs as an ordinary test on random inputs, and under `cargo xtask fuzz` with a coverage-guided engine.
use std::net::IpAddr;

use bolero::check;
use btmm_locate::table::Search;

const REALM: &str = "LKDC:SHA256.AB";

#[test]
fn any_table_in_any_pieces_gives_the_same_answer() {
    check!().with_iterations(200_000).with_type::<(Vec<u8>, u8)>().for_each(|(table, cut)| {
        let whole = Search::new(REALM.as_bytes()).feed(table);
        let mut search = Search::new(REALM.as_bytes());
        let pieces = table.split_at(usize::from(*cut).min(table.len()));
        assert_eq!(search.feed(pieces.0).or_else(|| search.feed(pieces.1)), whole);
        assert!(whole.is_none_or(|address| stands_beside(table, address)));
    });
}

#[test]
fn a_damaged_table_gives_no_address_that_is_not_in_it() {
    let table = format!("LKDC:SHA256.AA fd00::1 a.z\n{REALM} fd00::2 b.z\nLKDC:SHA256.ABC fd00::3 c.z\n");
    check!().with_iterations(200_000).with_type::<Vec<(u8, u8)>>().for_each(|changes| {
        let mut damaged = table.clone().into_bytes();
        for (place, value) in changes {
            let place = usize::from(*place) % damaged.len();
            damaged[place] = *value;
        }
        let found = Search::new(REALM.as_bytes()).feed(&damaged);
        assert!(found.is_none_or(|address| stands_beside(&damaged, address)));
        assert!(found.is_some() || damaged != table.as_bytes());
    });
}

/// By other means: the lines as text.
fn stands_beside(table: &[u8], address: IpAddr) -> bool {
    String::from_utf8_lossy(table)
        .split('\n')
        .filter_map(|line| line.strip_prefix(REALM)?.strip_prefix(' ')?.split(' ').next()?.parse::<IpAddr>().ok())
        .any(|known| known == address)
}
