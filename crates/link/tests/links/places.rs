//! What needs no network: URLs, backoff, the choice between two links, keys.

use std::time::Duration;

use proptest::prelude::*;
use rejoin_link::{
    Backoff, ClusterId, Limits, NodeKey, PeerUrlError, RefusalCode, accept, config, dial, parse_peer_url,
    prefer, refuse,
};

#[test]
fn peer_urls_have_one_normal_form() {
    for (written, normal) in [
        ("http://localhost:3001", "http://localhost:3001"),
        ("ws://LocalHost:3001/", "http://localhost:3001"),
        ("  WS://a.example.org  ", "http://a.example.org:80"),
        ("http://10.0.0.7:3000/sync/", "http://10.0.0.7:3000/sync"),
        ("ws://[2001:DB8::1]:9/a/b", "http://[2001:db8::1]:9/a/b"),
        ("ws://[::1]", "http://[::1]:80"),
        ("ws://host:3000/api/_link", "http://host:3000"),
        ("ws://host:3000/x/api/_link/", "http://host:3000/x"),
        ("http://my_host-1:65535", "http://my_host-1:65535"),
    ] {
        let url = parse_peer_url(written).unwrap();
        assert_eq!(url.to_string(), normal);
        assert_eq!(parse_peer_url(normal).unwrap(), url);
    }
}

#[test]
fn bad_peer_urls_are_named() {
    for (written, words) in [
        ("", "starts with http:// or ws://"),
        ("localhost:3000", "starts with http:// or ws://"),
        ("https://host:1", "TLS links are not built in yet"),
        ("WSS://host:1", "TLS links are not built in yet"),
        ("ftp://host", "unknown scheme \"ftp\""),
        ("http://", "names no host"),
        ("http://:3000", "names no host"),
        ("http:///x", "names no host"),
        ("http://host:", "not a port"),
        ("http://host:0", "not a port"),
        ("http://host:+80", "not a port"),
        ("http://host:65536", "not a port"),
        ("http://host:80:90", "not a host"),
        ("http://ho st", "not a host"),
        ("http://hôte", "xn--"),
        ("http://1.2.3", "not a host"),
        ("http://a..b", "not a host"),
        ("http://[::1", "not a host"),
        ("http://[::1]x", "not a host"),
        ("http://[fe80::1%eth0]", "not a host"),
        ("http://user:pw@host", "no user name or password"),
        ("http://host?x", "no query"),
        ("http://host/#x", "no query"),
        ("http://host/a b", "contains ' '"),
        ("http://host/a\r\nX: y", "contains '\\r'"),
    ] {
        let error = parse_peer_url(written).unwrap_err().to_string();
        assert!(error.contains(words), "{written:?}: {error}");
    }
    assert_eq!(parse_peer_url(&format!("http://{}", "a".repeat(3000))).unwrap_err(), PeerUrlError::TooLong);
}

#[test]
fn of_two_links_of_a_pair_both_ends_keep_the_same() {
    let (low, high) = ([1; 16], [2; 16]);
    // The link that low dialed: low sees dialed, high does not.
    assert!(prefer(low, high, true) && prefer(high, low, false));
    // The link that high dialed.
    assert!(!prefer(high, low, true) && !prefer(low, high, false));
}

#[test]
fn backoff_doubles_to_its_maximum_and_starts_over() {
    let mut backoff = Backoff::default();
    let mut ceilings = Vec::new();
    for _ in 0..9 {
        ceilings.push(backoff.ceiling().as_millis());
        backoff.next(0);
    }
    assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    backoff.reset();
    assert_eq!(backoff.ceiling(), config::BACKOFF_BASE);
    assert_eq!(backoff.next(0), Duration::ZERO);
    assert_eq!(backoff.next(u64::MAX / 2).as_millis(), 99);
}

#[test]
fn keys_keep_their_seed_and_their_secret() {
    let key = NodeKey::generate().unwrap();
    let same = NodeKey::from_seed(key.seed());
    assert_eq!((key.id(), key.public()), (same.id(), same.public()));
    assert_eq!(key.id(), blake3::hash(&key.public()).as_bytes()[..16]);
    assert_ne!(key.id(), NodeKey::generate().unwrap().id());
    let shown = format!("{:?}", NodeKey::from_seed([7; 32]));
    assert!(!shown.contains("0707") && !shown.contains("7, 7"), "{shown}");
    assert_eq!(ClusterId::of_name("default").to_string().len(), 32);
    assert_ne!(ClusterId::of_name("default"), ClusterId::of_name("Default"));
}

#[test]
fn dialing_and_accepting_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    let url = parse_peer_url("ws://host").unwrap();
    let (us, limits) = (crate::rig::node(1), Limits::default());
    spawnable(&dial(&url, &us, &limits, None));
    spawnable(&accept(tokio::io::empty(), &us, &limits));
    spawnable(&refuse(tokio::io::empty(), RefusalCode::Busy, "", &limits));
}

proptest! {
    #[test]
    fn backoff_stays_within_its_ceiling(randoms in prop::collection::vec(any::<u64>(), 1..20)) {
        let mut backoff = Backoff::default();
        for random in randoms {
            let ceiling = backoff.ceiling();
            prop_assert!(backoff.next(random) <= ceiling && ceiling <= config::BACKOFF_MAX);
        }
    }

    #[test]
    fn any_text_is_a_peer_url_or_an_error(text in "(http|ws)?(://)?[a-z0-9:/.@\\[\\]?# %é-]{0,40}") {
        if let Ok(url) = parse_peer_url(&text) {
            prop_assert_eq!(parse_peer_url(&url.to_string()).unwrap(), url);
        }
    }
}
