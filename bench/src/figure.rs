//! What comes out: figures with all their samples, as JSON.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::plan::{Plan, Workload};
use crate::server::Tools;

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Where it ran.
    machine: Machine,
    /// What was measured, by name, with its version.
    systems: Vec<(String, String)>,
    /// What could not be, and why.
    missing: Vec<(String, String)>,
    plan: Plan,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    kernel: String,
    cpu: String,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    workload: String,
    /// What was done, as in `PUT, 64 connections`.
    case: String,
    system: String,
    /// What an answered write survives there.
    durability: String,
    /// What was measured, as in `p99`.
    name: String,
    unit: &'static str,
    /// One for each round.
    samples: Vec<f64>,
}

/// Who was measured, doing what.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) workload: Workload,
    pub(crate) case: &'a str,
    pub(crate) system: &'a str,
    pub(crate) durability: &'a str,
}

impl Figures {
    pub(crate) fn new(tools: &Tools, plan: &Plan) -> Figures {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let machine = Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            cpu: cpu.trim_start_matches(['\t', ' ', ':']).to_owned(),
        };
        let (systems, missing) = (tools.versions(), tools.missing());
        Figures { machine, systems, missing, plan: plan.clone(), figures: Vec::new() }
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, subject: &Subject<'_>, name: &str, unit: &'static str, sample: f64) {
        eprintln!("{:28} {:34} {name:18} {sample:12.3} {unit}", subject.system, subject.case);
        let workload = subject.workload.to_string();
        let known = self.figures.iter_mut().find(|figure| {
            figure.workload == workload
                && figure.case == subject.case
                && figure.system == subject.system
                && figure.name == name
        });
        match known {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure {
                workload,
                case: subject.case.to_owned(),
                system: subject.system.to_owned(),
                durability: subject.durability.to_owned(),
                name: name.to_owned(),
                unit,
                samples: vec![sample],
            }),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
