//! `kill -9` under load: an acknowledged write is on the node after its restart, and on its peer after reconnect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Item, Launch, OverWhenDropped, agree, alone, eventually};

const KILLS: usize = 12;
const CLIENTS: usize = 8;

/// Paths that each client writes again and again.
const PATHS_PER_CLIENT: u64 = 16;

const HEALED_MAX: Duration = Duration::from_secs(60);

/// Pause of a client that is ahead of the others.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One client's view of its own paths: nobody else writes them.
#[derive(Debug, Default)]
struct Ledger {
    /// The number last tried and the number last acknowledged, by path. Zero stands for no value.
    paths: BTreeMap<String, Entry>,
    next: u64,
    acknowledged: usize,
    deletes: usize,
    cut_off: usize,
}

/// What the threads of one round share.
#[derive(Debug, Default)]
struct Round {
    /// Writes that the node has acknowledged.
    done: AtomicUsize,
    killed: AtomicBool,
    over: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    acknowledged: u64,
    tried: u64,
    /// Whether the write tried or acknowledged was a delete.
    acknowledged_delete: bool,
    tried_delete: bool,
}

impl Ledger {
    /// Writes until the round is over; a write may fail only because the server was killed.
    fn write(&mut self, me: usize, client: &mut Client, round: &Round) {
        let mut mine = 0;
        while !round.over.load(Ordering::SeqCst) {
            // The client of the peer writes as often as one of the node's.
            if me == CLIENTS && mine > round.done.load(Ordering::SeqCst) / CLIENTS {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            mine += 1;
            self.next += 1;
            let number = self.next;
            // Two writes of three replace something, the third is a new path.
            let path = match number % 3 {
                0 => format!("load/{me}/new/{number}"),
                _ => format!("load/{me}/again/{}", number % PATHS_PER_CLIENT),
            };
            let entry = self.paths.entry(path.clone()).or_default();
            let is_delete = number.is_multiple_of(7) && entry.tried > 0 && !entry.tried_delete;
            (entry.tried, entry.tried_delete) = (number, is_delete);
            let written = match is_delete {
                true => client.delete(&path),
                false => client.put(&path, &format!("{{\"number\":{number}}}")),
            };
            match written {
                Ok(()) => {
                    (entry.acknowledged, entry.acknowledged_delete) = (number, is_delete);
                    self.acknowledged += 1;
                    self.deletes += usize::from(is_delete);
                    round.done.fetch_add(usize::from(me < CLIENTS), Ordering::SeqCst);
                }
                Err(error) => {
                    assert!(round.killed.load(Ordering::SeqCst), "a write failed before the kill: {error}");
                    self.cut_off += 1;
                    return;
                }
            }
        }
    }

    /// Every path shows its last acknowledged write, or the one that was tried after it; from here on what is there
    /// counts as acknowledged, since it was read.
    fn check(&mut self, scan: &BTreeMap<String, Item>, place: &str) {
        for (path, entry) in &mut self.paths {
            let found = scan.get(path).map(|item| number(&item.value));
            let is = |number: u64, delete: bool| found == (!delete && number > 0).then_some(number);
            if is(entry.tried, entry.tried_delete) {
                (entry.acknowledged, entry.acknowledged_delete) = (entry.tried, entry.tried_delete);
            } else if is(entry.acknowledged, entry.acknowledged_delete) {
                (entry.tried, entry.tried_delete) = (entry.acknowledged, entry.acknowledged_delete);
            } else {
                panic!("{place}: {path} shows {found:?}, and its client knows {entry:?}");
            }
        }
    }
}

fn number(value: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(value).unwrap();
    value["number"].as_u64().unwrap()
}

#[test]
fn no_acknowledged_write_is_lost_by_twelve_kills_under_load() {
    let _alone = alone();
    let peer = Launch::new("peer").quick().start();
    // The node dials: a new process does so at once, while a peer that saw it die several times waits longer.
    let mut node = Launch::new("node").peer(peer.url()).start();
    // The last client writes to the peer: the node dies while it receives, too.
    let mut ledgers: Vec<Ledger> = (0..=CLIENTS).map(|_| Ledger::default()).collect();
    let started = Instant::now();
    let mut rounds = Vec::new();
    for kill in 0..KILLS {
        // A different moment each time: some while the two are still comparing, some long after.
        let enough = 60 + 200 * kill;
        let round = Round::default();
        thread::scope(|scope| {
            let _over = OverWhenDropped(&round.over);
            for (me, ledger) in ledgers.iter_mut().enumerate() {
                let (mut client, round) = (if me < CLIENTS { node.client() } else { peer.client() }, &round);
                scope.spawn(move || ledger.write(me, &mut client, round));
            }
            eventually("clients write", HEALED_MAX, || match round.done.load(Ordering::SeqCst) {
                writes if writes >= enough => Ok(()),
                writes => Err(format!("{writes} of {enough} writes")),
            });
            round.killed.store(true, Ordering::SeqCst);
            node.kill();
        });
        rounds.push(round.done.load(Ordering::SeqCst));
        node.start();
        let scan = node.scan();
        let place = format!("on the node after kill {kill}");
        // What the peer has taken meanwhile may still be on its way.
        ledgers.iter_mut().take(CLIENTS).for_each(|ledger| ledger.check(&scan, &place));
        let on_both = agree(&[&node, &peer], None, HEALED_MAX);
        let place = format!("on the peer after kill {kill}");
        ledgers.iter_mut().for_each(|ledger| ledger.check(&on_both, &place));
    }
    let on_peer = ledgers[CLIENTS].acknowledged;
    let acknowledged: usize = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    let deletes: usize = ledgers.iter().map(|ledger| ledger.deletes).sum();
    let cut_off: usize = ledgers.iter().map(|ledger| ledger.cut_off).sum();
    println!(
        "{KILLS} x kill -9 under the load of {CLIENTS} clients, durability disk: {acknowledged} acknowledged writes \
         ({deletes} deletes, {on_peer} on the peer meanwhile) on {} paths, on the node by round {rounds:?}; {cut_off} cut off; none missing on the node after \
         each restart nor on its peer after each reconnect; {} s",
        ledgers.iter().map(|ledger| ledger.paths.len()).sum::<usize>(),
        started.elapsed().as_secs(),
    );
}
