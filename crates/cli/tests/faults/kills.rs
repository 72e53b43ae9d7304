//! `kill -9` again and again: after every restart, every acknowledged write is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Item, Launch, alone, ms};

/// Rounds, unless `REJOIN_TEST_KILLS` says otherwise.
const KILLS: u64 = 150;

/// Clients that write at a time.
const CLIENTS: u64 = 3;

/// Paths that each client writes again and again; it also writes new ones.
const PATHS: u64 = 12;

/// The load before a kill lasts at most that long.
const LOAD_MS_MAX: u64 = 120;

/// One write of three is a delete where there is something to delete; none stands for no value.
type State = Option<u64>;

/// What one client knows of one of its paths. Nobody else writes there.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: State,
    /// Sent, and cut off before there was an answer.
    tried: Option<State>,
}

#[derive(Debug, Default)]
struct Ledger {
    paths: BTreeMap<String, Known>,
    number: u64,
    acknowledged: u64,
}

impl Ledger {
    fn write_until_killed(&mut self, me: u64, client: &mut Client, killed: &AtomicBool, done: &AtomicUsize) {
        loop {
            self.number += 1;
            let number = self.number;
            let path = match number % 4 {
                0 => format!("kill/{me}/new/{number}"),
                _ => format!("kill/{me}/again/{}", number % PATHS),
            };
            let known = self.paths.entry(path.clone()).or_default();
            let is_delete = number.is_multiple_of(3) && known.acknowledged.is_some();
            let tried = (!is_delete).then_some(number);
            // Now and then a value that takes several pages.
            let filler = if number.is_multiple_of(5) { 9_000 } else { 30 };
            let written = match is_delete {
                true => client.delete(&path),
                false => client.put(&path, &format!("[{number},\"{}\"]", "z".repeat(filler))),
            };
            if let Err(error) = written {
                assert!(killed.load(Ordering::SeqCst), "a write failed before the kill: {error}");
                known.tried = Some(tried);
                return;
            }
            known.acknowledged = tried;
            self.acknowledged += 1;
            done.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Every path shows what was acknowledged last, or the write that was cut off after it. What was read counts as
    /// acknowledged from here on.
    fn check(&mut self, scan: &BTreeMap<String, Item>, round: u64) {
        for (path, known) in &mut self.paths {
            let found = scan.get(path).map(|item| {
                let digits = item.value.trim_start_matches('[').split(',').next().unwrap();
                digits.parse::<u64>().unwrap()
            });
            let tried = known.tried.take();
            assert!(
                found == known.acknowledged || Some(found) == tried,
                "round {round}: {path} shows {found:?}; acknowledged was {:?}, tried {tried:?}",
                known.acknowledged
            );
            known.acknowledged = found;
        }
    }
}

#[test]
fn every_acknowledged_write_survives_a_hundred_and_fifty_kills() {
    let _alone = alone();
    let rounds: u64 = std::env::var("REJOIN_TEST_KILLS").map_or(KILLS, |rounds| rounds.parse().unwrap());
    let mut server = Launch::new("killed").start();
    let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(|_| Ledger::default()).collect();
    let started = Instant::now();
    let (mut restart_ms, mut restart_ms_max, mut idle, mut at_start) = (0, 0, 0, 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let load = Duration::from_millis((random >> 33) % LOAD_MS_MAX);
        let (killed, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for (ledger, me) in ledgers.iter_mut().zip(0..) {
                let (mut client, killed, done) = (server.client(), &killed, &done);
                scope.spawn(move || ledger.write_until_killed(me, &mut client, killed, done));
            }
            // The moment is what is tested, not waited for.
            thread::sleep(load);
            killed.store(true, Ordering::SeqCst);
            server.kill();
        });
        idle += u64::from(done.load(Ordering::SeqCst) == 0);
        // One process of ten dies once more while it starts.
        if round % 10 == 9 {
            server.spawn();
            thread::sleep(Duration::from_millis((random >> 20) % 40));
            server.kill();
            at_start += 1;
        }
        let restarted = Instant::now();
        server.start();
        let took = ms(restarted);
        restart_ms += took;
        restart_ms_max = restart_ms_max.max(took);
        let scan = server.scan();
        ledgers.iter_mut().for_each(|ledger| ledger.check(&scan, round));
        let known: usize = ledgers.iter().map(|ledger| ledger.paths.len()).sum();
        assert!(scan.len() <= known, "round {round}: there are documents that nobody wrote");
    }
    assert!(idle < rounds / 2, "{idle} rounds wrote nothing: they tested little");
    let acknowledged: u64 = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    server.stop();
    println!(
        "{rounds} x kill -9 at a random moment under load and {at_start} while starting: {acknowledged} acknowledged writes \
         of {CLIENTS} clients, none missing after any restart; restarts took {} ms on average, {restart_ms_max} ms at \
         most; {} s",
        restart_ms / u128::from(rounds.max(1)),
        started.elapsed().as_secs(),
    );
    if let Some(directory) = std::env::var_os("REJOIN_FIGURES") {
        let figures = format!(
            r#"{{"kills":{},"acknowledged":{acknowledged},"lost":0,"restart_ms_max":{restart_ms_max}}}"#,
            rounds + at_start
        );
        std::fs::write(std::path::Path::new(&directory).join("kills.json"), figures).unwrap();
    }
}
