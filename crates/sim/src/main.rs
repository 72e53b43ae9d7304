//! The command behind `cargo xtask sim`: many seeds, one seed, the planted defects.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use rejoin_sim::campaign::{self, Totals};
use rejoin_sim::plant::{self, Plant};
use rejoin_sim::scale::{self, Graph, Plan};
use rejoin_sim::scenario::{Fault, FaultSet, Options};
use rejoin_sim::{minimise, report, seeds};

/// Failed worlds that are made small in one run, at most: each takes some hundred runs.
const MINIMISED_MAX: usize = 5;

/// Around the figures in docs/scale.md.
const MARKS: [&str; 2] = ["<!-- figures: written by cargo xtask sim --scale -->", "<!-- end of figures -->"];

/// Seconds between two lines of progress.
const PROGRESS_SECONDS: u64 = 10;

/// Runs random worlds: replicas, disks, links and clocks that fail, and an oracle that sees what is lost.
#[derive(Parser)]
#[command(name = "cargo xtask sim", version)]
struct Arguments {
    /// How many worlds to run.
    #[arg(long, default_value_t = 1_000, conflicts_with = "seed")]
    seeds: u64,
    /// The seed of the first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this world.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens in it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Nodes at the start, at most.
    #[arg(long)]
    nodes: Option<usize>,
    /// Steps of the schedule, at most.
    #[arg(long)]
    steps: Option<u64>,
    /// Paths that are written, at most.
    #[arg(long)]
    paths: Option<usize>,
    /// Faults that do not happen.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
    /// Look for every planted defect, and print where each is seen.
    #[arg(long, conflicts_with_all = ["seed", "from"])]
    plants: bool,
    /// Measure thousands of nodes instead: how long an update takes to reach them, and what it costs.
    #[arg(long, conflicts_with_all = ["seed", "from", "plants"])]
    scale: bool,
    /// With --scale: how many nodes, instead of 1,000 and 10,000.
    #[arg(long, requires = "scale", value_delimiter = ',')]
    scale_nodes: Vec<usize>,
    /// With --scale: put the table into this page, between its marks.
    #[arg(long, requires = "scale", value_name = "FILE")]
    page: Option<PathBuf>,
    /// Plant this defect.
    #[arg(long, value_parser = planted)]
    plant: Option<Plant>,
    /// Plan the worlds for that defect, and do not plant it.
    #[arg(long, requires = "plant")]
    control: bool,
}

fn fault(name: &str) -> Result<Fault, String> {
    let known = || Fault::ALL.map(Fault::name).join(", ");
    Fault::of_name(name).ok_or_else(|| format!("not a fault; there are {}", known()))
}

fn planted(name: &str) -> Result<Plant, String> {
    let known = || Plant::available().map(|row| row.name).collect::<Vec<_>>().join(", ");
    Plant::of_name(name).ok_or_else(|| format!("not a planted defect; there are {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        trace: arguments.trace,
        plant: arguments.plant,
        control: arguments.control,
        nodes_max: arguments.nodes,
        steps_max: arguments.steps,
        paths_max: arguments.paths,
        without: arguments.without.iter().fold(FaultSet::NONE, |set, fault| set.with(*fault)),
    };
    let passed = match arguments.seed {
        Some(seed) => one(seed, options),
        None if arguments.plants => plants(&arguments),
        None if arguments.scale => at_scale(&arguments),
        None => many(&arguments, options),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, options: Options) -> Result<bool, String> {
    let outcome = campaign::run_one(seed, options);
    let mut out = std::io::stdout().lock();
    let mut text = outcome.lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&report::of_world(seed, &outcome));
    out.write_all(text.as_bytes()).map_err(|error| format!("cannot write to standard output: {error}"))?;
    Ok(outcome.violation.is_none())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn plants(arguments: &Arguments) -> Result<bool, String> {
    let sightings = plant::look_for_all(threads());
    print!("{}", report::of_plants(&sightings));
    if let Some(file) = &arguments.json {
        write(file, &report::figures_of_plants(&sightings))?;
    }
    Ok(sightings.iter().all(|sighting| sighting.seen.is_some()))
}

fn at_scale(arguments: &Arguments) -> Result<bool, String> {
    let sizes = match arguments.scale_nodes.as_slice() {
        [] => &[1_000, 10_000],
        sizes => sizes,
    };
    let mut plans = vec![(Graph::Mesh, 16, 0)];
    for nodes in sizes {
        for graph in Graph::ALL {
            plans.extend([0, 10].map(|churn| (graph, *nodes, churn)));
        }
    }
    let mut all = Vec::new();
    for (graph, nodes, churn_per_mille) in plans {
        let started = Instant::now();
        let plan = Plan { graph, nodes, warm_up: 20, updates: 50, pause_ms: 1_200, churn_per_mille };
        all.push(scale::measure(plan, 1));
        eprintln!("{} of {nodes} nodes: {:.0} s", graph.name(), started.elapsed().as_secs_f64());
    }
    let table = scale::table(&all);
    print!("{table}");
    if let Some(file) = &arguments.json {
        write(file, &format!("{:#}\n", scale::figures(&all)))?;
    }
    if let Some(page) = &arguments.page {
        put_between_marks(page, &table)?;
    }
    Ok(all.iter().all(|one| one.missed == 0))
}

/// Replaces what is between the marks of a page.
fn put_between_marks(page: &Path, table: &str) -> Result<(), String> {
    let text =
        std::fs::read_to_string(page).map_err(|error| format!("cannot read {}: {error}", page.display()))?;
    let (before, rest) = text.split_once(MARKS[0]).ok_or("the page has no mark where figures begin")?;
    let (_, after) = rest.split_once(MARKS[1]).ok_or("the page has no mark where figures end")?;
    write(page, &format!("{before}{}\n{table}{}{after}", MARKS[0], MARKS[1]))
}

fn many(arguments: &Arguments, options: Options) -> Result<bool, String> {
    let threads = threads();
    let started = Instant::now();
    let progress = Mutex::new(Duration::ZERO);
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let totals = campaign::run(seeds, options, threads, |ended, failure| {
        if let Some(failure) = failure {
            println!("{}", report::of_failure(&failure, &options));
        }
        if let Ok(mut last) = progress.try_lock()
            && started.elapsed() - *last >= Duration::from_secs(PROGRESS_SECONDS)
        {
            *last = started.elapsed();
            eprintln!("{ended} of {} worlds in {} s", arguments.seeds, last.as_secs());
        }
    });
    if options.plant.is_none() {
        keep_minimised(&totals, options)?;
    }
    print!("{}", report::of_totals(&totals));
    println!("took {:.0} s on {threads} threads", started.elapsed().as_secs_f64());
    if let Some(file) = &arguments.json {
        write(file, &report::figures(arguments.from, &totals))?;
    }
    Ok(totals.passed())
}

/// Makes failed worlds small, says how to replay them, and adds them to `seeds.txt`.
fn keep_minimised(totals: &Totals, options: Options) -> Result<(), String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "crates/sim".into());
    let file = Path::new(&package).join("seeds.txt");
    for failure in totals.failures.iter().take(MINIMISED_MAX) {
        let Some(found) = minimise::minimise(failure.seed, options) else { continue };
        println!("smaller: {} --trace (found in {} runs)", found.options.replay(failure.seed), found.runs);
        let line = seeds::line(failure.seed, &found);
        let appended =
            OpenOptions::new().append(true).open(&file).and_then(|mut open| open.write_all(line.as_bytes()));
        appended.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}

fn write(file: &Path, figures: &str) -> Result<(), String> {
    std::fs::write(file, figures).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
