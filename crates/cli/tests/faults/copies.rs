//! A machine that is copied, or put back, with its memory: the process goes on under a key, an epoch and numbers that are
//! used elsewhere or have been used already. What was acknowledged under one of two meanings of a number is not taken for
//! the other, and every node says what happened.
//!
//! A process is put into that state by holding its clock and its randomness still while it starts twice from one copy of its
//! data ([`stillness`]): the same epoch is minted again, and numbers begin anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Launch, Proxy, Server, alone, eventually, linked, ms};
use crate::tools::stillness;

const HEALED_MAX: Duration = Duration::from_secs(60);

/// A clock that stands still, for processes that start as copies of one another.
struct Moment {
    directory: TempDir,
    unix: u64,
}

impl Moment {
    /// The present less so many seconds.
    fn ago(seconds: u64) -> Moment {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Moment { directory: tempfile::tempdir().unwrap(), unix: now - seconds }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("still")
    }

    /// A server whose starts are copies of one another.
    fn holds(&self, launch: Launch) -> Launch {
        launch.environment("LD_PRELOAD", stillness()).environment("STILL_WHILE", self.file())
    }

    /// Starts a server in this moment; then time goes on.
    #[track_caller]
    fn start(&self, server: &mut Server) {
        fs::write(self.file(), self.unix.to_string()).unwrap();
        server.start();
        fs::remove_file(self.file()).unwrap();
    }
}

/// A node with some data, stopped, and a copy of its directory.
fn template() -> TempDir {
    let mut server = Launch::new("template").quick().start();
    server.put("before", "\"the copy\"");
    server.stop();
    server.copy_data()
}

/// A server that begins with that directory.
fn with_data(launch: Launch, data: &Path) -> Server {
    let server = launch.create();
    fs::create_dir_all(server.data_dir()).unwrap();
    server.restore_data(data);
    server
}

fn life(server: &Server) -> (Value, Value) {
    let status = server.status();
    (status["serverID"].clone(), status["epoch"].clone())
}

/// Writes so many values; every one is acknowledged.
fn write(server: &Server, below: &str, count: usize) -> BTreeMap<String, String> {
    let put = |number| {
        let (path, value) = (format!("{below}/{number}"), format!("\"{below} wrote {number}\""));
        server.put(&path, &value);
        (path, value)
    };
    (0..count).map(put).collect()
}

/// Which of the values a server does not show.
fn missing(server: &Server, values: &BTreeMap<String, String>) -> usize {
    let scan = server.scan();
    values.iter().filter(|(path, value)| scan.get(*path).is_none_or(|item| item.value != **value)).count()
}

/// Waits until a server has all of these values.
#[track_caller]
fn has(server: &Server, values: &BTreeMap<String, String>) {
    eventually(&format!("{} has {} values", server.name(), values.len()), HEALED_MAX, || {
        match missing(server, values) {
            0 => Ok(()),
            count => Err(format!("{count} are missing")),
        }
    });
}

/// Waits until a server has settled with all of its links, whatever came of it.
#[track_caller]
fn settled(servers: &[&Server]) {
    let mut last = Vec::new();
    eventually("nothing changes any more", HEALED_MAX, || {
        for server in servers {
            server.anti_entropy();
        }
        let now: Vec<_> = servers.iter().map(|server| server.scan()).collect();
        let same = last == now;
        last = now;
        if same { Ok(()) } else { Err("something did".to_owned()) }
    });
}

/// Waits until a server says that this life is doubted, wherever an operator looks.
#[track_caller]
fn says_so(server: &Server, life: &(Value, Value), reason: &str) {
    eventually(&format!("{} says that a life is doubted", server.name()), HEALED_MAX, || {
        let status = server.status();
        let doubted = status["doubts"].as_array().unwrap().iter().any(|doubt| {
            (&doubt["node"], &doubt["epoch"], &doubt["reason"]) == (&life.0, &life.1, &reason.into())
        });
        if doubted { Ok(()) } else { Err(status["doubts"].to_string()) }
    });
    let status = server.status();
    let alarms = status["alarms"].as_array().unwrap();
    assert!(alarms.iter().any(|alarm| alarm["kind"] == "life-doubted"), "{status}");
    let metrics = server.ask("GET", "/metrics", None).text();
    assert!(metrics.contains("rejoin_alarms{kind=\"life-doubted\"}"), "{metrics}");
    assert!(metrics.lines().any(|line| line.starts_with("rejoin_doubted_lives ") && !line.ends_with(" 0")));
    // Still ready: it serves, and that somebody has to look is no reason to take it away.
    let ready = server.ask("GET", "/readyz?verbose", None).text();
    assert!(ready.contains("life-doubted"), "{ready}");
}

/// NTP sets the clock of a machine that has just started, which is no jump.
fn clock_has_settled() {
    eventually("the machine has been up for a while", Duration::from_secs(300), || {
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        if seconds > 200.0 { Ok(()) } else { Err(format!("{seconds} s")) }
    });
}

