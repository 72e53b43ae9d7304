//! Planted defects: the checks have to see every one.
//!
//! Without the feature `plant`, those are planted that need nothing of the code under test; `cargo xtask test` runs this with
//! it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rejoin_sim::plant::look_for_all;
use rejoin_sim::report;

#[test]
fn every_planted_defect_is_seen() {
    let sightings = look_for_all(2);
    println!("{}", report::of_plants(&sightings));
    let unseen: Vec<_> = sightings.iter().filter(|sighting| sighting.seen.is_none()).collect();
    assert!(unseen.is_empty(), "not seen: {unseen:?}");
    let inside = rejoin_causal::plant::PLANTED;
    assert!(sightings.len() >= if inside { 44 } else { 15 }, "{} defects were planted", sightings.len());
}

/// Random worlds ask for equality once all clocks are right; that claims go on before that takes a story of its own.
#[cfg(feature = "plant")]
#[test]
fn claims_that_wait_for_all_of_quarantine_are_seen() {
    let lacks = |planted: Option<&'static str>| {
        rejoin_causal::plant::set(planted);
        let mut cluster = rejoin_sim::Cluster::mesh(&["a", "b", "c"]);
        cluster.clock_step("a", 600_000);
        cluster.put("a", "far", r#"{"n":1}"#);
        cluster.run_ms(2_000);
        cluster.overwrite_behind("c", "b", "doc");
        rejoin_causal::plant::set(None);
        let [b, c] = ["b", "c"].map(|name| cluster.status(name).frontier);
        b.difference(&c).len()
    };
    assert_eq!(lacks(None), 0);
    assert_eq!(lacks(Some("held-blocks-all-claims")), 1);
}
