//! Who does not belong learns why, on both sides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt as _;
use rejoin_link::{
    AcceptError, ClusterId, ClusterSecret, HandshakeError, Identity, Limits, Refusal, RefusalCode,
    accept_http, refuse,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::rig::{
    Accepted, Dialed, Toward, accept_refusal, dial_refusal, listening, meddler, meet, meet_through, node,
    refusal_heard, soon, stranger, url,
};

const HELLO: u8 = 1;
const PROOF: u8 = 2;

fn with_secret(mut us: Identity, secret: Option<&str>) -> Identity {
    us.secret = secret.map(ClusterSecret::new);
    us
}

#[track_caller]
fn assert_both(outcome: (Dialed, Accepted), code: RefusalCode, words: &str) {
    let (dialed, accepted) = (dial_refusal(outcome.0), accept_refusal(outcome.1));
    for error in [&dialed, &accepted] {
        assert_eq!(error.code(), Some(code), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[track_caller]
fn assert_listener_refuses(outcome: (Dialed, Accepted), expected: RefusalCode, words: &str) {
    match (dial_refusal(outcome.0), accept_refusal(outcome.1)) {
        (HandshakeError::Refused(told), HandshakeError::Refusing(said)) => {
            assert_eq!(told, said);
            assert_eq!(said.code, expected);
            assert!(said.reason.contains(words), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_wrong_cluster() {
    let mut other = node(2);
    other.cluster = ClusterId::of_name("other");
    let id = other.cluster.to_string();
    assert_both(meet(&node(1), &other).await, RefusalCode::WrongCluster, &id);
    assert_both(meet(&node(1), &other).await, RefusalCode::WrongCluster, "the cluster's name differs");
}

/// A node names its cluster by the secret that it was given: what people see of a wrong one is another cluster.
#[tokio::test]
async fn clusters_of_different_secrets_say_that_the_secret_differs() {
    let secret_node = |number, secret| {
        let mut node = with_secret(node(number), Some(secret));
        node.cluster = ClusterId::of_secret(&ClusterSecret::new(secret));
        node
    };
    for other in [secret_node(2, "two"), node(2)] {
        let outcome = meet(&secret_node(1, "one"), &other).await;
        let (dialed, accepted) = (dial_refusal(outcome.0), accept_refusal(outcome.1));
        assert!(dialed.to_string().contains("the cluster secret differs"), "{dialed}");
        assert!(accepted.to_string().contains("cluster secret"), "{accepted}");
    }
}

#[tokio::test]
async fn the_wrong_secret() {
    for (dialer, listener) in [(Some("one"), Some("two")), (Some("one"), None), (None, Some("two"))] {
        let outcome = meet(&with_secret(node(1), dialer), &with_secret(node(2), listener)).await;
        assert_both(outcome, RefusalCode::WrongSecret, "secret");
    }
    let outcome = meet(&with_secret(node(1), Some("one")), &with_secret(node(2), Some("one"))).await;
    assert!(outcome.0.is_ok() && outcome.1.is_ok());
    // Secrets have cluster ids of their own.
    let (one, two) = (ClusterSecret::new("one"), ClusterSecret::new("two"));
    assert_ne!(ClusterId::of_secret(&one), ClusterId::of_secret(&two));
    assert_ne!(ClusterId::of_secret(&one), ClusterId::of_name("one"));
}

#[tokio::test]
async fn a_tampered_proof() {
    for byte in [1, 40, 64] {
        let outcome = meet_through(&node(1), &node(2), |addr| {
            meddler(addr, move |toward, message| {
                if toward == Toward::Listener && message[0] == PROOF {
                    message[byte] ^= 1;
                }
            })
        })
        .await;
        assert_listener_refuses(outcome, RefusalCode::BadProof, "signature");
    }
}

#[tokio::test]
async fn a_tampered_mac() {
    let secret = |us| with_secret(us, Some("shared"));
    let outcome = meet_through(&secret(node(1)), &secret(node(2)), |addr| {
        meddler(addr, |toward, message| {
            if toward == Toward::Listener && message[0] == PROOF {
                message[70] ^= 1;
            }
        })
    })
    .await;
    assert_listener_refuses(outcome, RefusalCode::WrongSecret, "secret");
}

#[tokio::test]
async fn a_name_changed_on_the_way() {
    let outcome = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, |toward, message| {
            if toward == Toward::Listener && message[0] == HELLO {
                let last = message.len() - 1;
                message[last] = b'9';
            }
        })
    })
    .await;
    let (dialed, accepted) = (dial_refusal(outcome.0), accept_refusal(outcome.1));
    assert_eq!((dialed.code(), accepted.code()), (Some(RefusalCode::BadProof), Some(RefusalCode::BadProof)));
}

#[tokio::test]
async fn a_handshake_replayed() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    let (dialed, accepted) = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, move |toward, message| {
            if toward == Toward::Listener {
                record.lock().unwrap().push(message.clone());
            }
        })
    })
    .await;
    assert!(dialed.is_ok() && accepted.is_ok());

    let (addr, accepted) = listening(node(2), Limits::default()).await;
    let mut thief = stranger(addr).await;
    let recorded: Vec<Vec<u8>> = heard.lock().unwrap().drain(..3).collect();
    for message in recorded {
        thief.send(Message::Binary(message.into())).await.unwrap();
    }
    let (code, reason) = refusal_heard(&mut thief).await;
    assert_eq!((code, reason.as_str()), (3, "the signature does not match the key and this handshake"));
    drop(thief);
    assert_eq!(accept_refusal(soon(accepted).await.unwrap()).code(), Some(RefusalCode::BadProof));
}

#[tokio::test]
async fn our_own_words_echoed() {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = echo.local_addr().unwrap();
    tokio::spawn(async move {
        use futures_util::StreamExt as _;
        let mut socket = tokio_tungstenite::accept_async(echo.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let _ = socket.send(message).await;
        }
    });
    let dialed = soon(rejoin_link::dial(&url(addr), &node(1), &Limits::default(), None)).await;
    assert_eq!(dial_refusal(dialed).code(), Some(RefusalCode::Itself));
}

#[tokio::test]
async fn itself() {
    let us = node(1);
    assert_both(meet(&us, &us).await, RefusalCode::Itself, "itself");
}

/// A machine copied with its memory runs the node twice, in one epoch. Whichever dials, both hear of it.
#[tokio::test]
async fn a_twin_is_told_from_oneself() {
    let (original, copy) = (node(1), node(1));
    let (dialed, accepted) = meet(&original, &copy).await;
    let (dialed, accepted) = (dial_refusal(dialed), accept_refusal(accepted));
    assert!(matches!(dialed, HandshakeError::Twin), "{dialed}");
    assert!(matches!(accepted, HandshakeError::Twin), "{accepted}");
    assert_eq!((dialed.code(), accepted.code()), (Some(RefusalCode::Twin), Some(RefusalCode::Twin)));
}

/// What a process once said under our key, played to us by somebody who has not the key, is no twin.
#[tokio::test]
async fn a_pretended_twin_is_no_twin() {
    let key = node(2).key.public();
    let epoch = node(2).epoch.to_be_bytes();
    let (_, accepted) = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, move |toward, message| {
            if toward == Toward::Listener && message[0] == HELLO {
                message[25..57].copy_from_slice(&key);
                message[57..65].copy_from_slice(&epoch);
            }
        })
    })
    .await;
    assert_eq!(accept_refusal(accepted).code(), Some(RefusalCode::BadProof));
}