/// For a server that must find out otherwise: a clock that stood still and goes on has jumped.
const NO_CLOCK: &str = "[machine]\nclock_jumps = false\n";

#[test]
fn a_machine_put_back_with_its_memory_is_seen_and_nothing_is_removed_after() {
    let _alone = alone();
    clock_has_settled();
    let moment = Moment::ago(3_600);
    let data = template();
    let mut node = with_data(moment.holds(Launch::new("node").quick().config(NO_CLOCK)), data.path());
    let way = Proxy::to(node.port());
    let mut peer = Launch::new("peer").quick().peer(way.url()).start();
    moment.start(&mut node);
    let before = life(&node);
    linked(&peer, 1, HEALED_MAX);
    let first = write(&node, "first", 70);
    has(&peer, &first);

    // Back to the moment of its start, apart from its peer; then its clock is set. It takes as many writes again, all under
    // numbers that the peer has.
    way.cut();
    node.kill();
    node.restore_data(data.path());
    node.configure("");
    moment.start(&mut node);
    assert_eq!(life(&node), before, "the same life begins again");
    let (started, second) = (Instant::now(), write(&node, "second", 70));
    way.heal();
    for server in [&node, &peer] {
        says_so(server, &before, "clock-jump");
        println!("put back: {} says so {} ms after the clock was set", server.name(), ms(started));
    }
    let now = life(&node);
    assert_ne!(now.0, before.0, "it goes on under another identity");
    // What is written now is everybody's.
    let third = write(&node, "third", 10);
    has(&peer, &third);
    settled(&[&node, &peer]);
    let lost =
        (missing(&peer, &first), missing(&node, &second), missing(&peer, &third), missing(&node, &third));
    println!(
        "put back: {lost:?} of 70, 70, 10 and 10 are missing where they were; none was removed after it was seen"
    );
    assert_eq!(lost, (0, 0, 0, 0));

    // It is known for good.
    for server in [&mut node, &mut peer] {
        server.stop();
        server.start();
        says_so(server, &before, "clock-jump");
    }
    settled(&[&node, &peer]);
    assert_eq!((missing(&peer, &first), missing(&node, &second)), (0, 0));
    assert_eq!(life(&node).0, now.0);
}

#[test]
fn a_machine_copied_with_its_memory_is_seen_by_its_original_and_behind_a_third_node() {
    let _alone = alone();
    for behind in [false, true] {
        let moment = Moment::ago(0);
        let data = template();
        let plan = |name| moment.holds(Launch::new(name).quick().config(NO_CLOCK));
        let third = Launch::new("third").quick().start();
        let original = plan("original").peer(third.url());
        // The copy links to the original, or to the third node that the original is linked to.
        let way = Proxy::to(if behind { third.port() } else { original.port() });
        let mut original = with_data(original, data.path());
        let mut copy = with_data(plan("copy").peer(way.url()), data.path());
        way.cut();
        moment.start(&mut original);
        moment.start(&mut copy);
        let before = life(&original);
        assert_eq!(before, life(&copy), "two processes, one life");
        let of_original = write(&original, "original", 20);
        let of_copy = write(&copy, "copy", 20);
        has(&third, &of_original);
        way.heal();
        let started = Instant::now();
        for server in [&original, &copy, &third] {
            says_so(server, &before, "twin");
            println!("copied: {} says so {} ms after they met", server.name(), ms(started));
        }
        let ids = [life(&original).0, life(&copy).0];
        assert!(
            ids[0] != ids[1] && !ids.contains(&before.0),
            "each goes on under an identity of its own: {ids:?}"
        );
        let all = [&third, &original, &copy];
        for server in [&original, &copy] {
            let later = write(server, &format!("later/{}", server.name()), 5);
            all.iter().for_each(|other| has(other, &later));
        }
        settled(&all);
        let lost =
            [missing(&original, &of_original), missing(&third, &of_original), missing(&copy, &of_copy)];
        println!(
            "copied, {}: {lost:?} of 20 are missing where they were",
            if behind { "behind a third node" } else { "linked to its original" }
        );
        assert_eq!(lost, [0, 0, 0]);
    }
}

/// The file is where a hypervisor's agent says which generation the machine is of.
#[test]
fn a_new_generation_of_the_machine_is_another_identity_before_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("generation");
    fs::write(&file, "1").unwrap();
    let config = format!("[machine]\ngeneration_file = {:?}\n", file.display().to_string());
    let mut server = Launch::new("node").quick().config(&config).start();
    let before = life(&server);
    server.put("first", "1");
    fs::write(&file, "2").unwrap();
    // No look of the clock's is needed for it: the write itself looks.
    let written = server.put("second", "2");
    let after = life(&server);
    assert_ne!(after.0, before.0);
    let version = written["version"].as_str().unwrap();
    assert!(version.starts_with(after.0.as_str().unwrap()), "{version} is one of {}", after.0);
    says_so(&server, &before, "generation");
    // The same generation again is no other one, also after a restart.
    server.stop();
    server.start();
    server.put("third", "3");
    assert_eq!(life(&server).0, after.0);
    says_so(&server, &before, "generation");
}
