//! Several servers: their links, and whether they agree.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::oracle::Oracle;
use super::server::{Item, Server};
use super::wait::eventually;

/// Waits until every peer that a server dials or is dialed by is linked, `links` in all.
#[track_caller]
pub(crate) fn linked(server: &Server, links: usize, at_most: Duration) {
    eventually(&format!("{} has {links} live links", server.name()), at_most, || {
        let peers = server.peers();
        let up = peers.iter().filter(|peer| peer["state"] == "connected").count();
        if up == links && peers.len() == links { Ok(()) } else { Err(format!("{}", Value::Array(peers))) }
    });
}

/// What a server says of its one link.
#[track_caller]
pub(crate) fn link(server: &Server) -> Value {
    let mut peers = server.peers();
    assert_eq!(peers.len(), 1, "{} has one peer: {peers:?}", server.name());
    peers.remove(0)
}

/// Waits until all servers show the same, by digest and vector clock, then compares every document of every server:
/// value, version, entity tag. With an oracle, that is also what they must show.
#[track_caller]
pub(crate) fn agree(
    servers: &[&Server],
    oracle: Option<&Oracle>,
    at_most: Duration,
) -> BTreeMap<String, Item> {
    let names: Vec<&str> = servers.iter().map(|server| server.name()).collect();
    let scans = eventually(&format!("{} agree", names.join(", ")), at_most, || {
        let statuses: Vec<Value> = servers.iter().map(|server| server.status()).collect();
        let seen = |status: &Value| {
            let (digest, clock) = (&status["convergence"]["digest"], &status["vectorClock"]);
            (digest.clone(), clock.clone(), status["storage"]["entries"].clone())
        };
        let first = seen(&statuses[0]);
        for (server, status) in servers.iter().zip(&statuses) {
            if seen(status) != first {
                let one = format!("{} has {:?}", servers[0].name(), first);
                return Err(format!("{one}, {} has {:?}", server.name(), seen(status)));
            }
        }
        if let Some(oracle) = oracle
            && first.2 != oracle.len()
        {
            return Err(format!("all have {} documents instead of {}", first.2, oracle.len()));
        }
        let scans: Vec<_> = servers.iter().map(|server| server.scan()).collect();
        match oracle {
            Some(oracle) => scans.iter().try_for_each(|scan| oracle.check(scan)).map(|()| scans),
            None => Ok(scans),
        }
    });
    for (server, scan) in servers.iter().zip(&scans) {
        assert!(*scan == scans[0], "equal digests, and {} differs from {}", server.name(), names[0]);
    }
    scans.into_iter().next().unwrap_or_default()
}
