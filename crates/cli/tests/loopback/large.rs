//! Documents larger than any frame, and messages that take much: everything else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::bytes::Bytes;
use rejoin::{Dot, Epoch, NodeId};
use rejoin_link::{Link, LinkSender};
use rejoin_replica::config::PART_BYTES;
use rejoin_replica::json::Json;
use rejoin_replica::message::Entry;
use rejoin_replica::path::Path;
use rejoin_replica::{Body, Content, Document, Message, Version, codec, packing, parts};

use crate::bad_peers::{dial_as, identity, runtime};
use crate::harness::{Launch, Server, eventually, linked};

const ARRIVED_MAX: Duration = Duration::from_secs(120);
const MIB: usize = 1024 * 1024;

/// A document of so many versions, each by a write of its own and of that many bytes, stamped by the clock of now.
fn siblings(count: u64, bytes: usize) -> Document {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hlc = rejoin::Hlc((u64::try_from(now.as_millis()).unwrap() - 1_000) << 16);
    let version = |seq| {
        let value = Json::trusted(format!("\"{}\"", "x".repeat(bytes)));
        let dot = Dot { node: NodeId([9; 16]), epoch: Epoch(1 << 16), seq };
        Version { dot, hlc, body: Content::from(Body::Value(value)) }
    };
    let versions: Vec<Version> = (1..=count).map(version).collect();
    Document::from_parts(versions.iter().map(|version| version.dot).collect(), versions).unwrap()
}

fn push(path: &str, document: Document) -> Vec<u8> {
    let path = Path::parse(path).unwrap();
    codec::encode(&Message::Push(vec![Entry { path, document, superseded: Vec::new() }]))
}

/// How many versions are live at a path beside the one that is shown.
fn losers(server: &Server, path: &str) -> u64 {
    let answer = server.send("GET", &format!("/api/{path}?meta=true"), None);
    if answer.status == 200 { answer.json()["conflicts"].as_u64().unwrap() } else { 0 }
}

/// Waits until a path has so many versions at a server.
#[track_caller]
fn arrives(server: &Server, path: &str, versions: u64) {
    eventually(&format!("{versions} versions of {path} are at {}", server.name()), ARRIVED_MAX, || {
        match losers(server, path) {
            losers if losers + 1 == versions => Ok(()),
            losers => Err(format!("{losers} besides the one that is shown")),
        }
    });
}

/// Sends a frame in parts over a link that reads on, so that it stays up.
fn send(link: Link, frame: &[u8]) -> LinkSender {
    let (sender, mut receiver) = link.split();
    runtime().spawn(async move { while let Ok(Some(_)) = receiver.recv().await {} });
    runtime().block_on(async {
        for part in parts::split(frame, PART_BYTES) {
            sender.send(Bytes::from(part)).await.unwrap();
        }
    });
    sender
}

#[test]
fn seventy_siblings_of_a_mebibyte_arrive_and_hold_nothing_back() {
    let victim = Launch::new("victim").quick().start();
    let friend = Launch::new("friend").quick().peer(victim.url()).start();
    linked(&victim, 1, ARRIVED_MAX);
    let since = || {
        let peers = victim.status()["peers"].as_array().unwrap().clone();
        peers.iter().find(|peer| peer["name"] == "friend").unwrap()["since"].clone()
    };
    let before = since();

    let nothing = friend.send("GET", "/api/large", None).header("rejoin-context").unwrap().to_owned();

    // From a peer, in parts: merging is never refused.
    let frame = push("large", siblings(70, MIB));
    let started = Instant::now();
    let _link = send(dial_as(&identity("peer"), &victim).unwrap(), &frame);
    victim.put("small", "1");
    eventually("the small one arrives", ARRIVED_MAX, || {
        friend.get("small").ok_or_else(|| "not yet".to_owned())
    });
    arrives(&friend, "large", 70);
    let sent = frame.len();
    println!(
        "a document of {sent} bytes reached the second node in {:?}; resident: {} and {} KiB",
        started.elapsed(),
        victim.resident_kib(),
        friend.resident_kib()
    );
    assert_eq!(since(), before, "the link was never down");
    let alarms = friend.status()["alarms"].to_string();
    assert!(alarms.contains("siblings") && alarms.contains("large"), "{alarms}");

    // A client that adds one more is told to read and merge; one that has read is not refused.
    let seen_nothing = [("Rejoin-Context", nothing.as_str())];
    let refused = friend.client().send("PUT", "/api/large", &seen_nothing, Some("1")).unwrap();
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.json()["error"], "too_many_siblings");
    friend.put("large", "\"merged\"");
    eventually("the merge arrives", ARRIVED_MAX, || match victim.get("large") {
        Some(value) if value == "\"merged\"" => Ok(()),
        other => Err(format!("{:?} bytes", other.map(|value| value.len()))),
    });
}

