//! Writes whose answers are lost, sent again with their keys: over `kill -9`, over restarts, and on another node.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::harness::{Launch, Server, agree, alone, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// Rounds of a kill at any moment of a write.
const KILLS: u64 = 40;

/// Sends a patch with a key; nobody ever reads the answer.
fn send_and_forget(server: &Server, path: &str, key: &str, patch: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let length = patch.len();
    let request = format!(
        "PATCH /api/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/merge-patch+json\r\n\
         idempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n{patch}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The server's answer to the second attempt.
#[derive(Debug, PartialEq, Eq)]
struct Again {
    status: u16,
    replayed: bool,
    etag: Option<String>,
    body: String,
}

fn send_again(server: &Server, path: &str, key: &str, patch: &str) -> Again {
    let headers = [("content-type", "application/merge-patch+json"), ("idempotency-key", key)];
    let answer = server.client().send("PATCH", &format!("/api/{path}"), &headers, Some(patch)).unwrap();
    Again {
        status: answer.status,
        replayed: answer.header("idempotency-replayed") == Some("true"),
        etag: answer.header("etag").map(str::to_owned),
        body: answer.text(),
    }
}

#[test]
fn a_write_whose_answer_was_lost_with_the_process_is_done_once() {
    let _alone = alone();
    let mut server = Launch::new("retried").start();
    // The answer was given, and nobody has read it.
    let lost = send_and_forget(&server, "doc", "the-write", r#"{"n":1}"#);
    eventually("the write is done", PATIENCE, || server.get("doc").ok_or_else(|| "not yet".to_owned()));
    server.kill();
    drop(lost);
    server.start();
    let again = send_again(&server, "doc", "the-write", r#"{"n":1}"#);
    assert!((again.status, again.replayed) == (201, true), "{again:?}");
    // After an orderly restart, and over what others have written since.
    server.put("doc", r#"{"n":2}"#);
    server.stop();
    server.start();
    let third = send_again(&server, "doc", "the-write", r#"{"n":1}"#);
    assert_eq!(third, again);
    assert_eq!(server.get("doc").as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(server.history("doc").len(), 1, "done once");
    let reused = send_again(&server, "doc", "the-write", r#"{"n":3}"#);
    assert!(reused.status == 422 && reused.body.contains("idempotency_key_reused"), "{reused:?}");
}

#[test]
fn a_write_that_is_killed_at_any_moment_and_sent_again_is_done_once() {
    let _alone = alone();
    let mut server = Launch::new("killed-writes").start();
    let (mut random, mut replayed) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for round in 0..KILLS {
        let (path, key) = (format!("doc/{round}"), format!("write-{round}"));
        let patch = format!(r#"{{"round":{round}}}"#);
        let lost = send_and_forget(&server, &path, &key, &patch);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The moment is what is tested, not waited for.
        thread::sleep(Duration::from_micros((random >> 33) % 8_000));
        server.kill();
        drop(lost);
        server.start();
        let again = send_again(&server, &path, &key, &patch);
        assert_eq!(again.status, 201, "{again:?}");
        replayed += u64::from(again.replayed);
        assert_eq!(server.history(&path).len(), 0, "round {round}: done once");
        assert_eq!(server.get(&path), Some(patch));
    }
    println!("{KILLS} writes killed within 8 ms: {replayed} had been done, and none was done twice");
}

#[test]
fn another_node_that_has_the_write_answers_for_one_that_is_gone() {
    let _alone = alone();
    let mut one = Launch::new("gone").start();
    let mut other = Launch::new("there").quick().peer(one.url()).start();
    agree(&[&one, &other], None, PATIENCE);
    let lost = send_and_forget(&one, "pushed", "pushed", r#"{"n":1}"#);
    eventually("the other has it", PATIENCE, || other.get("pushed").ok_or_else(|| "not yet".to_owned()));
    drop(lost);
    // Replaced before the other hears of it.
    other.stop();
    let lost = send_and_forget(&one, "replaced", "replaced", r#"{"n":1}"#);
    eventually("the write is done", PATIENCE, || one.get("replaced").ok_or_else(|| "not yet".to_owned()));
    drop(lost);
    one.put("replaced", r#"{"n":2}"#);
    other.start();
    agree(&[&one, &other], None, PATIENCE);
    one.kill();

    for (path, shows) in [("pushed", r#"{"n":1}"#), ("replaced", r#"{"n":2}"#)] {
        let again = send_again(&other, path, path, r#"{"n":1}"#);
        assert!((again.status, again.replayed) == (201, true), "{again:?}");
        assert_eq!(other.get(path).as_deref(), Some(shows));
        assert_eq!(other.history(path).len(), 0, "{path}: done once");
    }
    one.start();
    agree(&[&one, &other], None, PATIENCE);
    assert_eq!(one.history("replaced").len(), 1);
    assert_eq!(one.history("pushed").len(), 0);
}
