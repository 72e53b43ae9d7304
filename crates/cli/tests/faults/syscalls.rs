//! System calls that fail under the running process: it stops at once, says why, and acknowledges nothing that may be lost.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Server, alone, ms};
use crate::tools::{Strace, has_strace};

/// The store has failed; `rejoin --help` documents it.
const EXIT_STORAGE: i32 = 74;

/// A process whose store has failed ends within this time.
const ENDS_MAX: Duration = Duration::from_secs(20);

/// Clients that write while the fault happens.
const CLIENTS: u64 = 4;

/// Writes of each client, at most, until the fault has to have happened.
const WRITES_MAX: u64 = 4_000;

/// One fault, and which files it happens on.
struct Case {
    fault: &'static str,
    on: fn(&Server) -> Vec<PathBuf>,
    value_bytes: usize,
    says: &'static str,
}

/// The journals that the server has or is about to have.
fn journals(server: &Server) -> Vec<PathBuf> {
    (0..4).map(|number| server.data_dir().join(format!("fjall/{number}.jnl"))).collect()
}

/// Whatever the server syncs.
fn everything(_: &Server) -> Vec<PathBuf> {
    Vec::new()
}

#[test]
fn a_failing_disk_stops_the_process_before_it_acknowledges_anything() {
    if !has_strace() {
        return;
    }
    let _alone = alone();
    const DEVICE: &str = "the device or the file system failed";
    const SPACE: &str = "no space left";
    let case = |fault, on, value_bytes, says| Case { fault, on, value_bytes, says };
    let cases = [
        case("fdatasync:error=EIO:when=1", everything, 100, DEVICE),
        case("fdatasync:error=EIO:when=7", everything, 100, DEVICE),
        case("fdatasync:error=ENOSPC:when=23", everything, 100, SPACE),
        // Only flushes of write buffers to tables call it, in the background.
        case("fsync:error=EIO:when=1", everything, 60_000, "background"),
        case("fsync:error=EIO:when=3", everything, 60_000, "background"),
        case("write:error=EIO:when=1", journals, 100, DEVICE),
        case("write:error=ENOSPC:when=1", journals, 100, SPACE),
        case("write:error=ENOSPC:when=19", journals, 100, SPACE),
        case("write:error=EDQUOT:when=40", journals, 9_000, SPACE),
    ];
    for (number, case) in (0..).zip(cases) {
        let started = Instant::now();
        let mut server = Launch::new(&format!("case-{number}")).start();
        for document in 0..50 {
            server.put(&format!("before/{document}"), "\"safe\"");
        }
        // The lock file names the process.
        let process = fs::read_to_string(server.data_dir().join("LOCK")).unwrap().parse().unwrap();
        let strace = Strace::attach(process, case.fault, &(case.on)(&server));
        let acknowledged = write_until_the_end(&server, case.value_bytes);
        let status = server.ends(ENDS_MAX);
        drop(strace);
        let log = server.log();
        assert_eq!(status.code(), Some(EXIT_STORAGE), "{}: {log}", case.fault);
        let last: Vec<&str> = log.lines().rev().take(2).collect();
        assert!(last[1].starts_with("error: The store has failed"), "{}: {log}", case.fault);
        assert!(last[1].contains(case.says), "{}: {log}", case.fault);
        assert!(last[0].starts_with("hint:"), "{}: {log}", case.fault);

        // Clean again, everything that was acknowledged is there.
        server.start();
        let scan = server.scan();
        for document in 0..50 {
            assert_eq!(scan[&format!("before/{document}")].value, "\"safe\"");
        }
        for (client, last) in (0..).zip(&acknowledged) {
            for number in 0..*last {
                let path = format!("during/{client}/{number}");
                assert!(scan.contains_key(&path), "{}: {path} was acknowledged and is missing", case.fault);
            }
            // At most the write without an answer is there as well.
            let beyond = format!("during/{client}/{}", last + 1);
            assert!(!scan.contains_key(&beyond), "{}: {beyond} was never sent", case.fault);
        }
        server.put("after", "true");
        server.stop();
        println!(
            "{}: exit {EXIT_STORAGE} with \"{}\"; {} writes acknowledged before, all there; {} ms",
            case.fault,
            last[1],
            acknowledged.iter().sum::<u64>(),
            ms(started)
        );
    }
}

/// Several clients write new paths until the server goes away. How many of each were acknowledged; the one after that
/// got no success, and none after that was sent.
fn write_until_the_end(server: &Server, value_bytes: usize) -> Vec<u64> {
    let value = format!("\"{}\"", "v".repeat(value_bytes));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (mut connection, value) = (server.client(), &value);
                scope.spawn(move || {
                    for number in 0..WRITES_MAX {
                        if connection.put(&format!("during/{client}/{number}"), value).is_err() {
                            return number;
                        }
                    }
                    panic!("the fault did not happen within {WRITES_MAX} writes");
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_disk_that_fails_while_the_store_opens_is_reported() {
    if !has_strace() {
        return;
    }
    let mut server = Launch::new("opens").start();
    server.put("kept", "true");
    server.stop();
    for fault in ["fsync:error=EIO:when=1", "fdatasync:error=EIO:when=1", "fdatasync:error=ENOSPC:when=1"] {
        // Should the fault go unnoticed, the server must not run for ever.
        let mut command = std::process::Command::new("timeout");
        command.args(["30", "strace"]);
        let calls = fault.split(':').next().unwrap();
        command.args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={fault}"),
        ]);
        command.arg(env!("CARGO_BIN_EXE_rejoin")).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        let output = crate::harness::run(command.arg(server.data_dir()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(EXIT_STORAGE), "{fault}: {said}");
        assert!(said.contains("error:") && said.contains("hint:"), "{fault}: {said}");
        println!("{fault} while opening: exit {EXIT_STORAGE}, {}", said.trim().replace('\n', " / "));
    }
    server.start();
    assert_eq!(server.get("kept").as_deref(), Some("true"));
}
