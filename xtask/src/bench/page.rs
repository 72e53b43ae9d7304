//! Figures as Markdown.

use std::fmt::Write as _;

use serde_json::Value;

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of figures -->";

/// The workloads in the order of the page, with their titles.
const WORKLOADS: [(&str, &str); 11] = [
    ("requests", "Requests"),
    ("scan", "Scan"),
    ("embedded", "The library, one thread"),
    ("propagation", "Propagation: a write here until its event there"),
    ("replication", "Sustained replication between two nodes"),
    ("catch-up", "Catching up"),
    ("reconnect", "A link that breaks while there is nothing to tell"),
    ("bootstrap", "An empty node until it has everything"),
    ("fan-out", "One write to many subscribers"),
    ("mesh", "How often a mesh sends one update"),
    ("size", "As documents grow"),
];

/// The page with these figures.
pub(super) fn rendered(page: &str, kept: &Value) -> Result<String, String> {
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("the page lacks {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("the page lacks {END}"))?;
    let mut text = format!("{before}{BEGIN}\n\n");
    for (name, title) in WORKLOADS {
        if kept[name]["figures"].is_array() {
            text.push_str(&section(title, &kept[name]));
        }
    }
    Ok(format!("{text}{END}{after}"))
}

fn section(title: &str, run: &Value) -> String {
    let figures: Vec<&Value> = run["figures"].as_array().into_iter().flatten().collect();
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = format!("### {title}\n\nAt {}. ", word(&run["commit"]));
    let machine = &run["machine"];
    write!(
        text,
        "{} cores, {}, Linux {}.",
        machine["cores"],
        word(&machine["cpu"]),
        word(&machine["kernel"])
    )
    .ok();
    let pairs = |list: &Value| -> Vec<(String, String)> {
        list.as_array().into_iter().flatten().map(|pair| (word(&pair[0]), word(&pair[1]))).collect()
    };
    let measured = |system: &str| figures.iter().any(|figure| word(&figure["system"]).starts_with(system));
    for (system, version) in pairs(&run["systems"]) {
        if system != "Rejoin" && measured(system.split(' ').next().unwrap_or_default()) {
            write!(text, " {system}: `{version}`.").ok();
        }
    }
    for (system, why) in pairs(&run["missing"]) {
        write!(text, " Not measured: {system} ({why}).").ok();
    }
    text.push_str("\n\n");

    // Cases in the order in which they came; each is a table of systems, or a row when there is one system only.
    let mut cases: Vec<String> = Vec::new();
    for figure in &figures {
        let case = word(&figure["case"]);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let mut columns: Vec<String> = Vec::new();
    for case in cases {
        let rows: Vec<&&Value> = figures.iter().filter(|figure| word(&figure["case"]) == case).collect();
        let mut names: Vec<String> = Vec::new();
        for figure in &rows {
            let name = heading(figure);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names != columns {
            if !columns.is_empty() {
                text.push('\n');
            }
            writeln!(text, "| Work | System | An answered write survives | {} |", names.join(" | ")).ok();
            writeln!(text, "|---|---|---|{}", "--:|".repeat(names.len())).ok();
            columns = names;
        }
        let mut systems: Vec<(String, String)> = Vec::new();
        for figure in &rows {
            let system = (word(&figure["system"]), word(&figure["durability"]));
            if !systems.contains(&system) {
                systems.push(system);
            }
        }
        for (system, durability) in systems {
            let cell = |name: &String| {
                let figure =
                    rows.iter().find(|figure| word(&figure["system"]) == system && &heading(figure) == name);
                figure.map_or_else(String::new, |figure| cell(&figure["samples"]))
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            writeln!(text, "| {case} | {system} | {durability} | {} |", cells.join(" | ")).ok();
        }
    }
    text.push('\n');
    text
}

/// What a figure's column is called.
fn heading(figure: &Value) -> String {
    let (name, unit) = (figure["name"].as_str().unwrap_or("?"), figure["unit"].as_str().unwrap_or(""));
    if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") }
}

/// The median of samples, and their least and greatest where there are several.
fn cell(samples: &Value) -> String {
    let mut samples: Vec<f64> = samples.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    samples.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (samples.first(), samples.last()) else { return String::new() };
    let middle = samples.len() / 2;
    let median = match samples.len() % 2 {
        0 => f64::midpoint(samples[middle - 1], samples[middle]),
        _ => samples[middle],
    };
    if samples.len() == 1 {
        return shown(median);
    }
    format!("**{}** ({}–{})", shown(median), shown(*least), shown(*greatest))
}

/// Three digits that count, and thousands apart.
fn shown(number: f64) -> String {
    let digits = match number.abs() {
        number if number >= 100.0 => 0,
        number if number >= 10.0 => 1,
        number if number >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let grouped = crate::reliability::grouped(whole);
    rest.map_or_else(|| grouped.clone(), |rest| format!("{grouped}.{rest}"))
}