#[test]
fn five_nodes_that_wrote_the_largest_value_each_become_equal() {
    let config = "[limits]\nvalue_bytes = \"16MiB\"";
    let servers: Vec<Server> =
        (0..5).map(|at| Launch::new(&format!("n{at}")).quick().config(config).start()).collect();
    for (at, server) in servers.iter().enumerate() {
        server.put("large", &format!("\"{at}{}\"", "x".repeat(16 * MIB - 3)));
        server.put(&format!("small/{at}"), "1");
    }
    for server in &servers[1..] {
        let peer = format!("{{\"url\":\"{}\"}}", servers[0].url());
        server.ask("POST", "/api/_peers", Some(&peer));
    }
    let started = Instant::now();
    for server in &servers {
        for at in 0..5 {
            let path = format!("small/{at}");
            eventually(&path, ARRIVED_MAX, || server.get(&path).ok_or_else(|| "not yet".to_owned()));
        }
        arrives(server, "large", 5);
    }
    let resident: Vec<u64> = servers.iter().map(Server::resident_kib).collect();
    println!(
        "five versions of 16 MiB are on five nodes after {:?}; resident KiB: {resident:?}",
        started.elapsed()
    );
}

#[test]
fn a_frame_that_stands_for_much_delays_no_client() {
    let victim = Launch::new("victim").quick().start();
    victim.put("small", "1");
    // 50,000 documents of a kilobyte each, packed; most of what differs is random, as in real values.
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let entries: Vec<Entry> = (1..=50_000u64)
        .map(|seq| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let text = format!("\"{noise:x}{:x}{}\"", noise.rotate_left(17), "x".repeat(1_000));
            let mut document = siblings(1, 0);
            let mut version = document.versions()[0].clone();
            version.dot.seq = seq;
            version.body = Content::from(Body::Value(Json::trusted(text)));
            document = Document::from_parts([version.dot].into_iter().collect(), vec![version]).unwrap();
            Entry { path: Path::parse(&format!("many/{seq}")).unwrap(), document, superseded: Vec::new() }
        })
        .collect();
    let frame = packing::pack(codec::encode(&Message::Push(entries)));
    let stop = AtomicBool::new(false);
    let before_kib = victim.resident_kib();
    let mut client = victim.client();
    let (slowest, asked) = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let (mut slowest, mut asked) = (Duration::ZERO, 0);
            while !stop.load(Ordering::Relaxed) {
                let started = Instant::now();
                let answer = client.send("GET", "/api/small", &[], None).unwrap();
                assert_eq!(answer.status, 200);
                slowest = slowest.max(started.elapsed());
                asked += 1;
            }
            (slowest, asked)
        });
        let _link = send(dial_as(&identity("peer"), &victim).unwrap(), &frame);
        eventually("the last document is there", ARRIVED_MAX, || {
            victim
                .client()
                .send("GET", "/api/many/50000", &[], None)
                .map_err(|error| error.to_string())
                .and_then(|answer| if answer.status == 200 { Ok(()) } else { Err("not yet".to_owned()) })
        });
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    });
    println!(
        "a packed frame of {} bytes: {asked} GETs, the slowest took {slowest:?}; resident {before_kib} KiB before, {} after",
        frame.len(),
        victim.resident_kib()
    );
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}
