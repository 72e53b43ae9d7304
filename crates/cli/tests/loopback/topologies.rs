//! Chain, ring and star: everything arrives everywhere, whoever dies meanwhile; nothing echoes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Oracle, Proxy, Server, agree, alone, eventually, linked, ms};

/// Longer than the longest pause between two dials (10 s), with room for a busy machine.
const HEALED_MAX: Duration = Duration::from_secs(40);

/// Documents that each node writes at first.
const DOCUMENTS_PER_NODE: usize = 20;

/// Writes of each living node while another is dead.
const WRITES_MEANWHILE: usize = 60;

#[test]
fn a_chain_of_six_syncs_through_a_node_that_dies() {
    let edges: Vec<_> = (1..6).map(|node| (node, node - 1)).collect();
    everything_arrives_everywhere("chain of 6", 6, &edges, 2);
}

#[test]
fn a_ring_of_five_syncs_around_a_node_that_dies() {
    let edges: Vec<_> = (0..5).map(|node| (node, (node + 1) % 5)).collect();
    everything_arrives_everywhere("ring of 5", 5, &edges, 3);
}

#[test]
fn a_star_of_six_syncs_after_its_hub_died() {
    let edges: Vec<_> = (1..6).map(|node| (node, 0)).collect();
    everything_arrives_everywhere("star of 6", 6, &edges, 0);
}

/// Starts servers where the first of each pair dials the second.
fn start(count: usize, edges: &[(usize, usize)]) -> Vec<Server> {
    let plans: Vec<Launch> = (0..count).map(|node| Launch::new(&format!("n{node}")).quick()).collect();
    let urls: Vec<String> = plans.iter().map(Launch::url).collect();
    let mut servers: Vec<Server> = plans
        .into_iter()
        .enumerate()
        .map(|(node, plan)| {
            let dialed = edges.iter().filter(|(dialer, _)| *dialer == node);
            dialed.fold(plan, |plan, (_, other)| plan.peer(&urls[*other])).create()
        })
        .collect();
    servers.iter_mut().for_each(Server::spawn);
    servers.iter_mut().for_each(Server::ready);
    servers
}

