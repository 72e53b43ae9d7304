//! What came of worlds, for people and as figures.

use std::fmt::Write;

use serde_json::json;

use crate::campaign::{Failure, Totals};
use crate::plant::{PLANT_SEEDS, Sighting};
use crate::scenario::{Options, Outcome};

/// One line for a world that failed, with the command that replays it.
pub fn of_failure(failure: &Failure, options: &Options) -> String {
    let detail = failure.violation.to_string().replace('\n', " ");
    let short: String = detail.chars().take(200).collect();
    format!("FAILED seed {}: {short}: {} --trace", failure.seed, options.replay(failure.seed))
}

/// What came of one world.
pub fn of_world(seed: u64, outcome: &Outcome) -> String {
    let mut text = format!(
        "seed {seed}: {} nodes, {} steps, {} writes, {} frames, {} s of virtual time, trace {:016x}\n",
        outcome.nodes,
        outcome.steps,
        outcome.writes,
        outcome.frames,
        outcome.virtual_ms / 1_000,
        outcome.hash
    );
    match &outcome.violation {
        Some(violation) => writeln!(text, "FAILED: {violation}").ok(),
        None => writeln!(text, "every promise kept").ok(),
    };
    text
}

/// The sums over many worlds.
pub fn of_totals(totals: &Totals) -> String {
    let mut text = format!(
        "\n{} worlds, {} writes, {} frames, {:.1} virtual cluster-hours ({:.1} node-hours)\n\
         slowest to become equal once healed: {:.1} s of virtual time (seed {})\n",
        totals.worlds,
        totals.writes,
        totals.frames,
        hours(totals.cluster_ms),
        hours(totals.node_ms),
        totals.settled_ms_max as f64 / 1_000.0,
        totals.settled_seed,
    );
    let table = |text: &mut String, title: &str, rows: &mut dyn Iterator<Item = (&&'static str, &u64)>| {
        writeln!(text, "\n{title}").ok();
        for (name, times) in rows {
            writeln!(text, "{times:>12}  {name}").ok();
        }
    };
    table(&mut text, "faults injected", &mut totals.faults.iter());
    table(&mut text, "situations met", &mut totals.marks.iter());
    text.push('\n');
    let missing = totals.missing_marks();
    if !missing.is_empty() {
        writeln!(text, "FAILED: situations never met: {}", missing.join(", ")).ok();
    }
    writeln!(text, "{} worlds failed", totals.failed).ok();
    text
}

/// The sums as JSON, for docs/reliability.md.
pub fn figures(from: u64, totals: &Totals) -> String {
    let figures = json!({
        "seeds": { "from": from, "count": totals.worlds },
        "failed": totals.failed,
        "writes": totals.writes,
        "frames": totals.frames,
        "cluster_hours": hours(totals.cluster_ms),
        "node_hours": hours(totals.node_ms),
        "slowest_convergence_ms": totals.settled_ms_max,
        "faults": totals.faults,
        "marks": totals.marks,
    });
    format!("{figures:#}\n")
}

/// Where each planted defect was seen.
pub fn of_plants(sightings: &[Sighting]) -> String {
    let mut text = format!("{:<26} {:>5}  {:<16} what is wrong\n", "defect", "seed", "promise broken");
    for Sighting { row, seen } in sightings {
        let (seed, promise) = match seen {
            Some((seed, promise)) => (seed.to_string(), format!("{promise:?}")),
            None => ("-".into(), "NOT SEEN".into()),
        };
        writeln!(text, "{:<26} {seed:>5}  {promise:<16} {}", row.name, row.says).ok();
    }
    let seen = sightings.iter().filter(|sighting| sighting.seen.is_some()).count();
    writeln!(text, "{seen} of {} defects seen within {PLANT_SEEDS} seeds", sightings.len()).ok();
    text
}

/// The same as JSON.
pub fn figures_of_plants(sightings: &[Sighting]) -> String {
    let rows = sightings.iter().map(|Sighting { row, seen }| {
        let promise = seen.map(|(_, promise)| format!("{promise:?}"));
        json!({ "name": row.name, "wrong": row.says, "seed": seen.map(|(seed, _)| seed), "promise": promise })
    });
    let figures = json!({ "seeds_max": PLANT_SEEDS, "plants": rows.collect::<Vec<_>>() });
    format!("{figures:#}\n")
}

fn hours(ms: u64) -> f64 {
    ms as f64 / 3_600_000.0
}
