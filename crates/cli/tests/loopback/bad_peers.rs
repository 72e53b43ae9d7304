//! Whoever sends nonsense to `/api/_link` loses that connection, is told why where it can be, and costs nobody else
//! anything. Nodes of other clusters are refused, and both sides can see the reason.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use rejoin::{Dot, Epoch, Frontier, NodeId};
use rejoin_link::{
    ClosedBy, ClusterId, ClusterSecret, DialError, HandshakeError, Identity, Limits, Link, LinkError,
    NodeKey, OpenHandshakes, RefusalCode, dial,
};
use rejoin_replica::config::UNASKED_MAX;
use rejoin_replica::{DoubtReason, Message, Proof, Statement, StatementKind, Summary, codec, signed_bytes};
use serde_json::Value;

use crate::harness::{Launch, Server, agree, eventually, link, linked};

const HEALED_MAX: Duration = Duration::from_secs(40);

/// A victim with a good peer, whose link must not notice anything.
struct Story {
    victim: Server,
    friend: Server,
    links_since: Value,
    writes: usize,
}

impl Story {
    fn begin() -> Story {
        let victim = Launch::new("victim").quick().start();
        let friend = Launch::new("friend").quick().peer(victim.url()).start();
        linked(&victim, 1, HEALED_MAX);
        let links_since = link(&victim)["since"].clone();
        Story { victim, friend, links_since, writes: 0 }
    }

    /// The victim serves, and syncs over the link that it had before.
    #[track_caller]
    fn goes_on(&mut self) {
        self.writes += 1;
        let path = format!("goes-on/{}", self.writes);
        self.victim.put(&path, "true");
        eventually("a write reaches the friend", HEALED_MAX, || {
            self.friend.get(&path).ok_or_else(|| "not yet".to_owned())
        });
        linked(&self.victim, 1, HEALED_MAX);
        assert_eq!(link(&self.victim)["since"], self.links_since, "the good link was never down");
    }
}

/// Sends bytes after an upgrade that is in order, and reads until the server closes.
fn after_upgrade(port: u16, bytes: &[u8]) -> Vec<u8> {
    let request = format!(
        "GET /api/_link HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("the server keeps the connection: {error}"),
    }
}

/// A client's binary WebSocket frame with a mask of zeros, of that declared length.
fn frame(declared_bytes: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0xff];
    frame.extend_from_slice(&declared_bytes.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame
}

#[test]
fn garbage_before_the_handshake_closes_that_connection_only() {
    let mut story = Story::begin();
    let port = story.victim.port();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.to_be_bytes()[0]
    })
    .take(4096)
    .collect();
    for (name, bytes) in [
        ("random bytes", garbage.clone()),
        ("zeros", vec![0; 4096]),
        ("a frame that says it has 2^40 bytes", frame(1 << 40, &garbage)),
        ("a frame of random bytes", frame(garbage.len() as u64, &garbage)),
        ("an empty frame", frame(0, &[])),
        ("a handshake message of another protocol", frame(5, b"\x01HTTP")),
    ] {
        let logged = story.victim.log().len();
        let answer = after_upgrade(port, &bytes);
        let line = story.victim.logs(logged, &["an incoming link was refused", "error="]);
        println!("{name}: {} bytes back, logged: {line}", answer.len());
        story.goes_on();
    }
    // Not even HTTP.
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(&garbage);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    story.goes_on();
}

/// A peer of the default cluster that keeps to the protocol until it is linked.
pub(crate) fn identity(name: &str) -> Identity {
    Identity {
        key: Arc::new(NodeKey::generate().unwrap()),
        cluster: ClusterId::of_name("default"),
        secret: None,
        name: name.to_owned(),
        epoch: 1,
        policy: [0; 16],
        handshakes: OpenHandshakes::default(),
    }
}

/// Links of its own; without the limits that a good peer keeps.
pub(crate) fn dial_as(identity: &Identity, server: &Server) -> Result<Link, DialError> {
    let limits = Limits { frame_bytes_max: usize::MAX / 2, ..Limits::default() };
    let url = server.url().parse().unwrap();
    runtime().block_on(dial(&url, identity, &limits, None))
}

pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

