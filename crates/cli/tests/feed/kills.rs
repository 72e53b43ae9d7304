//! Two hundred kills, of connections and of the server, while others write: no subscriber misses anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Launch, OverWhenDropped, alone};
use crate::subscriber::{Subscriber, Thread, Way};

/// Kills, unless `REJOIN_TEST_FEED_KILLS` says otherwise.
const KILLS: u64 = 200;

/// One kill of this many is one of the server; the others cut a connection.
const SERVER_KILL_EVERY: u64 = 8;

/// The seed, unless `REJOIN_TEST_FEED_SEED` says otherwise.
const SEED: u64 = 7;

/// Before a kill, at most.
const LIFE_MS_MAX: u64 = 70;

/// Clients that write at a time, and the paths that each writes again and again.
const WRITERS: u64 = 3;
const PATHS: u64 = 80;

/// Values that are there before anybody subscribes, so that snapshots are cut too.
const OLD_VALUES: u64 = 600;

/// Told last, and to everybody: an ancestor of all that is written.
const LAST_PATH: &str = "w";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_subscriber_misses_anything_over_two_hundred_kills() {
    let _alone = alone();
    let (kills, seed) = (setting("REJOIN_TEST_FEED_KILLS", KILLS), setting("REJOIN_TEST_FEED_SEED", SEED));
    println!("REJOIN_TEST_FEED_KILLS={kills} REJOIN_TEST_FEED_SEED={seed}");
    let started = Instant::now();
    let mut server = Launch::new("killed").quick().start();
    let mut client = server.client();
    for number in 0..OLD_VALUES {
        client.put(&format!("w/{}/old/{number}", number % WRITERS), &number.to_string()).unwrap();
    }
    let mut subscribers = [
        Subscriber::new(Way::Lines, server.port(), &[""]),
        Subscriber::new(Way::ServerSent, server.port(), &["w/0"]),
        Subscriber::new(Way::LongPoll, server.port(), &["w/1", "w/2/7", "w/2/old"]),
    ];
    let threads = [const { Thread::new() }; 3];
    let last = json!("the end");
    let (over, given_up, written) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let mut cuts = 0;
    thread::scope(|scope| {
        let _ends = (OverWhenDropped(&over), OverWhenDropped(&given_up));
        let following: Vec<_> = subscribers
            .iter_mut()
            .zip(&threads)
            .map(|(subscriber, thread)| {
                let (last, given_up) = (&last, &given_up);
                scope.spawn(move || subscriber.follow(thread, LAST_PATH, last, given_up))
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|me| {
                let (client, over, written) = (server.client(), &over, &written);
                scope.spawn(move || write(me, client, Random(seed * 1_000 + me), over, written))
            })
            .collect();
        let mut random = Random(seed);
        for kill in 0..kills {
            // The moment is what is tested, not waited for.
            thread::sleep(Duration::from_millis(random.below(LIFE_MS_MAX)));
            if kill % SERVER_KILL_EVERY == 0 {
                server.kill();
                server.start();
            } else {
                let at = usize::try_from(random.below(3)).unwrap();
                cuts += u64::from(threads[at].cut());
            }
        }
        over.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().unwrap();
        }
        server.put(LAST_PATH, &last.to_string());
        for subscriber in following {
            subscriber.join().unwrap();
        }
    });
    let stored: BTreeMap<String, Value> = server
        .scan()
        .into_iter()
        .map(|(path, item)| (path, serde_json::from_str(&item.value).unwrap()))
        .collect();
    for subscriber in &subscribers {
        let expected: BTreeMap<String, Value> = stored
            .iter()
            .filter(|(path, _)| subscriber.covers(path))
            .map(|(p, v)| (p.clone(), v.clone()))
            .collect();
        assert!(expected.len() > 100, "there is something to compare");
        assert_eq!(subscriber.held(), expected, "{:?}", subscriber.seen);
        let seen = subscriber.seen;
        assert_eq!(
            (seen.snapshot_ends, seen.resyncs),
            (1, 0),
            "every connection went on from the last: {seen:?}"
        );
        assert!(seen.connections > kills / SERVER_KILL_EVERY, "it was cut again and again: {seen:?}");
    }
    let written = written.load(Ordering::SeqCst);
    assert!(written > kills && cuts > kills / 3, "{written} writes, {cuts} cuts: that tested little");
    server.stop();
    println!(
        "{kills} kills ({} of the server, {cuts} of connections that were there), {written} writes, {} s",
        kills.div_ceil(SERVER_KILL_EVERY),
        started.elapsed().as_secs()
    );
    for subscriber in &subscribers {
        println!("{:?}", subscriber.seen);
    }
}

/// Writes and deletes until it is over, whatever becomes of the server meanwhile.
fn write(me: u64, mut client: Client, mut random: Random, over: &AtomicBool, written: &AtomicU64) {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let path = match random.below(20) {
            0 => format!("w/{me}"),
            1 => format!("w/{me}/old/{}", random.below(OLD_VALUES)),
            _ => format!("w/{me}/{}", random.below(PATHS)),
        };
        let outcome = match random.below(4) {
            // Often there is nothing to delete.
            0 => client.send("DELETE", &format!("/api/{path}"), &[], None).map(|_| ()),
            _ => client.put(&path, &format!("[{me},{number}]")),
        };
        match outcome {
            Ok(()) => written.fetch_add(1, Ordering::SeqCst),
            // Killed. What was written is what the server has.
            Err(_) => 0,
        };
        // A pace that leaves the machine some room; nothing depends on it.
        thread::sleep(Duration::from_millis(1));
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