#[tokio::test]
async fn a_twins_handshake_replayed_is_no_twin() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    let (dialed, accepted) = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, move |toward, message| {
            if toward == Toward::Listener {
                record.lock().unwrap().push(message.clone());
            }
        })
    })
    .await;
    assert!(dialed.is_ok() && accepted.is_ok());
    // The thief plays it to the very process that said it.
    let (addr, accepted) = listening(node(1), Limits::default()).await;
    let mut thief = stranger(addr).await;
    let recorded: Vec<Vec<u8>> = heard.lock().unwrap().drain(..2).collect();
    for message in recorded {
        thief.send(Message::Binary(message.into())).await.unwrap();
    }
    let (code, reason) = refusal_heard(&mut thief).await;
    assert_eq!((code, reason.as_str()), (3, "the signature does not match the key and this handshake"));
    drop(thief);
    assert_eq!(accept_refusal(soon(accepted).await.unwrap()).code(), Some(RefusalCode::BadProof));
}

#[tokio::test]
async fn a_clone_is_named_with_its_epoch() {
    let mut copy = node(1);
    copy.epoch = 4242;
    let (dialed, accepted) = meet(&node(1), &copy).await;
    let (dialed, accepted) = (dial_refusal(dialed), accept_refusal(accepted));
    assert!(matches!(dialed, HandshakeError::Clone { epoch: 4242 }), "{dialed}");
    assert!(matches!(accepted, HandshakeError::Clone { epoch: 1000 }), "{accepted}");
}

