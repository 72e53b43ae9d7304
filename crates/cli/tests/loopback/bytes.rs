//! What a reconnect costs: it follows the difference, not the number of documents.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Proxy, Server, Traffic, agree, alone, eventually, linked, ms};

const DOCUMENTS: usize = 20_000;
const CLIENTS: usize = 6;
const HEALED_MAX: Duration = Duration::from_secs(60);

/// The whole of an idle reconnect, both ways: upgrade request and answer, handshake, and two frames.
const IDLE_BYTES_MAX: u64 = 2048;

/// Bytes for a difference, as a share of its paths and values.
const FACTOR_MAX: f64 = 1.3;

fn path(number: usize) -> String {
    format!("devices/{:03}/readings/{number:06}", number % 200)
}

/// JSON of some 200 bytes.
fn value(number: usize) -> String {
    format!(
        "{{\"id\":{number},\"kind\":\"temperature\",\"value\":{}.{:02},\"unit\":\"celsius\",\"place\":\"building {}, floor \
         {}, room {}\",\"tags\":[\"calibrated\",\"outdoor\",\"batch-{}\"],\"note\":\"checked by hand on arrival\"}}",
        number % 40,
        number % 100,
        number % 17,
        number % 9,
        number % 400,
        number % 31,
    )
}

/// A pair of nodes and the way between them.
struct Pair {
    node: Server,
    peer: Server,
    way: Proxy,
}

impl Pair {
    /// The link breaks, something happens, the link is back; gives what crossed it until both were live and equal.
    fn reconnect_after(&self, meanwhile: impl FnOnce()) -> (Traffic, u128) {
        self.way.cut();
        for server in [&self.node, &self.peer] {
            eventually("the cut is noticed", HEALED_MAX, || match server.peers() {
                peers if peers.iter().all(|peer| peer["state"] != "connected") => Ok(()),
                peers => Err(format!("{peers:?}")),
            });
        }
        meanwhile();
        let last_round = self.peer.status()["convergence"]["lastRoundAt"].clone();
        let before = self.way.traffic();
        let healed = Instant::now();
        self.way.heal();
        // The dialing side closes its round when it has found the two equal.
        eventually("the peer compared and found both equal", HEALED_MAX, || {
            let status = self.peer.status();
            let peer = &status["peers"][0];
            let done = status["convergence"]["lastRoundAt"] != last_round && peer["session"] == "live";
            if done { Ok(()) } else { Err(peer.to_string()) }
        });
        agree(&[&self.node, &self.peer], None, HEALED_MAX);
        (self.way.traffic().since(before), ms(healed))
    }
}

#[test]
fn a_reconnect_costs_what_differs() {
    let _alone = alone();
    let node = Launch::new("node").quick().start();
    let way = Proxy::to(node.port());
    let peer = Launch::new("peer").quick().peer(way.url()).start();
    linked(&peer, 1, HEALED_MAX);
    let pair = Pair { node, peer, way };

    let loading = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut connection = pair.node.client();
            scope.spawn(move || {
                for number in (client..DOCUMENTS).step_by(CLIENTS) {
                    connection.put(&path(number), &value(number)).unwrap();
                }
            });
        }
    });
    let loaded_ms = ms(loading);
    let scan = agree(&[&pair.node, &pair.peer], None, HEALED_MAX);
    assert_eq!(scan.len(), DOCUMENTS);
    println!("{DOCUMENTS} documents written in {loaded_ms} ms, on both nodes after {} ms", ms(loading));

    for attempt in 1..=3 {
        let (idle, took_ms) = pair.reconnect_after(|| {});
        println!(
            "idle reconnect {attempt} at {DOCUMENTS} documents: {} bytes ({} forth, {} back; at most {IDLE_BYTES_MAX}), \
             {took_ms} ms with the wait before the dial",
            idle.total(),
            idle.forth,
            idle.back,
        );
        assert!(idle.total() > 200, "the proxy counted nothing: {idle:?}");
        assert!(idle.total() <= IDLE_BYTES_MAX, "an idle reconnect cost {idle:?}");
    }

    // All on one side, then on both.
    for (name, sides) in
        [("on one node", [&pair.node, &pair.node]), ("on both nodes", [&pair.node, &pair.peer])]
    {
        let first = match name {
            "on one node" => DOCUMENTS,
            _ => DOCUMENTS + 100,
        };
        let mut payload_bytes = 0;
        let (traffic, took_ms) = pair.reconnect_after(|| {
            for number in 0..100 {
                let (path, value) = (path(first + number), value(first + number));
                payload_bytes += path.len() + value.len();
                sides[number % 2].put(&path, &value);
            }
            for number in 0..50 {
                // Spread over the store.
                let path = path((first + number * 397) % DOCUMENTS);
                payload_bytes += path.len();
                sides[number % 2].delete(&path);
            }
        });
        let factor = traffic.total() as f64 / payload_bytes as f64;
        println!(
            "100 new and 50 deleted {name} while apart: {} bytes ({} forth, {} back) for {payload_bytes} bytes of paths and \
             values: {factor:.3} x (at most {FACTOR_MAX}), {took_ms} ms with the wait before the dial",
            traffic.total(),
            traffic.forth,
            traffic.back,
        );
        assert!(factor <= FACTOR_MAX, "{name}: {traffic:?} for {payload_bytes} bytes");
    }
}
