//! Resolvers as administrators write them: right ones, broken ones, and hostile ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, where a panic is a failure")]

use std::time::{Duration, Instant};

use rejoin::{Candidate, Hlc, Json, JsonLimits, NodeId, Path, Resolver as _, VersionVector};
use rejoin_resolver::trial::{self, Report, Sample};
use rejoin_resolver::{JavaScript, Script};

/// The example of the first server's README, as written.
const INVENTORY: &str = r#"
server.registerConflictResolver("inventory", (path, localData, remoteData) => {
  // Custom conflict resolution logic
  // Example: take the minimum inventory level to be safe
  const minStock = Math.min(localData.value.stock, remoteData.value.stock);

  // Use the newer timestamp for the result
  const result =
    localData.timestamp >= remoteData.timestamp
      ? { ...localData }
      : { ...remoteData };

  // Override with minimum stock
  result.value = { ...result.value, stock: minStock };

  return result;
});
"#;

fn version(value: &str, ms: u64, node: u8) -> Candidate {
    Candidate {
        value: match value {
            "deleted" => None,
            text => Some(Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap()),
        },
        hlc: Hlc::of_wall(ms),
        origin: NodeId([node; 16]),
        vector_clock: VersionVector::default(),
    }
}

fn resolver(source: &str) -> JavaScript {
    JavaScript::new(Script::new("test.js", source).unwrap())
}

/// The value that a resolver makes of two versions, or why it makes none.
fn value(source: &str, local: &str, remote: &str) -> Result<String, String> {
    let path = Path::parse("inventory/bolts").unwrap();
    let outcome = resolver(source).resolve(&path, &version(local, 1_000, 1), &version(remote, 2_000, 2));
    match outcome {
        Ok(candidate) => Ok(candidate.value.map_or("deleted".to_owned(), |value| value.as_str().to_owned())),
        Err(error) => Err(error.0),
    }
}

#[track_caller]
fn fails(source: &str, words: &str) {
    let outcome = value(source, "{\"a\":1}", "{\"a\":2}");
    let Err(reason) = outcome else { panic!("{source}: {outcome:?}") };
    assert!(reason.contains(words), "{source}: {reason}");
}

