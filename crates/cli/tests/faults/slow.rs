//! A disk on which every sync takes long: who writes waits for it, and nobody else does.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Launch, alone};
use crate::tools::{Strace, has_strace};

/// How long a sync takes.
const SYNC: Duration = Duration::from_millis(500);

/// Clients that write, more than the server has workers.
const WRITERS: usize = 8;

/// How long is measured.
const MEASURED: Duration = Duration::from_secs(6);

/// What a request that does not write may take: two waits for what may not come, and other work on the same machine.
const SOON: Duration = Duration::from_millis(300);

#[test]
fn reads_and_monitors_do_not_wait_for_a_slow_disk() {
    if !has_strace() {
        return;
    }
    let _alone = alone();
    let server = Launch::new("slow").start();
    server.put("read", "\"me\"");
    let process = fs::read_to_string(server.data_dir().join("LOCK")).unwrap().parse().unwrap();
    let strace = Strace::attach(process, &format!("fdatasync,fsync:delay_enter={}", SYNC.as_micros()), &[]);
    let until = Instant::now() + MEASURED;
    let (writes, longest) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = server.client();
                scope.spawn(move || {
                    let mut written = 0;
                    while Instant::now() < until {
                        client.put(&format!("written/{writer}"), &written.to_string()).unwrap();
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        let mut longest = Vec::new();
        for what in ["/api/read", "/api/status", "/metrics", "/readyz?verbose", "/api/_peers"] {
            let client = server.client();
            longest.push((what, scope.spawn(move || times(client, what, until))));
        }
        let longest: Vec<_> = longest
            .into_iter()
            .map(|(what, times)| {
                let times = times.join().unwrap();
                (what, times.len(), times[(times.len() - 1) * 9 / 10])
            })
            .collect();
        (writers.into_iter().map(|writer| writer.join().unwrap()).sum::<i32>(), longest)
    });
    drop(strace);
    println!(
        "syncs of {SYNC:?}, {WRITERS} writers, {writes} writes; of ten requests nine took at most: {longest:?}"
    );
    assert!(writes >= 8, "{writes}");
    for (what, count, time) in longest {
        assert!(count >= 10 && time < SOON, "{what}: {time:?} of {count}");
    }
}

/// What requests took, in order.
fn times(mut client: Client, what: &str, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        assert_eq!(client.send("GET", what, &[], None).unwrap().status, 200, "{what}");
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(3));
    }
    times.sort();
    times
}
