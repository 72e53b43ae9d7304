//! A peer that takes nothing: the writer goes on, within bounded memory, and all arrives in the end.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Proxy, agree, alone, eventually, linked, ms};

const WRITES: usize = 30_000;
const CLIENTS: usize = 6;
/// Together 90 MB: a queue without bounds would not fit beside what the store itself takes (some 70 MiB).
const VALUE_BYTES: usize = 3_000;
const HEALED_MAX: Duration = Duration::from_secs(90);

/// Growth of the writing node while its peer takes nothing, the store's write buffers included.
const GROWTH_KIB_MAX: u64 = 150 * 1024;

/// Growth of the same after all was read again for the peer, through the store's cache of 64 MiB.
const GROWTH_HEALED_KIB_MAX: u64 = GROWTH_KIB_MAX + 64 * 1024;

/// Pushes that wait for one peer, as the replica bounds them; beyond that they turn into catch-up.
const QUEUED_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[test]
fn a_stalled_peer_costs_neither_memory_nor_writes() {
    let _alone = alone();
    let node = Launch::new("node").quick().start();
    let way = Proxy::to(node.port());
    let peer = Launch::new("peer").quick().peer(way.url()).start();
    linked(&node, 1, HEALED_MAX);
    node.put("warm", "true");
    agree(&[&node, &peer], None, HEALED_MAX);

    way.stall();
    let before_kib = node.resident_kib();
    let started = Instant::now();
    let mut peak_kib = before_kib;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut connection = node.client();
                scope.spawn(move || {
                    let filler = "y".repeat(VALUE_BYTES);
                    for number in (client..WRITES).step_by(CLIENTS) {
                        let value = format!("{{\"number\":{number},\"filler\":\"{filler}\"}}");
                        connection.put(&format!("flood/{number:05}"), &value).unwrap();
                    }
                })
            })
            .collect();
        eventually("the writes are done", HEALED_MAX, || {
            peak_kib = peak_kib.max(node.resident_kib());
            let left = threads.iter().filter(|thread| !thread.is_finished()).count();
            if left == 0 { Ok(()) } else { Err(format!("{left} clients still write")) }
        });
    });
    let wrote_ms = ms(started);
    peak_kib = peak_kib.max(node.resident_kib());
    let status = node.status();
    assert_eq!(status["storage"]["entries"], WRITES + 1);
    let arrived = peer.status()["storage"]["entries"].as_u64().unwrap();
    assert!(arrived < WRITES as u64 / 2, "the way was stalled, and {arrived} documents passed");
    // A link that was stalled for longer than three heartbeats is gone, and its queue with it.
    let queued = status["peers"][0]["queue"].as_u64().unwrap_or(0);
    assert!(queued <= QUEUED_BYTES_MAX, "{queued} bytes are queued");

    let healed = Instant::now();
    way.heal();
    let scan = agree(&[&node, &peer], None, HEALED_MAX);
    assert_eq!(scan.len(), WRITES + 1);
    let growth_kib = peak_kib - before_kib;
    let healed_kib = node.resident_kib().saturating_sub(before_kib);
    println!(
        "peer stalled while {WRITES} documents of {VALUE_BYTES} bytes were written in {wrote_ms} ms: the writer's memory \
         grew from {} MiB by {} MiB at most (bound {}), {queued} bytes queued for the peer, {arrived} documents there; \
         after the stall all there within {} ms, growth {} MiB (bound {})",
        before_kib / 1024,
        growth_kib / 1024,
        GROWTH_KIB_MAX / 1024,
        ms(healed),
        healed_kib / 1024,
        GROWTH_HEALED_KIB_MAX / 1024,
    );
    assert!(growth_kib < GROWTH_KIB_MAX, "grew by {growth_kib} KiB while stalled");
    assert!(healed_kib < GROWTH_HEALED_KIB_MAX, "grew by {healed_kib} KiB");
}
