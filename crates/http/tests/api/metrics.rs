//! `/metrics`: its format, what is counted, and that the dashboard asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::Server;

/// A page of metrics, parsed.
#[derive(Debug, Default)]
struct Page {
    /// By family: its type.
    families: BTreeMap<String, String>,
    /// By name and labels as text: the value.
    samples: BTreeMap<(String, String), f64>,
}

impl Page {
    /// Parses the OpenMetrics text format; fails on anything else.
    fn parse(text: &str) -> Page {
        let mut page = Page::default();
        let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
        let mut family = String::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (kind, name) = (words.next().unwrap(), words.next().unwrap());
                let rest = words.next().unwrap_or_else(|| panic!("{line}"));
                match kind {
                    "HELP" => name.clone_into(&mut family),
                    "TYPE" => {
                        assert_eq!(name, family, "{line}");
                        assert!(
                            page.families.insert(family.clone(), rest.to_owned()).is_none(),
                            "twice: {line}"
                        );
                    }
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match sample.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
                None => (sample, ""),
            };
            let suffix =
                name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{name} is not of {family}"));
            let suffixes: &[&str] = match page.families[&family].as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{family} is a {other}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let before = page.samples.insert((name.to_owned(), labels.to_owned()), value);
            assert!(before.is_none(), "twice: {line}");
        }
        page
    }

    async fn of(server: &Server) -> Page {
        let answer = server.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kind = answer.header("content-type").unwrap();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        Page::parse(&answer.text())
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &str) -> f64 {
        let sample = (name.to_owned(), labels.to_owned());
        *self.samples.get(&sample).unwrap_or_else(|| panic!("no {name}{{{labels}}} in {:#?}", self.samples))
    }

    fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|(name, _)| name.as_str()).collect()
    }
}

#[tokio::test]
async fn the_page_is_well_formed_and_its_names_follow_the_conventions() {
    let server = Server::on_disk().await;
    server.put("/api/private/alice", "1").await;
    let text = server.get("/metrics").await.text();
    assert!(!text.contains("alice") && !text.contains("private"), "a path in {text}");
    let page = Page::parse(&text);
    for (name, kind) in &page.families {
        assert!(name.starts_with("rejoin_"), "{name}");
        assert!(
            !name.contains("_ms") && !name.contains("millis") && !name.contains("kib"),
            "a base unit: {name}"
        );
        if kind == "histogram" {
            assert!(name.ends_with("_duration_seconds"), "{name}");
        }
    }
    let known = [
        "op",
        "kind",
        "outcome",
        "strategy",
        "direction",
        "peer",
        "state",
        "route",
        "method",
        "status",
        "le",
        "version",
        "engine",
        "durability",
    ];
    for (name, labels) in page.samples.keys().filter(|(_, labels)| !labels.is_empty()) {
        for label in labels.split(',') {
            let (label, _) = label.split_once('=').unwrap();
            assert!(known.contains(&label), "{name}{{{labels}}}");
        }
    }
    // Buckets only grow, and the last holds all.
    let mut last: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut buckets: Vec<(String, String, f64, f64)> = Vec::new();
    for ((name, labels), value) in &page.samples {
        let Some(family) = name.strip_suffix("_bucket") else { continue };
        let (rest, bound) =
            labels.rsplit_once("le=\"").map(|(rest, le)| (rest.trim_end_matches(','), le)).unwrap();
        let (rest, bound) = match bound.split_once("\",") {
            Some((bound, others)) => (others.to_owned(), bound),
            None => (rest.to_owned(), bound.trim_end_matches('"')),
        };
        let bound: f64 = bound.replace("+Inf", "inf").parse().unwrap();
        buckets.push((family.to_owned(), rest, bound, *value));
    }
    buckets.sort_by(|one, other| one.partial_cmp(other).unwrap());
    for (family, labels, bound, value) in buckets {
        let before = last.insert((family.clone(), labels.clone()), value).unwrap_or(0.0);
        assert!(value >= before, "{family}{{{labels}}} falls at {bound}");
        if bound.is_infinite() {
            assert_eq!(
                value.to_bits(),
                page.value(&format!("{family}_count"), &labels).to_bits(),
                "{family}"
            );
        }
    }
    assert!(!last.is_empty());
}