#[test]
fn the_first_servers_inventory_example_runs_as_written() {
    let merged = value(INVENTORY, r#"{"stock":3,"name":"old"}"#, r#"{"stock":9,"name":"new"}"#);
    assert_eq!(merged.as_deref(), Ok(r#"{"stock":3,"name":"new"}"#));
}

#[test]
fn a_file_names_its_function_in_any_of_four_ways() {
    for source in [
        "(path, local, remote) => remote",
        "// newest\n(path, local, remote) => remote;\n",
        "export default (path, local, remote) => remote;",
        "const newest = (path, local, remote) => remote;\nexport { newest as default };",
        "export default function newest(path, local, remote) { return remote }",
        "module.exports = (path, local, remote) => remote;",
        "function resolve(path, local, remote) { return remote }",
        "server.registerConflictResolver('users', (path, local, remote) => remote)",
    ] {
        assert_eq!(value(source, "1", "2").as_deref(), Ok("2"), "{source}");
    }
}

#[test]
fn a_file_without_a_function_is_refused_when_it_is_read() {
    for (source, words) in [
        ("", "gives no function"),
        ("42", "gives no function"),
        ("(path, local, remote) => {", "SyntaxError"),
        ("import fs from 'node:fs';\nexport default () => fs", "node:fs"),
        ("throw new Error('no')", "no"),
        ("while (true) {}", "more than 1000000 calls"),
    ] {
        let error = Script::new("test.js", source).unwrap_err().to_string();
        assert!(error.contains(words), "{source}: {error}");
    }
}

#[test]
fn a_resolver_sees_path_value_timestamp_origin_and_deletes() {
    let tell =
        "(path, l, r) => ({ value: [path, l.value, l.timestamp, l.origin, l.deleted, r.value, r.deleted] })";
    let told = value(tell, "{\"a\":[1,null]}", "deleted").unwrap();
    let origin = "01".repeat(16);
    assert_eq!(told, format!(r#"["inventory/bolts",{{"a":[1,null]}},1000,"{origin}",false,null,true]"#));
}

#[test]
fn a_delete_is_told_from_null_both_ways() {
    assert_eq!(value("(p, l, r) => l", "deleted", "1").as_deref(), Ok("deleted"));
    assert_eq!(value("(p, l, r) => l", "null", "1").as_deref(), Ok("null"));
    assert_eq!(value("(p, l, r) => ({ value: null })", "1", "2").as_deref(), Ok("null"));
    assert_eq!(value("(p, l, r) => ({ deleted: true })", "1", "2").as_deref(), Ok("deleted"));
}

#[test]
fn there_is_no_clock_no_chance_and_no_way_out() {
    for (source, words) in [
        ("() => ({ value: Date.now() })", "Date"),
        ("() => ({ value: performance.now() })", "performance"),
        ("() => ({ value: Math.random() })", "not a function"),
        ("() => ({ value: Math.sin(1) })", "not a function"),
        ("() => ({ value: new WeakRef({}) })", "WeakRef"),
        ("() => ({ value: require('fs') })", "require"),
        ("() => ({ value: fetch('http://127.0.0.1') })", "fetch"),
        ("() => ({ value: process.env })", "process"),
        ("() => setTimeout(() => 1)", "setTimeout"),
        ("() => std.open('/etc/passwd')", "std"),
    ] {
        fails(source, words);
    }
}

#[test]
fn nothing_is_remembered_from_call_to_call() {
    let count =
        "let calls = 0; (p, l, r) => { calls += 1; Object.prototype.seen = calls; return { value: calls } }";
    let (resolver, path) = (resolver(count), Path::parse("a").unwrap());
    for ms in 1..5 {
        let outcome = resolver.resolve(&path, &version("1", ms, 1), &version("2", ms, 2)).unwrap();
        assert_eq!(outcome.value.unwrap().as_str(), "1");
    }
}

#[test]
fn nonsense_is_refused_and_never_becomes_null() {
    for (source, words) in [
        ("() => undefined", "it returned undefined"),
        ("() => null", "it returned null"),
        ("() => 7", "it returned number"),
        ("() => [1]", "it returned an array"),
        ("() => ({})", "\"value\" is missing"),
        ("(p, l, r) => ({ ...r, value: { stock: Math.min(l.value.stock, 3) } })", "\"stock\" is NaN"),
        ("() => ({ value: 1 / 0 })", "is Infinity"),
        ("() => ({ value: 10n })", "bigint"),
        ("() => ({ value: () => 1 })", "function"),
        ("() => ({ value: [undefined] })", "undefined"),
        ("async (p, l, r) => r", "a promise"),
        ("() => ({ value: 1, timestamp: -1 })", "timestamp is -1"),
        ("() => ({ value: 1, timestamp: 1.5 })", "timestamp is 1.5"),
        ("() => ({ value: 1, origin: 'me' })", "no node id"),
        ("() => { const a = {}; a.a = a; return { value: a } }", "circular"),
        ("() => { throw 'text' }", "text"),
        ("() => { throw { a: 1 } }", "no error"),
        ("(p, l, r) => l.value.missing.deeper", "cannot read property 'deeper' of undefined (test.js:1:14)"),
    ] {
        fails(source, words);
    }
}

#[test]
fn hostile_resolvers_end_within_their_bounds() {
    let before = Instant::now();
    for (source, words) in [
        ("() => { for (;;) {} }", "calls and turns of loops"),
        (
            "() => { try { for (;;) {} } catch { return { value: 1 } } finally { for (;;) {} } }",
            "calls and turns",
        ),
        ("() => { const f = () => f(); f() }", "stack"),
        ("() => { const a = []; for (;;) a.push('x'.repeat(100000) + a.length) }", "memory"),
        ("() => ({ value: 'x'.repeat(2 ** 29) })", "memory"),
        ("() => /^(a+)+$/.test('a'.repeat(60) + 'b') && 1", "calls and turns of loops"),
        ("() => ({ value: JSON.parse('['.repeat(100000)) })", ""),
        ("() => { let v = 1; for (let i = 0; i < 500; i++) v = [v]; return { value: v } }", ""),
        ("() => new Proxy({}, { get: () => { for (;;) {} } })", "calls and turns of loops"),
    ] {
        fails(source, words);
    }
    // Far more than it takes, and far less than anything without an end.
    assert!(before.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_hangs_inside_the_engine_is_given_up_and_switched_off() {
    // Compares ten million letters ten million times, in one call.
    let hang = "() => 'a'.repeat(2e7).indexOf('a'.repeat(1e7) + 'b')";
    let (resolver, path) = (resolver(hang), Path::parse("a").unwrap());
    let reasons: Vec<String> = (1..=3)
        .map(|ms| resolver.resolve(&path, &version("1", ms, 1), &version("2", ms, 2)).unwrap_err().0)
        .collect();
    assert!(reasons[0].contains("longer than 1 s"), "{reasons:?}");
    assert!(reasons[2].contains("switched off"), "{reasons:?}");
}

#[test]
fn a_second_read_of_the_same_versions_starts_no_engine() {
    let (resolver, path) =
        (resolver("(p, l, r) => l.value === 1 ? r : undefined"), Path::parse("a").unwrap());
    let (one, two) = (version("1", 1, 1), version("2", 2, 2));
    for _ in 0..20 {
        assert_eq!(resolver.resolve(&path, &one, &two).unwrap().value, two.value);
    }
    assert_eq!(resolver.engines_started(), 1);
    // A fault is remembered as well, or every read of the path would cost what it cost to find out.
    for _ in 0..20 {
        resolver.resolve(&path, &two, &one).unwrap_err();
    }
    assert_eq!(resolver.engines_started(), 2);
    // Another path, or another stamp of the same value, is another conflict.
    resolver.resolve(&Path::parse("b").unwrap(), &one, &two).unwrap();
    resolver.resolve(&path, &one, &version("2", 3, 2)).unwrap();
    assert_eq!(resolver.engines_started(), 4);
}

#[test]
fn the_name_covers_the_source_and_not_the_file() {
    let script = |file, source| Script::new(file, source).unwrap().name().to_owned();
    let newest = "(p, l, r) => r";
    assert_eq!(script("a.js", newest), script("b.js", newest));
    assert_ne!(script("a.js", newest), script("a.js", "(p, l, r) => r "));
}

fn tried(source: &str) -> Vec<Report> {
    let script = Script::new("test.js", source).unwrap();
    Sample::built_in().iter().map(|sample| trial::run(&script, sample)).collect()
}

#[track_caller]
fn of<'a>(reports: &'a [Report], name: &str) -> &'a Report {
    reports.iter().find(|report| report.path == format!("samples/{name}")).unwrap()
}

#[test]
fn the_trial_tells_good_resolvers_from_bad_ones() {
    let inventory = tried(INVENTORY);
    for name in ["two-objects", "three-objects", "four-objects"] {
        let report = of(&inventory, name);
        assert!(report.deterministic && report.fault.is_none(), "{report:?}");
        assert_eq!((report.order_independent, report.associative), (Some(true), Some(true)), "{report:?}");
    }
    assert_eq!(
        of(&inventory, "four-objects").value.as_ref().unwrap().get(),
        r#"{"stock":0,"note":"recount"}"#
    );
    assert_eq!(of(&inventory, "same-timestamp").order_independent, Some(false));
    assert!(of(&inventory, "three-numbers").fault.as_ref().unwrap().contains("NaN"));

    let left = tried("(path, local, remote) => local");
    assert_eq!(of(&left, "two-objects").order_independent, Some(false));
    assert_eq!(of(&left, "two-objects").associative, Some(true));
    assert!(of(&left, "three-objects").counterexample.is_some());

    // Commutative, and not associative.
    let mean = tried("(p, l, r) => ({ ...r, value: (l.value + r.value) / 2 })");
    assert_eq!(of(&mean, "three-numbers").associative, Some(false));
}

#[test]
fn what_explain_answers_is_a_sample() {
    let line = r#"{"path":"a/b","strategy":"custom","winner":"x","versions":[
        {"version":"v","origin":"01010101010101010101010101010101","timestamp":5,"counter":1,"op":"put","value":1,"wins":true},
        {"version":"v","origin":"02020202020202020202020202020202","timestamp":3,"counter":0,"op":"delete","wins":false}]}"#;
    let report = trial::run(&Script::new("t.js", "(p, l, r) => r").unwrap(), &Sample::parse(line).unwrap());
    assert_eq!(report.value.unwrap().get(), "1");
    for (bad, words) in [
        ("{}", "path"),
        (r#"{"path":"a","versions":[]}"#, "0 versions"),
        (
            r#"{"path":"a","versions":[{"value":1,"timestamp":1,"origin":"x"},{"value":1,"timestamp":1,"origin":"x"}]}"#,
            "node id",
        ),
    ] {
        assert!(Sample::parse(bad).unwrap_err().contains(words), "{bad}");
    }
}