/// Sends these frames over a link that is up, and gives the reason with which the server closes it.
fn reason_for(link: Link, frames: Vec<Vec<u8>>) -> String {
    let ended = async {
        let (sender, mut receiver) = link.split();
        // The server may close before it has read everything.
        for frame in frames {
            let _ = sender.send(Bytes::from(frame)).await;
        }
        loop {
            match receiver.recv().await {
                // What a good peer gets as well: a probe, pushes.
                Ok(Some(_)) => {}
                Ok(None) => {
                    let reason = receiver.close_reason().unwrap();
                    assert_eq!(reason.by, ClosedBy::Peer, "{reason}");
                    return reason.reason;
                }
                Err(error) => return lost(&error),
            }
        }
    };
    runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the server closes the link")
    })
}

/// A server that closes while we still write may reset the connection before its reason is read.
fn lost(error: &LinkError) -> String {
    assert!(matches!(error, LinkError::Io(_) | LinkError::Lost), "{error}");
    format!("(no reason received: {error})")
}

#[test]
fn a_bad_frame_of_a_proven_peer_closes_that_link_only() {
    let mut story = Story::begin();
    let never_made = Dot { node: id(&story.victim), epoch: epoch(&story.victim), seq: 1_000_000 };
    let claims = [never_made].into_iter().collect::<Frontier>();
    let claim = codec::encode(&Message::CaughtUp { exchange: 9, claims });
    // One message that nobody asked for is ignored; whoever goes on is not listened to.
    let again_and_again = |frame: Vec<u8>| vec![frame; UNASKED_MAX as usize + 1];
    let malformed: [(&str, Vec<Vec<u8>>, &str); 6] = [
        ("an unknown type", vec![vec![0xee, 1, 2, 3]], "a frame of 4 bytes is not understood"),
        ("an empty frame", vec![Vec::new()], "a frame of 0 bytes is not understood"),
        ("a probe cut short", vec![cut(&codec::encode(&Message::Same))], "is not understood"),
        ("64 KiB of noise", vec![vec![7; 64 * 1024]], "is not understood"),
        ("answers to no question", again_and_again(codec::encode(&Message::Graft)), "protocol violation"),
        ("claims that nobody asked for", again_and_again(claim), "protocol violation"),
    ];
    for (name, frame, reason) in malformed {
        let logged = story.victim.log().len();
        let link = dial_as(&identity(name), &story.victim).unwrap();
        linked(&story.victim, 2, HEALED_MAX);
        let said = reason_for(link, frame);
        assert!(said.contains(reason), "{name}: {said}");
        let line = story.victim.logs(logged, &["closing a link", reason]);
        println!("{name}: the peer is told {said:?}; logged: {line}");
        story.goes_on();
    }
    // Longer than any frame that the protocol allows, in fragments that it does.
    let bytes = rejoin_link::config::FRAME_BYTES_MAX + 1;
    let link = dial_as(&identity("oversized"), &story.victim).unwrap();
    let before_kib = story.victim.resident_kib();
    let said = reason_for(link, vec![vec![0; bytes]]);
    let growth_kib = story.victim.resident_kib().saturating_sub(before_kib);
    let line = story.victim.logs(0, &["link closed", "oversized", "longer than the limit"]);
    println!("a frame of {bytes} bytes: the peer is told {said:?}; logged: {line}; grew by {growth_kib} KiB");
    story.goes_on();
}

