//! Two nodes that part, write, and meet again under a resolver.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Launch, Proxy, Server, agree, eventually, linked};

const HEALED_MAX: Duration = Duration::from_secs(40);

/// The example of the first server's README, as written.
pub(crate) const INVENTORY: &str = r#"server.registerConflictResolver("inventory", (path, localData, remoteData) => {
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

/// A folder with a resolver, and the configuration that names it.
fn resolver(source: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolver.js");
    fs::write(&file, source).unwrap();
    let config = format!("[conflict.resolvers]\ninventory = {}\n", Value::from(file.to_str().unwrap()));
    (folder, config)
}

/// Two linked servers, and the wire between them.
struct Pair {
    a: Server,
    b: Server,
    wire: Proxy,
    _folder: TempDir,
}

impl Pair {
    fn under(source: &str) -> Pair {
        let (folder, config) = resolver(source);
        let a = Launch::new("a").quick().config(&config).start();
        let wire = Proxy::to(a.port());
        let b = Launch::new("b").quick().config(&config).peer(wire.url()).start();
        linked(&a, 1, HEALED_MAX);
        linked(&b, 1, HEALED_MAX);
        Pair { a, b, wire, _folder: folder }
    }

    fn both(&self) -> [&Server; 2] {
        [&self.a, &self.b]
    }

    /// Parts the two, lets each write, and waits until they agree again.
    fn part(&self, writes: impl FnOnce(&Server, &Server)) {
        self.wire.cut();
        for server in self.both() {
            eventually(&format!("{} is alone", server.name()), HEALED_MAX, || {
                let peers = server.peers();
                match peers.iter().all(|peer| peer["state"] != "connected") {
                    true => Ok(()),
                    false => Err(format!("{peers:?}")),
                }
            });
        }
        writes(&self.a, &self.b);
        self.wire.heal();
        agree(&self.both(), None, HEALED_MAX);
    }
}

fn value(server: &Server, path: &str) -> Value {
    server.ask("GET", &format!("/api/{path}"), None).json()
}

#[test]
fn the_seeds_inventory_resolver_gives_one_value_on_both_nodes_after_a_partition() {
    let pair = Pair::under(INVENTORY);
    pair.a.put("inventory/bolts", r#"{"stock":10,"name":"bolts"}"#);
    agree(&pair.both(), None, HEALED_MAX);
    pair.part(|a, b| {
        a.put("inventory/bolts", r#"{"stock":4,"name":"bolts"}"#);
        // Later, and with more in stock.
        b.put("inventory/bolts", r#"{"stock":7,"name":"bolts M4"}"#);
        a.put("elsewhere", "1");
        b.put("elsewhere", "2");
    });
    for server in pair.both() {
        // The least stock of the two, and the rest of the later one.
        let name = server.explain("inventory/bolts")["versions"]
            .as_array()
            .unwrap()
            .iter()
            .max_by_key(|version| (version["timestamp"].as_u64(), version["counter"].as_u64()))
            .map(|newest| newest["value"]["name"].clone());
        assert_eq!(
            Some(value(server, "inventory/bolts")),
            name.map(|name| json!({"stock": 4, "name": name})),
            "on {}",
            server.name()
        );
        let explained = server.explain("inventory/bolts");
        assert_eq!((&explained["strategy"], &explained["resolverFailed"]), (&json!("custom"), &json!(false)));
        assert_eq!(explained["versions"].as_array().unwrap().len(), 2, "{explained}");
        assert_eq!(server.explain("elsewhere")["strategy"], "last-write-wins");
        assert_eq!(server.status()["policy"]["mismatchedPeers"], json!([]));
    }
    let texts: Vec<_> = pair.both().map(|server| server.get("inventory/bolts")).into();
    assert_eq!(texts[0], texts[1], "the same text, member order and all");
}

#[test]
fn a_resolver_that_fails_shows_the_newest_version_and_says_so() {
    let pair = Pair::under("(path, local, remote) => { for (;;) {} }");
    pair.part(|a, b| {
        a.put("inventory/bolts", "1");
        b.put("inventory/bolts", "2");
    });
    for server in pair.both() {
        let explained = server.explain("inventory/bolts");
        assert_eq!(explained["resolverFailed"], true, "{explained}");
        let newest = explained["versions"].as_array().unwrap().iter().max_by_key(|version| {
            (
                version["timestamp"].as_u64(),
                version["counter"].as_u64(),
                version["version"].as_str().map(str::to_owned),
            )
        });
        assert_eq!(value(server, "inventory/bolts"), newest.unwrap()["value"]);
        server
            .logs(0, &["WARN", "a conflict resolver failed", "inventory/bolts", "calls and turns of loops"]);
    }
    assert_eq!(value(&pair.a, "inventory/bolts"), value(&pair.b, "inventory/bolts"));
}

#[test]
fn nodes_with_other_resolver_code_alarm_at_the_handshake() {
    let (_one, inventory) = resolver(INVENTORY);
    let (_other, newest) = resolver("(path, local, remote) => remote");
    let a = Launch::new("a").quick().config(&inventory).start();
    let b = Launch::new("b").quick().config(&newest).peer(a.url()).start();
    linked(&a, 1, HEALED_MAX);
    linked(&b, 1, HEALED_MAX);
    for (server, other) in [(&a, &b), (&b, &a)] {
        let status = server.status();
        assert_eq!(status["policy"]["mismatchedPeers"], json!([other.status()["serverID"]]), "{status}");
        assert_ne!(status["policy"]["hash"], other.status()["policy"]["hash"]);
        server.logs(0, &["WARN", "the peer has other conflict strategies"]);
    }
}
