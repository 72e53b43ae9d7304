//! The small HTTP door: links only.

use std::time::Duration;

use rejoin_link::{AcceptError, BearerToken, Limits, UpgradeRefusal, check_upgrade, dial};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Accepted, listening, node, soon, url};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";

/// Sends bytes to a listener; gives its answer and what it made of them.
async fn ask(request: &str, limits: Limits) -> (String, Accepted) {
    let (addr, accepted) = listening(node(2), limits).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    drop(stream);
    (String::from_utf8_lossy(&answer).into_owned(), soon(accepted).await.unwrap())
}

#[tokio::test]
async fn everything_but_a_link_gets_a_short_answer() {
    let with = |line: &str| format!("GET /api/_link HTTP/1.1\r\n{UPGRADE}{line}\r\n");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        ("POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_owned(), 404),
        ("GET /api/_link HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 426),
        (with(KEY), 426),
        (with(&format!("{KEY}Sec-WebSocket-Version: 8\r\n")), 426),
        (with("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"), 400),
        (with(&format!("{KEY}{KEY}Sec-WebSocket-Version: 13\r\n")), 400),
        (with(&format!("{KEY}Sec-WebSocket-Version: 13\r\nOrigin: http://x\r\n")), 403),
        (with(&format!("{KEY}Sec-WebSocket-Version: 13\r\norigin: null\r\n")), 403),
        ("\u{1}\u{2}\u{3} garbage\r\n\r\n".to_owned(), 400),
        (with(&format!("Cookie: {}\r\n", "x".repeat(9000))), 431),
        (with(&"A: b\r\n".repeat(70)), 431),
    ] {
        let (answer, accepted) = ask(&request, Limits::default()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80} got {answer}");
        assert_eq!(answer.contains("\r\nUpgrade: websocket"), status == 426);
        accepted.unwrap_err();
    }
}

#[tokio::test]
async fn a_slow_head_times_out() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let (answer, accepted) = ask("GET /api/_link HTTP/1.1\r\nHost: x\r\n", limits).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(matches!(accepted.unwrap_err(), AcceptError::HeaderTimedOut(_)));
}

#[test]
fn the_gate_computes_the_accept_of_the_standard() {
    let headers = [
        ("upgrade", &b"websocket"[..]),
        ("Connection", b"Upgrade"),
        ("sec-websocket-version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(check_upgrade("GET", headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(check_upgrade("POST", headers).unwrap_err(), UpgradeRefusal::NotAnUpgrade);
}

#[tokio::test]
async fn a_dial_asks_for_the_prefix_with_the_token_and_reports_the_status() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let url = rejoin_link::parse_peer_url(&format!("ws://{addr}/sync/")).unwrap();
    let token = BearerToken::new("s3cr3t").unwrap();
    assert_eq!(format!("{token:?}"), "BearerToken(..)");
    let answering = async {
        let mut stream = server.accept().await.unwrap().0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let (us, limits) = (node(1), Limits::default());
    let (dialed, head) =
        soon(async { tokio::join!(dial(&url, &us, &limits, Some(&token)), answering) }).await;
    assert!(head.starts_with("GET /sync/api/_link HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nauthorization: bearer s3cr3t\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("origin"), "{head}");
    let error = dialed.unwrap_err().to_string();
    assert_eq!(
        error,
        "the server answered HTTP 401 instead of a link: it asks for a token, or does not accept ours"
    );
}

/// Whoever reads the error has to know which of the two ends, or what is between them, is to be changed.
#[tokio::test]
async fn an_answer_that_is_no_link_says_whose_setting_is_wrong() {
    for (status, cause) in [
        ("421 Misdirected Request", "add that host to its auth.allowed_hosts"),
        ("426 Upgrade Required", "a proxy between has dropped `Upgrade`"),
        ("200 OK", "a proxy between has dropped `Upgrade`"),
        ("404 Not Found", "is the URL that of a rejoin server?"),
        ("502 Bad Gateway", "try again later"),
    ] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(server.local_addr().unwrap());
        let answering = async {
            let mut stream = server.accept().await.unwrap().0;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (us, limits) = (node(1), Limits::default());
        let (dialed, ()) = soon(async { tokio::join!(dial(&url, &us, &limits, None), answering) }).await;
        let error = dialed.unwrap_err().to_string();
        assert!(error.contains(cause), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_server_of_something_else() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut stream = server.accept().await.unwrap().0;
        stream.write_all(b"220 mail.example.org ESMTP\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = soon(dial(&url(addr), &node(1), &Limits::default(), None)).await.unwrap_err();
    assert!(matches!(error, rejoin_link::DialError::NotWebSocket(_)), "{error}");
}

#[test]
fn tokens_that_no_header_can_carry() {
    for bad in ["", "a b", "a\r\nX: y", "é"] {
        assert!(BearerToken::new(bad).is_err(), "{bad:?}");
    }
}
