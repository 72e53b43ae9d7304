//! A disk that fills up: writes are refused, reads and deletes go on, and nobody has to restart anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Oracle, Server, agree, alone, eventually, linked, ms};
use crate::tools::SmallDisk;

const HEALED_MAX: Duration = Duration::from_secs(40);
const MIB: u64 = 1 << 20;

/// A server on a file system of its own.
fn on_small_disk(launch: Launch, mib: u64) -> Option<(Server, SmallDisk)> {
    let mut server = launch.create();
    let disk = SmallDisk::mount(&server.data_dir(), mib)?;
    server.start();
    Some((server, disk))
}

/// A write that is refused because the disk is full, as the API says it is.
#[track_caller]
fn refused(server: &Server, method: &str, path: &str, body: Option<&str>) {
    let answer = server.send(method, &format!("/api/{path}"), body);
    assert_eq!(answer.status, 507, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["error"], "disk_full", "{error}");
    assert_eq!(error["retryable"], true, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("some space"), "{error}");
}

fn document(number: u64) -> String {
    format!("{{\"number\":{number},\"text\":\"{}\"}}", "kept for a reason ".repeat(300))
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_deletes_and_recovers_by_itself() {
    let _alone = alone();
    let Some((mut server, disk)) = on_small_disk(Launch::new("full"), 256) else { return };
    let peer = Launch::new("peer").quick().peer(server.url()).start();
    linked(&server, 1, HEALED_MAX);
    let mut oracle = Oracle::default();
    for number in 0..300 {
        let (path, value) = (format!("kept/{number:03}"), document(number));
        server.put(&path, &value);
        oracle.put(&path, &value);
    }
    agree(&[&server, &peer], Some(&oracle), HEALED_MAX);

    // Another program fills the disk, to within the reserve of a tenth.
    let kept = server.status()["storage"]["keptBytes"].as_u64().unwrap();
    disk.fill(kept - 6 * MIB);
    let filled = Instant::now();
    eventually("a write is refused", HEALED_MAX, || {
        let answer = server.send("PUT", "/api/probe", Some("1"));
        if answer.status == 507 { Ok(()) } else { Err(answer.text()) }
    });
    let refused_ms = ms(filled);
    oracle.put("probe", "1");
    if server.get("probe").is_none() {
        oracle.delete("probe");
    }
    refused(&server, "PUT", "kept/000", Some("\"other\""));
    refused(&server, "PATCH", "kept/002", Some("{\"other\":true}"));
    refused(&server, "PUT", "new", Some("\"new\""));

    // Reads and deletes go on, and everybody can see what is the matter.
    for number in 0..50 {
        let path = format!("kept/{number:03}");
        assert_eq!(server.get(&path), Some(document(number)));
        server.delete(&path);
        oracle.delete(&path);
    }
    oracle.check(&server.scan()).unwrap();
    let storage = server.status()["storage"].clone();
    assert_eq!(storage["diskFull"], true, "{storage}");
    assert!(storage["freeBytes"].as_u64() < storage["keptBytes"].as_u64(), "{storage}");
    let ready = server.ask("GET", "/readyz?verbose", None).json();
    assert_eq!(ready["ready"], true);
    let checks = ready["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "disk").unwrap();
    assert_eq!(check["ok"], false);
    assert!(check["note"].as_str().unwrap().contains("MiB"), "{check}");

    // A peer's writes are not taken, and not forgotten either; it is told why.
    eventually("the link is closed", HEALED_MAX, || match peer.peers() {
        peers if peers.iter().all(|peer| peer["state"] == "backoff") => Ok(()),
        peers => Err(format!("{peers:?}")),
    });
    for number in 0..20 {
        let (path, value) = (format!("peer/{number}"), document(number));
        peer.put(&path, &value);
        oracle.put(&path, &value);
    }
    eventually("the peer hears why", HEALED_MAX, || match &peer.peers()[0]["lastError"] {
        error if error.as_str().is_some_and(|error| error.contains("disk")) => Ok(()),
        error => Err(error.to_string()),
    });

    // Restarts do not need more room than there is: after a crash, and after a stop.
    server.kill();
    server.start();
    refused(&server, "PUT", "new", Some("\"new\""));
    assert_eq!(server.get("kept/100"), Some(document(100)));
    server.stop();
    server.start();
    assert_eq!(server.get("kept/299"), Some(document(299)));
    server.delete("kept/299");
    oracle.delete("kept/299");
    assert_eq!(server.get("peer/0"), None);

    // Space returns, and with it everything else.
    let relieved = Instant::now();
    disk.relieve();
    eventually("a write is accepted", HEALED_MAX, || {
        let answer = server.send("PUT", "/api/after", Some("\"after\""));
        if answer.status < 300 { Ok(()) } else { Err(answer.text()) }
    });
    let accepted_ms = ms(relieved);
    oracle.put("after", "\"after\"");
    agree(&[&server, &peer], Some(&oracle), HEALED_MAX);
    assert_eq!(server.status()["storage"]["diskFull"], false);
    println!(
        "disk full (256 MiB): refused {refused_ms} ms after it was filled, 51 deletes while full, 2 restarts; accepted \
         {accepted_ms} ms after space returned, in step with the peer after {} ms",
        ms(relieved)
    );
}

#[test]
fn deletes_go_on_to_the_very_end_of_the_reserve() {
    let _alone = alone();
    let Some((mut server, disk)) = on_small_disk(Launch::new("last").quick(), 256) else { return };
    for number in 0..400 {
        server.put(&format!("kept/{number:03}"), &document(number));
    }
    let large = format!("\"{}\"", noise(7, 900_000));
    server.put("large", &large);
    // The reserve is a tenth of the disk, on top of what the store still has to write. Fill the disk until 3 MiB of it are left.
    let kept = server.status()["storage"]["keptBytes"].as_u64().unwrap();
    let owed = kept - 256 * MIB / 10;
    disk.fill(owed + owed / 8 + 3 * MIB);
    eventually("writes are refused", HEALED_MAX, || {
        let answer = server.send("PUT", "/api/probe", Some("1"));
        if answer.status == 507 { Ok(()) } else { Err(answer.text()) }
    });
    // A delete moves the old value into history, and this value is too large for the space that is left.
    refused(&server, "DELETE", "large", None);
    for number in 0..100 {
        server.delete(&format!("kept/{number:03}"));
    }
    let mut deleted = 100;
    while deleted < 400 && server.send("DELETE", &format!("/api/kept/{deleted:03}"), None).status == 200 {
        deleted += 1;
    }
    let left = disk.free() / MIB;
    assert!(!server.has_ended(), "the server ended");
    server.kill();
    server.start();
    assert_eq!(server.scan().len(), 400 - deleted + 1);
    assert!(!server.log().contains("the store has failed"), "{}", server.log());
    disk.relieve();
    eventually("the large one goes", HEALED_MAX, || {
        let answer = server.send("DELETE", "/api/large", None);
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    println!("{deleted} deletes below the last quarter of the reserve; {left} MiB were left then");
}

#[test]
fn clients_that_fill_a_disk_do_not_bring_the_server_down() {
    let _alone = alone();
    let Some((mut server, disk)) = on_small_disk(Launch::new("filled").quick(), 160) else { return };
    const CLIENTS: u64 = 6;
    let (stop, refusals) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    // Each client writes new and old paths until it was refused often, then deletes, until that is refused as well.
    let oracles: Vec<(Oracle, u64, u64)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (mut connection, stop, refusals) = (server.client(), &stop, &refusals);
                scope.spawn(move || {
                    let (mut oracle, mut written, mut deleted) = (Oracle::default(), Vec::new(), 0);
                    let (mut number, mut refused) = (0, 0);
                    while refused < 50 && !stop.load(Ordering::SeqCst) {
                        number += 1;
                        let path = format!("fill/{client}/{}", number % 4_000);
                        let value = format!("[{number},\"{}\"]", noise(number * CLIENTS + client, 6_000));
                        let answer =
                            connection.send("PUT", &format!("/api/{path}"), &[], Some(&value)).unwrap();
                        match answer.status {
                            200 | 201 => {
                                oracle.put(&path, &value);
                                written.push(path);
                            }
                            507 => refused += 1,
                            status => panic!("{status} {}", answer.text()),
                        }
                    }
                    refusals.fetch_add(refused, Ordering::SeqCst);
                    written.sort();
                    written.dedup();
                    for path in written {
                        let answer = connection.send("DELETE", &format!("/api/{path}"), &[], None).unwrap();
                        match answer.status {
                            200 => {
                                oracle.delete(&path);
                                deleted += 1;
                            }
                            507 => break,
                            status => panic!("{status} {}", answer.text()),
                        }
                    }
                    (oracle, number, deleted)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(!server.has_ended(), "the server ended");
    let mut all = Oracle::default();
    let (mut writes, mut deletes) = (0, 0);
    for (oracle, number, deleted) in oracles {
        all.join(oracle);
        writes += number;
        deletes += deleted;
    }
    all.check(&server.scan()).unwrap();
    assert!(deletes > CLIENTS, "{deletes} deletes were accepted while writes were not");
    let free_mib = disk.free() / MIB;
    server.kill();
    server.start();
    all.check(&server.scan()).unwrap();
    assert!(!server.log().contains("the store has failed"), "{}", server.log());
    println!(
        "{CLIENTS} clients filled a disk of 160 MiB in {} ms: {writes} writes tried, {} refused, then {deletes} deletes; \
         {free_mib} MiB left, nothing missing, also after kill -9",
        ms(started),
        refusals.load(Ordering::SeqCst),
    );
}

/// Text that does not compress.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    };
    std::iter::repeat_with(letter).take(bytes).collect()
}
