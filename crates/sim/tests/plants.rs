//! Planted defects: the checks have to see every one.
//!
//! Without the feature `plant`, those are planted that need nothing of the code under test; `cargo xtask test` runs this with
//! it.

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