#[tokio::test]
async fn writes_and_requests_are_counted_by_outcome_and_route() {
    let server = Server::on_disk().await;
    server.put("/api/a", "1").await;
    server.put("/api/a", "2").await;
    server.put("/api/b", "{").await;
    server.delete("/api/a").await;
    server.delete("/api/never").await;
    server.get("/api/b").await;
    server.get("/nothing/here").await;
    let page = Page::of(&server).await;
    let writes =
        |op, outcome| page.value("rejoin_writes_total", &format!("op=\"{op}\",outcome=\"{outcome}\""));
    assert_eq!(
        [writes("put", "applied"), writes("delete", "applied"), writes("delete", "not_found")],
        [2.0, 1.0, 1.0]
    );
    let requests = |route, method, status| {
        let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
        page.value("rejoin_http_requests_total", &labels)
    };
    assert_eq!(requests("/api/{path}", "PUT", "2xx"), 2.0);
    assert_eq!(requests("/api/{path}", "PUT", "4xx"), 1.0);
    assert_eq!(requests("/api/{path}", "GET", "4xx"), 1.0);
    assert_eq!(requests("unmatched", "GET", "4xx"), 1.0);
    assert_eq!(page.value("rejoin_http_request_duration_seconds_count", "route=\"/api/{path}\""), 6.0);
    // Three batches, each synced once; opening has synced as well.
    assert!(page.value("rejoin_storage_fsync_duration_seconds_count", "") >= 3.0);
    assert!(page.value("rejoin_storage_commit_duration_seconds_count", "") >= 3.0);
    assert_eq!(page.value("rejoin_storage_tombstones", ""), 1.0);
    assert_eq!(page.value("rejoin_ready", ""), 1.0);
}

#[tokio::test]
async fn peers_are_labelled_by_node_id() {
    let server = Server::on_disk().await;
    let other =
        rejoin::Node::builder().in_memory().peer(format!("http://{}", server.addr)).open().await.unwrap();
    other.put("b", &1).await.unwrap();
    let id = other.info().id.to_string();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let page = loop {
        let page = Page::of(&server).await;
        let received = page.value("rejoin_sync_received_documents_total", "");
        if received > 0.0
            && page.samples.contains_key(&("rejoin_peer_behind_writes".to_owned(), format!("peer=\"{id}\"")))
        {
            break page;
        }
        assert!(std::time::Instant::now() < deadline, "{page:?}");
        server.node.committed(std::time::Duration::from_millis(100)).await;
    };
    let peer = format!("peer=\"{id}\"");
    assert!(page.value("rejoin_peer_bytes_total", &format!("{peer},direction=\"in\"")) > 100.0);
    assert_eq!(page.value("rejoin_peer_policy_mismatch", &peer), 0.0);
    assert_eq!(page.value("rejoin_peers", "state=\"connected\""), 1.0);
    other.close().await.unwrap();
}

#[tokio::test]
async fn every_metric_of_the_dashboard_is_served_and_every_served_one_is_documented() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/grafana/rejoin.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = BTreeSet::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("rejoin_")).map(str::to_owned));
        }
    }
    assert!(asked.len() > 30, "{asked:?}");

    let server = Server::on_disk().await;
    let other =
        rejoin::Node::builder().in_memory().peer(format!("http://{}", server.addr)).open().await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        // Once it has measured a round trip and ended a round, everything is there.
        let _ = server.node.anti_entropy().await.unwrap();
        let page = Page::of(&server).await;
        let served = page.names();
        let missing: Vec<&String> = asked.iter().filter(|name| !served.contains(name.as_str())).collect();
        if missing.is_empty() {
            let undocumented: Vec<&&str> = served.iter().filter(|name| !documents(name)).collect();
            assert!(undocumented.is_empty(), "not in docs/metrics.md: {undocumented:?}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "not served: {missing:?}");
    }
    other.close().await.unwrap();
}

/// Whether docs/metrics.md has the metric of a sample.
fn documents(sample: &str) -> bool {
    const DOCS: &str = include_str!("../../../../docs/metrics.md");
    let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix));
    DOCS.contains(&format!("`{}`", family.unwrap_or(sample)))
}