#[tokio::test]
async fn a_pretended_clone_is_no_clone() {
    // The meddler writes the listener's key over the dialer's: without a proof that raises no alarm.
    let key = node(2).key.public();
    let (_, accepted) = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, move |toward, message| {
            if toward == Toward::Listener && message[0] == HELLO {
                message[25..57].copy_from_slice(&key);
            }
        })
    })
    .await;
    assert_eq!(accept_refusal(accepted).code(), Some(RefusalCode::BadProof));
}

#[tokio::test]
async fn no_common_version() {
    let outcome = meet_through(&node(1), &node(2), |addr| {
        meddler(addr, |toward, message| {
            if toward == Toward::Listener && message[0] == HELLO {
                message[5..9].copy_from_slice(&[0, 7, 0, 9]);
            }
        })
    })
    .await;
    assert_listener_refuses(
        outcome,
        RefusalCode::NoCommonVersion,
        "the refusing node speaks protocol version 2, the refused one 7 to 9",
    );
}

/// What a node of protocol 1 says first: the first message of a recording, whose layout is in tests/fixtures.
fn hello_of_protocol_1() -> Vec<u8> {
    const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/format-1/catch-up.frames");
    let (length, rest) = RECORDED[1..].split_first_chunk::<4>().unwrap();
    let hello = rest[..u32::from_be_bytes(*length) as usize].to_vec();
    assert_eq!(hello[..9], *b"\x01RJLK\0\x01\0\x01");
    hello
}