fn everything_arrives_everywhere(topology: &str, count: usize, edges: &[(usize, usize)], victim: usize) {
    let _alone = alone();
    let mut servers = start(count, edges);
    let degree = |node: usize| edges.iter().filter(|edge| edge.0 == node || edge.1 == node).count();
    for (node, server) in servers.iter().enumerate() {
        linked(server, degree(node), HEALED_MAX);
    }

    // Every node writes; its neighbour replaces some of that and deletes some.
    let mut oracle = Oracle::default();
    for (node, server) in servers.iter().enumerate() {
        for number in 0..DOCUMENTS_PER_NODE {
            write(server, &mut oracle, &format!("from/{node}/{number}"), "first");
        }
    }
    agree(&each(&servers), Some(&oracle), HEALED_MAX);
    for (node, server) in servers.iter().enumerate() {
        let author = (node + 1) % count;
        for number in 0..5 {
            write(server, &mut oracle, &format!("from/{author}/{number}"), "second");
            let path = format!("from/{author}/{}", number + 5);
            server.delete(&path);
            oracle.delete(&path);
        }
    }
    agree(&each(&servers), Some(&oracle), HEALED_MAX);
    let arrival_ms = time_to_arrive(&servers, &mut oracle);

    // A node dies in the middle of everybody else's writes. What it has acknowledged survives it.
    for number in 0..10 {
        write(&servers[victim], &mut oracle, &format!("last-words/{number}"), "heard");
    }
    let written = AtomicUsize::new(0);
    let writers = count - 1;
    let mut victim_server = servers.remove(victim);
    let mut restarted = None;
    let written_by_others: Vec<Oracle> = thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|server| (server.name().to_owned(), server.client()))
            .map(|(name, mut client)| {
                let written = &written;
                scope.spawn(move || {
                    let mut oracle = Oracle::default();
                    for number in 0..WRITES_MEANWHILE {
                        let (path, value) = (format!("meanwhile/{name}/{number}"), json("meanwhile", number));
                        client.put(&path, &value).unwrap();
                        oracle.put(&path, &value);
                        if number % 4 == 3 {
                            let path = format!("meanwhile/{name}/{}", number - 2);
                            client.delete(&path).unwrap();
                            oracle.delete(&path);
                        }
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                    oracle
                })
            })
            .collect();
        let reach = |share: usize| {
            let wanted = writers * WRITES_MEANWHILE * share / 100;
            eventually("the writers go on", HEALED_MAX, || match written.load(Ordering::SeqCst) {
                written if written >= wanted => Ok(()),
                written => Err(format!("{written} of {wanted} writes")),
            });
        };
        reach(20);
        victim_server.kill();
        reach(60);
        victim_server.spawn();
        victim_server.ready();
        restarted = Some(Instant::now());
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    written_by_others.into_iter().for_each(|more| oracle.join(more));
    servers.insert(victim, victim_server);
    agree(&each(&servers), Some(&oracle), HEALED_MAX);
    let healed_ms = ms(restarted.unwrap());

    // A round of comparisons with everybody changes nothing, and brings no deleted document back.
    for (node, server) in servers.iter().enumerate() {
        linked(server, degree(node), HEALED_MAX);
        let round = server.anti_entropy();
        assert_eq!(round["unequal"], 0, "{} after everything arrived: {round}", server.name());
        assert_eq!(round["repaired"], 0, "{} after everything arrived: {round}", server.name());
    }
    let scan = agree(&each(&servers), Some(&oracle), HEALED_MAX);
    servers.iter().for_each(|server| oracle.check_deleted(server));
    let digests: BTreeSet<String> =
        servers.iter().map(|server| server.status()["convergence"]["digest"].to_string()).collect();
    assert_eq!(digests.len(), 1);
    println!(
        "{topology}: {} documents and {} deletes equal on all {count} nodes (digest {}); a write crosses to the farthest \
         node in {arrival_ms} ms; {} killed with -9 among {} writes elsewhere, all equal {healed_ms} ms after it served \
         again",
        scan.len(),
        oracle.deleted().len(),
        digests.first().unwrap(),
        servers[victim].name(),
        writers * WRITES_MEANWHILE,
    );
}

/// The time until a write on the first node can be read on every other.
fn time_to_arrive(servers: &[Server], oracle: &mut Oracle) -> u128 {
    let started = Instant::now();
    write(&servers[0], oracle, "arrival", "seen");
    for server in servers {
        eventually("one write arrives", HEALED_MAX, || server.get("arrival").ok_or_else(|| "not yet".into()));
    }
    ms(started)
}

