//! Power cuts at every point of a recorded workload.
//!
//! A child process does the workload under `strace`, which records every write, truncation, creation, rename, removal and
//! sync. From that record the data directory is rebuilt as a power cut would leave it, at each sync and between: what was
//! not synced is lost, kept, or kept in part. Each of these must open, and show the state after some batch, whole, that is no
//! older than the last one whose commit had returned.
//!
//! `REJOIN_CRASH_SECONDS` bounds each workload's exploration (default 25), `REJOIN_CRASH_SEED` chooses another sample,
//! `REJOIN_FIGURES` names a directory that gets the figures as JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests, where a panic is a failure"
)]

mod disk;
mod record;
mod workload;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use disk::{Disk, Kept, Point};
use rejoin_store::{EngineError, StoreError};
use workload::{Found, Workload};

/// Names the directory and the workload of a child process.
const CHILD: &str = "REJOIN_CRASH_CHILD";

#[test]
fn child_works() {
    let Ok(child) = std::env::var(CHILD) else { return };
    let (name, directory) = child.split_once(':').unwrap();
    workload::run(Workload::named(name), Path::new(directory));
}

#[test]
fn a_power_cut_loses_nothing_that_was_synced_in_every_commit() {
    let explored = explore(Workload::named("disk"));
    assert_eq!(explored.corrupt, 0, "a power cut is no damage: {:?}", explored.complaints);
}

#[test]
fn a_power_cut_loses_nothing_that_was_synced_now_and_then() {
    // With several batches on their way, a later one may reach the disk and an earlier one not. That cannot be told from
    // damage to what was synced, so it is called damage: durability "os" promises nothing after a power cut, and the store
    // does not guess. Nothing else may be refused.
    let explored = explore(Workload::named("os"));
    for (complaint, (_, first)) in &explored.complaints {
        let known = ["and more commits follow there", "a journal contradicts itself"];
        assert!(known.iter().any(|known| complaint.contains(known)), "{complaint}: {first}");
    }
}

#[derive(Debug, Default)]
struct Explored {
    points: usize,
    images: usize,
    reopened: usize,
    torn: usize,
    corrupt: usize,
    behind: usize,
    /// What was called damage, how often, and where first.
    complaints: BTreeMap<String, (usize, String)>,
}

impl Explored {
    fn add(&mut self, part: Explored) {
        self.points += part.points;
        self.images += part.images;
        self.reopened += part.reopened;
        self.torn += part.torn;
        self.corrupt += part.corrupt;
        self.behind += part.behind;
        for (complaint, (times, first)) in part.complaints {
            self.complaints.entry(complaint).or_insert((0, first)).0 += times;
        }
    }
}

/// Records a workload, then cuts it at as many points as time allows.
fn explore(workload: Workload) -> Explored {
    let root = shared_memory();
    let recorded = record(workload, root.path());
    let disk = Disk::replay(&recorded, &root.path().join("node"));
    let seconds = std::env::var("REJOIN_CRASH_SECONDS").map_or(25, |text| text.parse().unwrap());
    let seed = std::env::var("REJOIN_CRASH_SEED").map_or(1, |text| text.parse().unwrap());
    let mut random = Random(seed);
    let mut points = disk.points();
    random.shuffle(&mut points);
    // What orders things comes first: the points around syncs, renames and removals.
    points.sort_by_key(|point| !point.matters);
    let (total, begun) = (points.len(), Instant::now());
    let explorer = Explorer {
        disk: &disk,
        points: &points,
        states: &workload::states(workload),
        workload,
        time: Duration::from_secs(seconds),
        harsh: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
        seen: Mutex::default(),
    };
    let mut explored = Explored::default();
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    std::thread::scope(|scope| {
        let explorers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let explorer = &explorer;
                    move || explorer.run(Random(seed ^ (thread as u64 + 1) << 32))
                })
            })
            .collect();
        for part in explorers {
            explored.add(part.join().unwrap());
        }
    });
    println!(
        "workload '{}': {} operations recorded, {} of {total} points, {} different directories opened ({} twice, and \
         written to), {} with a torn end, {} without the batch under way, {} refused as damaged; {} ms",
        workload.name,
        disk.operations(),
        explored.points,
        explored.images,
        explored.reopened,
        explored.torn,
        explored.behind,
        explored.corrupt,
        begun.elapsed().as_millis()
    );
    for (complaint, (times, first)) in &explored.complaints {
        println!("  {times} x {complaint}; first: {first}");
    }
    assert!(explored.images > 20, "too few images: {explored:?}");
    if let Some(directory) = std::env::var_os("REJOIN_FIGURES") {
        let figures = format!(
            r#"{{"points":{},"points_all":{total},"images":{},"torn":{},"refused":{},"seconds":{}}}"#,
            explored.points,
            explored.images,
            explored.torn,
            explored.corrupt,
            begun.elapsed().as_secs()
        );
        std::fs::write(Path::new(&directory).join(format!("crash-{}.json", workload.name)), figures).unwrap();
    }
    explored
}