#[tokio::test]
async fn a_peer_of_protocol_1_is_refused_and_both_hear_which_versions_met() {
    let of_fixture = |seed| Identity { cluster: ClusterId::of_name("fixture"), ..node(seed) };
    let words =
        "the refusing node speaks protocol version 2, the refused one 1; run the same release on both";
    for to_refuse in [Toward::Listener, Toward::Dialer] {
        let (dialed, accepted) = meet_through(&of_fixture(1), &of_fixture(2), |addr| {
            meddler(addr, move |toward, message| {
                if toward == to_refuse && message[0] == HELLO {
                    *message = hello_of_protocol_1();
                }
            })
        })
        .await;
        let (dialed, accepted) = (dial_refusal(dialed), accept_refusal(accepted));
        let (refusing, refused) = match to_refuse {
            Toward::Listener => (accepted, dialed),
            Toward::Dialer => (dialed, accepted),
        };
        for error in [&refusing, &refused] {
            assert_eq!(error.code(), Some(RefusalCode::NoCommonVersion), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(matches!(refusing, HandshakeError::Refusing(_)), "{refusing}");
    }
}

#[tokio::test]
async fn a_node_that_is_shutting_down() {
    let bound = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(bound.local_addr().unwrap());
    let server = async {
        // As the HTTP server does it: answer the upgrade, then refuse.
        let mut stream = bound.accept().await.unwrap().0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = rejoin_link::upgrade_response(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        refuse(stream, RefusalCode::ShuttingDown, "upgrading, back in a minute", &Limits::default()).await;
    };
    let (us, limits) = (node(1), Limits::default());
    let (dialed, ()) =
        soon(async { tokio::join!(rejoin_link::dial(&url, &us, &limits, None), server) }).await;
    match dial_refusal(dialed) {
        HandshakeError::Refused(Refusal { code: RefusalCode::ShuttingDown, reason }) => {
            assert_eq!(reason, "upgrading, back in a minute");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn garbage_instead_of_a_handshake() {
    // Garbage in proper messages.
    let (addr, accepted) = listening(node(2), Limits::default()).await;
    let mut socket = stranger(addr).await;
    socket.send(Message::Binary(vec![0xA5; 300].into())).await.unwrap();
    assert_eq!(refusal_heard(&mut socket).await, (7, "unknown handshake message type 165".to_owned()));
    drop(socket);
    assert_eq!(accept_refusal(soon(accepted).await.unwrap()).code(), Some(RefusalCode::BadMessage));

    // Text.
    let (addr, accepted) = listening(node(2), Limits::default()).await;
    let mut socket = stranger(addr).await;
    socket.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(refusal_heard(&mut socket).await.0, 7);
    drop(socket);
    assert_eq!(accept_refusal(soon(accepted).await.unwrap()).code(), Some(RefusalCode::BadMessage));

    // Bytes that are no WebSocket.
    let (addr, accepted) = listening(node(2), Limits::default()).await;
    let mut stream = stranger(addr).await.into_inner();
    stream.write_all(&[0xFF; 600]).await.unwrap();
    let error = accept_refusal(soon(accepted).await.unwrap());
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_stranger_may_not_send_much() {
    let (addr, accepted) = listening(node(2), Limits::default()).await;
    let mut socket = stranger(addr).await;
    // Proper pings, without end.
    let flood = async { while socket.send(Message::Ping(vec![0; 100].into())).await.is_ok() {} };
    let error = tokio::select! {
        outcome = soon(accepted) => accept_refusal(outcome.unwrap()),
        () = async { flood.await; std::future::pending().await } => unreachable!(),
    };
    assert!(matches!(error, HandshakeError::Io(_)), "{error}");
}

#[tokio::test]
async fn a_silent_peer_times_out_and_is_told() {
    let short = Limits { handshake_timeout: Duration::from_millis(100), ..Limits::default() };
    let (addr, accepted) = listening(node(2), short.clone()).await;
    let mut socket = stranger(addr).await;
    assert_eq!(refusal_heard(&mut socket).await.0, 9);
    drop(socket);
    let error = accept_refusal(soon(accepted).await.unwrap());
    assert!(matches!(error, HandshakeError::TimedOut(limit) if limit == short.handshake_timeout), "{error}");

    // A server that accepts the connection and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialed = soon(rejoin_link::dial(&url(mute.local_addr().unwrap()), &node(1), &short, None)).await;
    assert!(matches!(dialed.unwrap_err(), rejoin_link::DialError::UpgradeTimedOut(_)));
}

#[tokio::test]
async fn a_peer_that_hangs_up() {
    let (addr, accepted) = listening(node(2), Limits::default()).await;
    drop(stranger(addr).await);
    let error = accept_refusal(soon(accepted).await.unwrap());
    assert!(matches!(error, HandshakeError::Closed | HandshakeError::Io(_)), "{error}");
}

#[tokio::test]
async fn a_name_that_cannot_be_sent() {
    let mut us = node(1);
    us.name = "n".repeat(65);
    assert!(matches!(dial_refusal(meet(&us, &node(2)).await.0), HandshakeError::Identity(_)));
    us.name = "a\nb".to_owned();
    assert!(us.check().is_err());
}

#[tokio::test]
async fn links_over_anything_that_reads_and_writes() {
    // Not only TCP: what the HTTP server hands over after an upgrade is a type of its own.
    let (_client, server) = tokio::io::duplex(1024);
    let limits =
        Limits { header_timeout: Duration::from_millis(10), linger: Duration::ZERO, ..Limits::default() };
    let error = soon(accept_http(server, &node(1), &limits)).await.unwrap_err();
    assert!(matches!(error, AcceptError::HeaderTimedOut(_)), "{error}");
}

#[tokio::test]
async fn nobody_there() {
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = soon(rejoin_link::dial(&url(addr), &node(1), &Limits::default(), None)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to http://{addr}"));
    assert!(TcpStream::connect(addr).await.is_err());
}