#[test]
fn in_a_ring_a_document_crosses_each_link_at_most_once_per_direction() {
    const NODES: usize = 5;
    const WRITES_PER_NODE: usize = 80;
    const VALUE_BYTES: usize = 600;
    // A document on the wire has its path, value, dot, stamp and framing: less than a sixth more than the payload here.
    const FACTOR: f64 = 1.15;
    // Who wrote it tells both neighbours, and each of the others all but the one it heard it from.
    const CROSSINGS: usize = NODES + 1;

    let _alone = alone();
    let plans: Vec<Launch> = (0..NODES).map(|node| Launch::new(&format!("n{node}")).quick()).collect();
    // Slow links, so that a document is on its way on several of them at a time.
    let delay = Duration::from_millis(3);
    let proxies: Vec<Proxy> =
        (0..NODES).map(|node| Proxy::slow(plans[(node + 1) % NODES].port(), delay)).collect();
    let plans = plans.into_iter().zip(&proxies);
    let mut servers: Vec<Server> = plans.map(|(plan, proxy)| plan.peer(proxy.url()).create()).collect();
    servers.iter_mut().for_each(Server::spawn);
    servers.iter_mut().for_each(Server::ready);
    servers.iter().for_each(|server| linked(server, 2, HEALED_MAX));
    // One write everywhere: all links are live behind it.
    servers[0].put("warm", "true");
    agree(&each(&servers), None, HEALED_MAX);

    let before: Vec<_> = proxies.iter().map(Proxy::traffic).collect();
    let started = Instant::now();
    let filler = "x".repeat(VALUE_BYTES);
    let payload_bytes: usize = thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|server| (server.name().to_owned(), server.client()))
            .map(|(name, mut client)| {
                let filler = &filler;
                scope.spawn(move || {
                    let mut bytes = 0;
                    for number in 0..WRITES_PER_NODE {
                        let (path, value) = (format!("echo/{name}/{number}"), json(filler, number));
                        client.put(&path, &value).unwrap();
                        bytes += path.len() + value.len();
                    }
                    bytes
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    agree(&each(&servers), None, HEALED_MAX);
    let took_ms = ms(started);

    let mut crossings = Vec::new();
    for (node, (proxy, before)) in proxies.iter().zip(before).enumerate() {
        let traffic = proxy.traffic().since(before);
        for (direction, bytes) in [("forth", traffic.forth), ("back", traffic.back)] {
            let share = bytes as f64 / payload_bytes as f64;
            assert!(
                share <= FACTOR,
                "link {node} {direction}: {bytes} bytes for {payload_bytes} bytes of documents: an echo"
            );
            crossings.push(share);
        }
    }
    let all: f64 = crossings.iter().sum();
    assert!(
        all <= CROSSINGS as f64 * FACTOR,
        "{all:.2} times the documents crossed some link: they go back where they came from"
    );
    let shares: Vec<String> = crossings.iter().map(|share| format!("{share:.2}")).collect();
    println!(
        "ring of {NODES}, no faults: {} writes of {payload_bytes} bytes in all, everywhere after {took_ms} ms; bytes per \
         link and direction as a share of them: {} (at most {FACTOR}); in sum {all:.2} (at most {CROSSINGS} x {FACTOR}; \
         the least that can be is {})",
        NODES * WRITES_PER_NODE,
        shares.join(" "),
        NODES - 1,
    );
}

#[test]
fn nodes_that_dial_each_other_keep_one_link_a_pair() {
    let plans: Vec<Launch> = (0..3).map(|node| Launch::new(&format!("n{node}")).quick()).collect();
    let urls: Vec<String> = plans.iter().map(Launch::url).collect();
    let dial_others = |(node, plan): (usize, Launch)| {
        let others = urls.iter().enumerate().filter(|(other, _)| *other != node);
        others.fold(plan, |plan, (_, url)| plan.peer(url)).create()
    };
    let mut servers: Vec<Server> = plans.into_iter().enumerate().map(dial_others).collect();
    servers.iter_mut().for_each(Server::spawn);
    servers.iter_mut().for_each(Server::ready);
    let mut oracle = Oracle::default();
    let mut links = 0;
    for round in 0..3 {
        servers.iter().for_each(|server| linked(server, 2, HEALED_MAX));
        for number in 0..10 {
            for server in &servers {
                write(server, &mut oracle, &format!("round/{round}/{}/{number}", server.name()), "mutual");
            }
        }
        agree(&each(&servers), Some(&oracle), HEALED_MAX);
        // Links that were up have stayed up: which of two goes is decided once, and both ends agree.
        let since =
            |server: &Server| server.peers().iter().map(|peer| peer["since"].to_string()).collect::<Vec<_>>();
        let before: Vec<_> = servers.iter().map(since).collect();
        servers.iter().for_each(|server| assert_eq!(server.anti_entropy()["links"], 2, "{}", server.name()));
        write(&servers[round], &mut oracle, "once-more", "mutual");
        agree(&each(&servers), Some(&oracle), HEALED_MAX);
        assert_eq!(before, servers.iter().map(since).collect::<Vec<_>>(), "links come and go");
        links = servers.iter().map(|server| server.log().matches(" linked ").count()).sum();
        servers[round].kill();
        servers[round].start();
    }
    servers.iter().for_each(|server| linked(server, 2, HEALED_MAX));
    agree(&each(&servers), Some(&oracle), HEALED_MAX);
    println!(
        "3 nodes that all dial each other: one link a pair at a time, {links} ends of links in all over two restarts; {} \
         documents equal",
        oracle.len()
    );
}

fn write(server: &Server, oracle: &mut Oracle, path: &str, text: &str) {
    let value = json(text, path.len());
    server.put(path, &value);
    oracle.put(path, &value);
}

fn json(text: &str, number: usize) -> String {
    format!("{{\"text\":\"{text}\",\"number\":{number}}}")
}

fn each(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}