/// A peer answers what it is asked, and says that it has writes of sixty thousand lives that nobody ever heard of. All of it
/// keeps to the protocol; the frontier that would hold it would be there for good.
#[test]
fn a_claim_of_lives_that_nobody_began_costs_nothing_for_good() {
    const LIVES: u32 = 60_000;
    let mut story = Story::begin();
    let invented = |number: u32| {
        let mut node = NodeId([0xee; 16]);
        node.0[12..].copy_from_slice(&number.to_be_bytes());
        Dot { node, epoch: Epoch(1), seq: 1 }
    };
    let claims: Frontier = (0..LIVES).map(invented).collect();
    let values = Summary { fingerprint: 1, count: 1 };
    let said = [
        Message::Probe { exchange: 1, frontier: [1; 16], values },
        Message::Ask { nodes: Vec::new(), rows: Frontier::new(), documents: 0 },
        Message::CaughtUp { exchange: 1, claims },
    ]
    .map(|message| Bytes::from(codec::encode(&message)));
    let bytes = said[2].len();
    story.victim.put("before", "1");
    let before_kib = story.victim.resident_kib();
    let link = dial_as(&identity("inventive"), &story.victim).unwrap();
    linked(&story.victim, 2, HEALED_MAX);
    let (sender, receiver) = link.split();
    runtime().block_on(async {
        for frame in said {
            sender.send(frame).await.unwrap();
        }
    });
    eventually("the alarm stands", HEALED_MAX, || {
        let alarms = story.victim.status()["alarms"].to_string();
        if alarms.contains("unexplained-rows") { Ok(()) } else { Err(alarms) }
    });
    drop((sender, receiver));
    let growth_kib = story.victim.resident_kib().saturating_sub(before_kib);
    story.goes_on();
    let took = |story: &Story| {
        let began = std::time::Instant::now();
        (0..50).for_each(|n| drop(story.victim.put("after", &n.to_string())));
        began.elapsed() / 50
    };
    let put = took(&story);
    story.victim.stop();
    story.victim.start();
    let (restarted_kib, again) = (story.victim.resident_kib(), took(&story));
    println!(
        "a claim of {bytes} bytes: grew by {growth_kib} KiB, {put:?} a put; after a restart {restarted_kib} KiB, {again:?} a put"
    );
    // What it takes to read two megabytes of names, for as long as that takes.
    assert!(growth_kib < 160 * 1024, "grew by {growth_kib} KiB");
    assert!(
        restarted_kib < before_kib + 16 * 1024,
        "{before_kib} KiB before, {restarted_kib} after a restart"
    );
    assert!(put < Duration::from_millis(100) && again < Duration::from_millis(100), "{put:?}, {again:?}");
}

/// A doubt of a life keeps others from removing what rests on it and makes its node take a new identity: that node alone
/// can say so.
#[test]
fn a_doubt_that_its_node_has_not_signed_is_believed_by_nobody() {
    let mut story = Story::begin();
    let friend = (id(&story.friend), epoch(&story.friend));
    let victim = (id(&story.victim), epoch(&story.victim));
    let liar = identity("liar");
    let doubted = StatementKind::Doubted(DoubtReason::Twin);
    let says = |life, signed| {
        let signature = liar.key.sign_statement(&signed_bytes(signed, doubted));
        let proof = Proof { key: liar.key.public(), signature };
        Statement { life, kind: doubted, proof }
    };
    let own = (NodeId(liar.key.id()), Epoch(liar.epoch));
    let true_one = says(own, own);
    let mut changed = true_one;
    changed.proof.signature[5] ^= 1;
    for (name, statements) in [
        ("of the victim", vec![says(victim, victim)]),
        ("of its friend", vec![says(friend, friend)]),
        ("of its friend, signed for itself", vec![says(friend, own)]),
        ("of another life of its own than it signed", vec![says((own.0, Epoch(99)), own)]),
        (
            "with a signature that was changed, behind many good ones",
            [vec![true_one; 200], vec![changed]].concat(),
        ),
    ] {
        let link = dial_as(&liar, &story.victim).unwrap();
        linked(&story.victim, 2, HEALED_MAX);
        let said = reason_for(link, vec![codec::encode(&Message::Statements(statements))]);
        assert!(said.contains("a statement that its node has not signed"), "{name}: {said}");
        story.goes_on();
        for server in [&story.victim, &story.friend] {
            assert_eq!(server.status()["doubts"], Value::Array(Vec::new()), "{name}");
        }
        println!("a doubt {name}: {said}");
    }
    // Of itself everybody is believed, also by those who are told by others.
    let link = dial_as(&liar, &story.victim).unwrap();
    let (sender, _receiver) = link.split();
    let frame = codec::encode(&Message::Statements(vec![true_one]));
    runtime().block_on(sender.send(Bytes::from(frame))).unwrap();
    for server in [&story.victim, &story.friend] {
        eventually("it is known", HEALED_MAX, || match &server.status()["doubts"][0]["node"] {
            Value::String(node) if *node == own.0.to_string() => Ok(()),
            other => Err(other.to_string()),
        });
    }
    assert_eq!(
        ((id(&story.friend), epoch(&story.friend)), (id(&story.victim), epoch(&story.victim))),
        (friend, victim)
    );
}

