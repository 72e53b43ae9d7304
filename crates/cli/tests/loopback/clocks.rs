//! A real server whose wall clock is years ahead, and then right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Launch, Server, eventually};

/// Nodes notice and settle things within this time, on a busy machine.
const SOON: Duration = Duration::from_secs(90);

const TEN_YEARS_S: u64 = 10 * 365 * 86_400;

/// Builds the library that moves clocks; the server is started with it.
fn clock_library(folder: &Path) -> PathBuf {
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loopback/clock.c"), folder.join("clock.so"));
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.is_ok_and(|status| status.success()), "the C compiler builds the library");
    library
}

fn alarms(server: &Server) -> Vec<String> {
    let status = server.status();
    let alarms = status["alarms"].as_array().unwrap().iter();
    alarms.map(|alarm| alarm["kind"].as_str().unwrap().to_owned()).collect()
}

fn documents_received(server: &Server) -> u64 {
    let text = server.ask("GET", "/metrics", None).text();
    let line = text.lines().find(|line| line.starts_with("rejoin_sync_received_documents_total"));
    line.and_then(|line| line.rsplit(' ').next()?.split('.').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_clock_ten_years_ahead_once_recovers_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let library = clock_library(folder.path());
    let offset = folder.path().join("offset");
    fs::write(&offset, TEN_YEARS_S.to_string()).unwrap();
    let wrong = Launch::new("wrong").quick();
    let wrong = wrong.environment("LD_PRELOAD", library);
    let wrong = wrong.environment("CLOCK_OFFSET", &offset).start();
    let right = Launch::new("right").quick().peer(wrong.url()).start();
    let third = Launch::new("third").quick().peer(right.url()).start();

    let value = format!("\"{}\"", "x".repeat(1_000_000));
    for number in 0..40 {
        wrong.put(&format!("far/{number}"), &value);
    }
    eventually("all of it waits", SOON, || {
        let held = right.ask("GET", "/api/_quarantine", None).json();
        (held["count"] == 40).then_some(()).ok_or(held["count"].to_string())
    });
    assert!(alarms(&right).contains(&"quarantine".to_owned()), "{:?}", alarms(&right));
    assert!(alarms(&right).contains(&"peer-clock".to_owned()), "{:?}", alarms(&right));
    assert!(alarms(&wrong).contains(&"clock-differs".to_owned()), "{:?}", alarms(&wrong));

    // Rounds bring nothing of it again, and say nothing of it again.
    let (received, logged) = (documents_received(&right), right.log().len());
    for _ in 0..3 {
        right.anti_entropy();
    }
    println!(
        "three rounds: {} documents again, {} bytes of log",
        documents_received(&right) - received,
        right.log().len() - logged
    );
    assert_eq!(documents_received(&right), received);
    assert!(right.log().len() - logged < 2_000);

    // Everything else goes on, tokens included.
    right.put("near", "1");
    right.put("near", "2");
    eventually("others are told", SOON, || match third.get("near").as_deref() {
        Some("2") => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // The clock is right again: no restart, no operator.
    fs::write(&offset, "0").unwrap();
    let from = Instant::now();
    eventually("nothing waits any more", SOON, || {
        let (held, there) = (right.status()["clock"]["quarantined"].clone(), third.get("far/39").is_some());
        (held == 0 && there).then_some(()).ok_or(format!("{held} {there}"))
    });
    println!("recovered {} ms after the clock was right", from.elapsed().as_millis());
    eventually("the alarms are over", SOON, || {
        let kinds = alarms(&wrong);
        let over = !kinds.iter().any(|kind| kind.starts_with("clock"));
        over.then_some(()).ok_or(format!("{kinds:?}"))
    });
    let stamp = wrong.put("later", "1")["timestamp"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(u128::from(stamp) < now + 60_000, "{stamp} is not ahead of {now}");
    let _: Value = right.put("far/0", "1");
    eventually("a later write wins", SOON, || match wrong.get("far/0").as_deref() {
        Some("1") => Ok(()),
        _ => Err("not yet".to_owned()),
    });
}