struct Explorer<'a> {
    disk: &'a Disk,
    points: &'a [Point],
    states: &'a [workload::Documents],
    workload: Workload,
    /// For cuts of other kinds.
    time: Duration,
    harsh: AtomicUsize,
    next: AtomicUsize,
    seen: Mutex<HashSet<(u64, usize)>>,
}

impl Explorer<'_> {
    /// Cuts at one point after another until time is up.
    fn run(&self, mut random: Random) -> Explored {
        let mut explored = Explored::default();
        // The harshest cut at every point there is: what was not synced is gone. Most of these are alike, so it takes
        // seconds, and it alone shows every file that got ahead of another.
        while let Some(point) = self.points.get(self.harsh.fetch_add(1, Ordering::Relaxed)) {
            self.cut(point, Kept::Nothing, &mut explored);
        }
        let deadline = Instant::now() + self.time;
        while Instant::now() < deadline {
            let Some(point) = self.points.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            explored.points += 1;
            self.cut(point, Kept::Everything, &mut explored);
            for _ in 0..3 {
                self.cut(point, Kept::Some(random.next()), &mut explored);
            }
        }
        explored
    }

    /// Rebuilds the directory as one cut would leave it, and opens it.
    fn cut(&self, point: &Point, kept: Kept, explored: &mut Explored) {
        let image = self.disk.image(point.line, kept);
        if !self.seen.lock().unwrap().insert((image.fingerprint(), point.synced)) {
            return;
        }
        explored.images += 1;
        let place = shared_memory();
        let directory = place.path().join("node");
        image.write(&directory);
        let story =
            format!("{} cut at line {} ({}), {kept:?} kept", self.workload.name, point.line, point.what);
        let found = match workload::examine(&directory, &story) {
            Ok(found) => found,
            Err(StoreError::Engine(EngineError::Corrupt { detail, .. })) => {
                explored.corrupt += 1;
                explored.complaints.entry(generalised(&detail)).or_insert((0, story)).0 += 1;
                return;
            }
            Err(error) => panic!("{story}: {error:?}"),
        };
        let Found { batches, documents, torn_bytes } = &found;
        assert!(*batches >= point.synced, "{story}: batch {} was synced, {batches} is there", point.synced);
        assert!(*batches <= point.begun, "{story}: batch {} had begun, {batches} is there", point.begun);
        assert!(*documents == self.states[*batches], "{story}: not the state after batch {batches}");
        explored.torn += usize::from(*torn_bytes > 0);
        explored.behind += usize::from(*batches < point.begun);
        // Now and then: what was recovered stays, and can be written to.
        if explored.images.is_multiple_of(8) {
            explored.reopened += 1;
            let again = workload::examine(&directory, &story);
            let again = again.unwrap_or_else(|error| panic!("{story}, opened twice: {error}"));
            assert_eq!((again.batches, &again.documents), (*batches, documents), "{story}, opened twice");
            workload::go_on(&directory, &story);
        }
    }
}

/// A complaint without its numbers and paths.
fn generalised(detail: &str) -> String {
    let words = detail.split(' ').map(|word| match word {
        word if word.contains('/') => "…",
        word if word.trim_end_matches(',').chars().all(|letter| letter.is_ascii_digit()) => "#",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs the workload in a child process, and gives what strace saw.
fn record(workload: Workload, root: &Path) -> Vec<record::Event> {
    let log = root.join("strace");
    let strace = || {
        Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "100000000", "-e"])
            .arg(format!("trace={}", record::CALLS))
            .arg("-o")
            .arg(&log)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child_works", "--nocapture", "--test-threads=1"])
            .env(CHILD, format!("{}:{}", workload.name, root.join("node").display()))
            .output()
    };
    let output = strace().or_else(|_| {
        let _ = Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends", "strace"])
            .output();
        strace()
    });
    let output = output.expect("strace runs: install it, or run the tests as root");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    record::parse(&std::fs::read(&log).unwrap())
}

/// A directory in memory where there is one: thousands of stores are made.
fn shared_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let builder = |at: &Path| tempfile::Builder::new().prefix("rejoin-crash-").tempdir_in(at);
    builder(memory).or_else(|_| builder(&std::env::temp_dir())).unwrap()
}

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