fn cut(frame: &[u8]) -> Vec<u8> {
    frame[..frame.len() - 1].to_vec()
}

fn id(server: &Server) -> NodeId {
    let text = server.status()["serverID"].as_str().unwrap().to_owned();
    let number = u128::from_str_radix(&text, 16).unwrap();
    NodeId(number.to_be_bytes())
}

fn epoch(server: &Server) -> Epoch {
    let text = server.status()["epoch"].as_str().unwrap().to_owned();
    Epoch(u64::from_str_radix(&text, 16).unwrap())
}

/// What a server says of the peer that it dials, once it is refused.
#[track_caller]
fn rejected(server: &Server) -> String {
    eventually(&format!("{} is refused", server.name()), HEALED_MAX, || {
        let peers = server.ask("GET", "/api/_peers", None).json()["peers"].clone();
        match (&peers[0]["state"], &peers[0]["lastError"]) {
            (Value::String(state), Value::String(error)) if state == "rejected" => Ok(error.clone()),
            _ => Err(peers.to_string()),
        }
    })
}

#[test]
fn other_clusters_and_wrong_secrets_are_refused_with_a_visible_reason() {
    let plain = Launch::new("plain").quick().start();
    let named = Launch::new("named").quick().config("[cluster]\nname = \"other\"").peer(plain.url()).start();
    let secret = "[cluster]\nsecret = \"correct horse battery staple\"";
    let keeper = Launch::new("keeper").quick().config(secret).start();
    let guesser = Launch::new("guesser").quick().config("[cluster]\nsecret = \"tr0ub4dor and 3 more\"");
    let guesser = guesser.peer(keeper.url()).start();
    let stranger = Launch::new("stranger").quick().peer(keeper.url()).start();
    let member = Launch::new("member").quick().config(secret).peer(keeper.url()).start();
    for (server, refused) in
        [(&named, "another cluster"), (&guesser, "another secret"), (&stranger, "no secret")]
    {
        let error = rejected(server);
        assert!(error.contains("cluster"), "{error}");
        println!("{refused}: lastError is {error:?}");
        server.put("private", "true");
    }
    // The side that is dialed knows as well, in its log.
    plain.logs(0, &["an incoming link was refused", "cluster"]);
    keeper.logs(0, &["an incoming link was refused", "cluster"]);

    // Who knows the cluster's public id, and not its secret.
    let cluster = ClusterId::of_secret(&ClusterSecret::new("correct horse battery staple"));
    for (name, guess) in [("no secret", None), ("a wrong secret", Some(ClusterSecret::new("a guess")))] {
        let impostor = Identity { cluster, secret: guess, ..identity("impostor") };
        let refused = dial_as(&impostor, &keeper);
        let Err(DialError::Handshake(
            error @ HandshakeError::Refused(_) | error @ HandshakeError::Refusing(_),
        )) = refused
        else {
            panic!("{name}: {refused:?}")
        };
        assert_eq!(error.code(), Some(RefusalCode::WrongSecret), "{error}");
        println!("the right cluster id with {name}: {error}");
    }
    keeper.logs(0, &["an incoming link was refused", "secret"]);

    // Those who belong together sync, and what others wrote is nowhere.
    linked(&keeper, 1, HEALED_MAX);
    member.put("shared", "true");
    agree(&[&keeper, &member], None, HEALED_MAX);
    assert_eq!(keeper.get("private"), None);
    assert_eq!(plain.scan().len(), 0);
}

#[test]
fn a_node_that_dials_itself_says_so() {
    let plan = Launch::new("narcissus").quick();
    let own = plan.url();
    let server = plan.peer(own).start();
    let error = rejected(&server);
    assert!(error.contains("itself"), "{error}");
    server.put("mirror", "true");
    assert_eq!(server.scan().len(), 1);
    println!("a node that dials itself: lastError is {error:?}");
}
