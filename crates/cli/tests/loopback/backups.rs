//! A data directory that goes back in time: nothing that any node still has is lost, and no deleted value comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Launch, Oracle, OverWhenDropped, Proxy, Server, agree, alone, eventually, linked};

const HEALED_MAX: Duration = Duration::from_secs(40);

/// The pair, in step, with something written by each.
struct Story {
    node: Server,
    peer: Server,
    /// The way from the peer to the node.
    way: Proxy,
    oracle: Oracle,
}

impl Story {
    fn begin() -> Story {
        let node = Launch::new("node").quick().start();
        let way = Proxy::to(node.port());
        let peer = Launch::new("peer").quick().peer(way.url()).start();
        let mut story = Story { node, peer, way, oracle: Oracle::default() };
        for number in 0..40 {
            story.put_on_node(&format!("old/{number}"), "before the backup");
            story.put_on_peer(&format!("peers/{number}"), "before the backup");
        }
        story.in_step();
        story
    }

    fn put_on_node(&mut self, path: &str, value: &str) {
        put(&self.node, &mut self.oracle, path, value);
    }

    fn put_on_peer(&mut self, path: &str, value: &str) {
        put(&self.peer, &mut self.oracle, path, value);
    }

    fn delete_on_node(&mut self, path: &str) {
        self.node.delete(path);
        self.oracle.delete(path);
    }

    fn delete_on_peer(&mut self, path: &str) {
        self.peer.delete(path);
        self.oracle.delete(path);
    }

    #[track_caller]
    fn in_step(&self) {
        agree(&[&self.node, &self.peer], Some(&self.oracle), HEALED_MAX);
    }

    /// What the node does between the backup and the restore, all of it synced to the peer.
    fn live_on_after_the_backup(&mut self) {
        for number in 0..40 {
            self.put_on_node(&format!("later/{number}"), "after the backup");
        }
        for number in 0..10 {
            self.put_on_node(&format!("old/{number}"), "replaced after the backup");
            self.delete_on_node(&format!("old/{}", 10 + number));
            self.put_on_peer(&format!("peers/{number}"), "replaced after the backup");
            self.delete_on_peer(&format!("peers/{}", 10 + number));
            // Each deletes and replaces what the other wrote.
            self.delete_on_node(&format!("peers/{}", 20 + number));
            self.delete_on_peer(&format!("old/{}", 20 + number));
        }
        self.in_step();
        for number in 0..5 {
            self.put_on_peer(&format!("later/{number}"), "replaced by the peer");
            self.delete_on_peer(&format!("later/{}", 5 + number));
        }
        self.in_step();
    }

    /// The node comes back with an old store, takes writes on its own, then meets its peer again.
    #[track_caller]
    fn go_back_and_meet(mut self, backup: &std::path::Path, what: &str) {
        let epoch = self.node.status()["epoch"].clone();
        self.way.cut();
        eventually("the peer is alone", HEALED_MAX, || match self.peer.peers() {
            peers if peers.iter().all(|peer| peer["state"] != "connected") => Ok(()),
            peers => Err(format!("{peers:?}")),
        });
        self.node.stop();
        self.node.restore_data(backup);
        self.node.start();
        assert_ne!(self.node.status()["epoch"], epoch, "an epoch is used once");
        assert_eq!(self.node.get("later/20"), None, "the old store is back");

        // New writes under the same node id, on new paths, and on paths whose newer values only the peer has.
        for number in 0..30 {
            self.put_on_node(&format!("restored/{number}"), "after the restore");
        }
        for number in 0..3 {
            self.put_on_node(&format!("old/{number}"), "written again after the restore");
            self.put_on_node(&format!("old/{}", 10 + number), "written again over a delete");
            self.put_on_node(&format!("later/{}", 20 + number), "written again after the restore");
        }
        // And on the peer meanwhile.
        for number in 0..30 {
            self.put_on_peer(&format!("apart/{number}"), "while the node was away");
        }
        self.delete_on_peer("old/39");
        self.way.heal();
        linked(&self.node, 1, HEALED_MAX);
        for number in 30..50 {
            self.put_on_node(&format!("restored/{number}"), "after the reconnect");
        }
        self.delete_on_node("old/38");
        self.in_step();

        // What the node had written over before it knew is in the history of the peer that had it.
        for number in 0..3 {
            let replaced = text("replaced after the backup");
            found_in_history(&self.peer, &format!("old/{number}"), &replaced);
            found_in_history(&self.peer, &format!("later/{}", 20 + number), &text("after the backup"));
        }
        // Rounds and restarts change nothing.
        let round = self.peer.anti_entropy();
        assert_eq!((&round["unequal"], &round["repaired"]), (&0.into(), &0.into()), "{round}");
        self.node.kill();
        self.node.start();
        linked(&self.peer, 1, HEALED_MAX);
        self.in_step();
        for server in [&self.node, &self.peer] {
            self.oracle.check_deleted(server);
            assert_eq!(server.status()["conflicts"]["open"], 0, "{}", server.name());
        }
        println!(
            "{what}: old data directory put back, 39 writes before and 21 after the reconnect; {} values and {} deletes \
             as acknowledged on both nodes, nothing lost, nothing back from the dead",
            self.oracle.len(),
            self.oracle.deleted().len(),
        );
    }
}

#[test]
fn a_backup_taken_while_stopped_loses_nothing_and_revives_nothing() {
    let _alone = alone();
    let mut story = Story::begin();
    story.node.stop();
    let backup = story.node.copy_data();
    story.node.start();
    story.live_on_after_the_backup();
    story.go_back_and_meet(backup.path(), "backup of a stopped node");
}

