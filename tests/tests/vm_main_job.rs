//! The main job end to end: the demo's story, with a smaller file.

use btmm_tests::demo::{Options, run};

#[test]
fn two_machines_behind_two_routers_reach_each_other_and_nothing_leaves_in_clear() {
    if let Err(error) = run(&Options { megabytes: 2 }) {
        panic!("{error:#}");
    }
}
