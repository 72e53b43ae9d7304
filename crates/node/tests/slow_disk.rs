//! A disk that is slow, and then fails, under the library: whoever waits for it waits alone.
//!
//! `strace` delays the system calls of this process, so all is one test: two would meet each other's faults.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rejoin::{Error, Node};
use serde_json::json;
use tempfile::TempDir;

/// How long a sync takes.
const SYNC: Duration = Duration::from_millis(600);

/// What is left of it for whoever does not write: a worker that is kept busy by others for a moment.
const SOON: Duration = Duration::from_millis(300);

const DEADLINE: Duration = Duration::from_secs(30);

/// Makes calls of this process slow, or fail.
struct Strace(Child);

impl Strace {
    fn on_this_process(fault: &str) -> Strace {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &std::process::id().to_string(), "-o", "/dev/null"]);
        command.args(["-e", "trace=fdatasync,fsync", "-e", &format!("inject={fault}")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "strace ended instead of attaching");
            assert!(!line.contains("not permitted"), "strace may not attach: run the tests as root");
        }
        // Whoever writes into a full or closed pipe stops.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Strace(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The longest time between two looks at the clock of a task that looks every few milliseconds, while `work` is done.
async fn longest_pause(work: impl Future<Output = ()>) -> Duration {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ticking = tokio::spawn(async move {
        let (mut last, mut longest, mut stopped) = (Instant::now(), Duration::ZERO, stopped);
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    work.await;
    stop.send(()).unwrap();
    ticking.await.unwrap()
}

fn open(directory: &TempDir) -> impl Future<Output = Result<Node, Error>> {
    Node::builder().data_dir(directory.path()).open()
}

#[test]
fn who_waits_for_a_slow_disk_waits_alone() {
    if Command::new("strace").arg("-V").output().is_err()
        && std::env::var_os("REJOIN_TEST_SKIP_STRACE").is_some()
    {
        println!("SKIPPED, NOTHING WAS TESTED: there is no strace");
        return;
    }
    let directory = TempDir::new().unwrap();
    // Making a store syncs every file of it: not at this speed.
    let quick = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    quick.block_on(async { open(&directory).await.unwrap().close().await.unwrap() });
    // A store without tables, which no worker merges meanwhile: readers of a keyspace wait while the list of its tables is
    // written (docs/storage.md), and this is about the syncs of commits.
    let two_threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fresh = TempDir::new().unwrap();
    let node = two_threads.block_on(async {
        let node = open(&fresh).await.unwrap();
        node.put("a", &0).await.unwrap();
        node
    });
    let slow = format!("fdatasync,fsync:delay_enter={}", SYNC.as_micros());
    let strace = Strace::on_this_process(&slow);

    // A program of one thread, which has more to do than this.
    let one_thread = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one_thread.block_on(async {
        let (mut node, mut puts) = (None, Duration::ZERO);
        let opening = longest_pause(async { node = Some(open(&directory).await.unwrap()) }).await;
        let node = node.unwrap();
        let writing = longest_pause(async {
            for n in 0..3 {
                let begun = Instant::now();
                node.put("a", &n).await.unwrap();
                puts = puts.max(begun.elapsed());
            }
        })
        .await;
        let closing = longest_pause(async { node.close().await.unwrap() }).await;
        println!("one thread: {puts:?} a put; others paused {opening:?} while it opened, {writing:?} while it wrote, {closing:?} while it closed");
        assert!(puts >= SYNC, "the disk was slow");
        for pause in [opening, writing, closing] {
            assert!(pause < SOON, "{pause:?}");
        }
    });

    // A server of two workers, with more writers than that.
    two_threads.block_on(async {
        let until = Instant::now() + 4 * SYNC;
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let node = node.clone();
                tokio::spawn(async move {
                    let (mut written, mut longest) = (0, Duration::ZERO);
                    while Instant::now() < until {
                        let begun = Instant::now();
                        node.put(&format!("writers/{writer}"), &written).await.unwrap();
                        written += 1;
                        longest = longest.max(begun.elapsed());
                    }
                    (written, longest)
                })
            })
            .collect();
        let (mut reads, mut asks, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        while Instant::now() < until {
            let reading = node.clone();
            // Reads and questions come in tasks of their own, as requests do.
            reads.push(timed(async move { assert!(reading.get::<i32>("a").await.unwrap().is_some()) }).await);
            let asking = node.clone();
            asks.push(
                timed(async move {
                    let status = asking.status().await.unwrap();
                    assert!(status.entries > 0 && asking.peers().is_empty() && asking.ready().is_ok());
                })
                .await,
            );
            ages.push(node.status().await.unwrap().as_of.elapsed().unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (mut written, mut longest) = (0, Duration::ZERO);
        for writer in writers {
            let (writes, put) = writer.await.unwrap();
            (written, longest) = (written + writes, longest.max(put));
        }
        // Of a hundred one may have waited for a processor of a busy machine; who waits for the disk waits most of the time.
        reads.sort_unstable();
        asks.sort_unstable();
        let (read, ask) = (&reads[reads.len() * 99 / 100], &asks[asks.len() * 99 / 100]);
        let age = ages.iter().max().unwrap();
        println!(
            "two threads, 16 writers, {written} writes: 99 % of {} reads took {read:?}, of {} questions {ask:?}, answered as of {age:?} ago \
             at most",
            reads.len(),
            asks.len()
        );
        assert!(*read < SOON, "{read:?}");
        assert!(*ask < SOON + Duration::from_millis(100), "{ask:?}");
        // What is told is of before the turn that is stuck, which is no longer than the longest wait for a write.
        assert!(*age < longest + SYNC, "{age:?} of {longest:?}");
        assert!(written > 0);
        drop(strace);

        // And then it fails.
        let status = node.status().await.unwrap();
        let failing = Strace::on_this_process("fdatasync,fsync:error=EIO");
        let failed = node.put("a", &json!("lost")).await.unwrap_err();
        assert!(matches!(failed, Error::Storage(_)), "{failed:?}");
        tokio::time::timeout(DEADLINE, node.failed()).await.unwrap();
        let begun = Instant::now();
        let after = node.status().await.unwrap();
        assert!(!after.ready && node.ready().is_err() && node.peers().is_empty());
        assert_eq!((after.entries, after.digest), (status.entries, status.digest), "what was committed");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        drop(failing);
    });
}

async fn timed(work: impl Future<Output = ()> + Send + 'static) -> Duration {
    let begun = Instant::now();
    tokio::spawn(work).await.unwrap();
    begun.elapsed()
}