#[test]
fn a_backup_taken_while_running_loses_nothing_and_revives_nothing() {
    let _alone = alone();
    let mut story = Story::begin();
    let backup = story.node.copy_data();
    story.live_on_after_the_backup();
    story.go_back_and_meet(backup.path(), "backup of a running node");
}

/// A copy made file by file under load is no snapshot: it may refuse to open, and says so. When it opens, what it
/// holds is a state that was, and its peer makes it whole.
#[test]
fn a_backup_taken_under_load_is_refused_or_made_whole() {
    let _alone = alone();
    let (mut opened, mut refused) = (0, 0);
    let mut story = Story::begin();
    for attempt in 0..4 {
        let mut client = story.node.client();
        let written = Mutex::new(Oracle::default());
        let stop = AtomicBool::new(false);
        let mut backup = None;
        thread::scope(|scope| {
            let _over = OverWhenDropped(&stop);
            let (written, stop) = (&written, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let (path, value) = (format!("load/{attempt}/{number}"), text("under load").to_string());
                    client.put(&path, &value).unwrap();
                    written.lock().unwrap().put(&path, &value);
                    number += 1;
                }
            });
            let writes = |least: usize| {
                eventually("there is load", HEALED_MAX, || match written.lock().unwrap().len() {
                    writes if writes >= least => Ok(()),
                    writes => Err(format!("{writes} writes")),
                });
            };
            writes(50);
            backup = Some(story.node.copy_data());
            writes(100);
        });
        story.oracle.join(written.into_inner().unwrap());
        story.in_step();
        story.node.stop();
        let whole = story.node.copy_data();
        story.node.restore_data(backup.unwrap().path());
        story.node.spawn();
        let outcome = eventually("the copy opens or is refused", HEALED_MAX, || {
            match story.node.client().send("GET", "/readyz", &[], None) {
                Ok(answer) if answer.status == 200 => Ok(true),
                _ if story.node.has_ended() => Ok(false),
                answer => Err(format!("{answer:?}")),
            }
        });
        if outcome {
            opened += 1;
        } else {
            refused += 1;
            assert_eq!(story.node.ends(HEALED_MAX).code(), Some(74), "a damaged store");
            story.node.restore_data(whole.path());
            story.node.start();
        }
        story.in_step();
        story.put_on_node(&format!("after/{attempt}"), "goes on");
        story.in_step();
    }
    println!(
        "backups copied under load: {opened} opened and were made whole by the peer, {refused} were refused as damaged"
    );
}

/// A copied directory is a clone when both run: they find out, one takes a new identity, and nobody loses a write.
#[test]
fn a_copy_that_runs_beside_its_original_takes_an_identity_of_its_own() {
    // Linked to each other, and linked to a third node only.
    for hub in [false, true] {
        let third = Launch::new("third").quick().start();
        let url = third.url();
        let through_hub = |plan: Launch| if hub { plan.peer(&url) } else { plan };
        let mut original = through_hub(Launch::new("original").quick()).start();
        let mut oracle = Oracle::default();
        for number in 0..20 {
            put(&original, &mut oracle, &format!("before/{number}"), "before the copy");
        }
        original.stop();
        let copy = original.copy_data();
        original.start();
        let id = original.status()["serverID"].clone();
        let plan = through_hub(Launch::new("clone").quick());
        let mut clone = if hub { plan } else { plan.peer(original.url()) }.create();
        std::fs::create_dir_all(clone.data_dir()).unwrap();
        clone.restore_data(copy.path());
        // Both write under one identity before they have met.
        for number in 0..20 {
            put(&original, &mut oracle, &format!("original/{number}"), "on the original");
        }
        clone.start();
        for number in 0..20 {
            put(&clone, &mut oracle, &format!("clone/{number}"), "on the clone");
        }
        let all: Vec<&Server> = if hub { vec![&third, &original, &clone] } else { vec![&original, &clone] };
        eventually("the clone is told from its original", HEALED_MAX, || {
            let ids: Vec<Value> =
                [&original, &clone].map(|server| server.status()["serverID"].clone()).to_vec();
            if ids[0] == ids[1] { Err(format!("both are {}", ids[0])) } else { Ok(()) }
        });
        for number in 0..20 {
            put(&original, &mut oracle, &format!("original/later/{number}"), "on the original, later");
            put(&clone, &mut oracle, &format!("clone/later/{number}"), "on the clone, later");
        }
        agree(&all, Some(&oracle), HEALED_MAX);
        original.delete("clone/0");
        oracle.delete("clone/0");
        clone.delete("original/0");
        oracle.delete("original/0");
        agree(&all, Some(&oracle), HEALED_MAX);
        let kept = [&original, &clone].iter().filter(|server| server.status()["serverID"] == id).count();
        println!(
            "a clone {}: told apart ({kept} of the two kept the old identity), {} values of both equal everywhere",
            if hub { "behind a third node" } else { "linked to its original" },
            oracle.len(),
        );
    }
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn put(server: &Server, oracle: &mut Oracle, path: &str, value: &str) {
    let value = text(value).to_string();
    server.put(path, &value);
    oracle.put(path, &value);
}

#[track_caller]
fn found_in_history(server: &Server, path: &str, value: &Value) {
    let history = server.history(path);
    let found = history.iter().any(|version| version["value"] == *value);
    assert!(found, "{value} was the value of {path} on {}: {history:?}", server.name());
}
