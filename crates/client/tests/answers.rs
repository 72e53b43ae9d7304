//! Answers as servers, proxies and broken connections give them: what the client makes of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rejoin_client::{Ack, Client, Condition, Error, Event, Item, Resolution, WriteOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that gives these answers, each on a connection of its own, and returns the requests.
async fn server(answers: &[&str]) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        requests
    });
    (Client::new(&url, Some("s3cret".into())).unwrap(), serving)
}

/// Reads one request to its end: the head, and as many bytes as it promises.
async fn request(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await.unwrap();
        text.extend_from_slice(&some[..count]);
        let so_far = String::from_utf8(text.clone()).unwrap();
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return so_far;
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_problem_arrives_whole() {
    let body = r#"{"error":"precondition_failed","message":"No.","hint":"Read.","path":"a","retryable":false,"value":7}"#;
    let (client, requests) = server(&[&answer("412 Precondition Failed", "", body)]).await;
    let error = client.put_raw("a", "1", Condition::Matches("x".into())).await.unwrap_err();
    assert_eq!((error.code(), error.status(), error.retryable()), ("precondition_failed", Some(412), false));
    assert_eq!((error.to_string(), error.hint()), ("No.".to_owned(), Some("Read.".to_owned())));
    assert_eq!(error.problem().unwrap().body.as_ref().unwrap().get(), body);
    let request = requests.await.unwrap().remove(0).to_lowercase();
    for part in ["put /api/a http/1.1", "authorization: bearer s3cret", "if-match: \"x\"", "application/json"]
    {
        assert!(request.contains(part), "{part}\n{request}");
    }
}

#[tokio::test]
async fn a_value_that_is_not_there_is_no_error_unless_asked_for() {
    let missing = r#"{"error":"not_found","message":"None.","hint":"","path":"a","retryable":false,"reason":"deleted"}"#;
    let missing = answer("404 Not Found", "", missing);
    let (client, _requests) = server(&[&missing, &missing, &missing]).await;
    assert_eq!(client.get::<u32>("a").await.unwrap(), None);
    assert!(!client.delete("a").await.unwrap());
    let error = client.entry_or_why("a").await.unwrap_err();
    assert_eq!(error.problem().unwrap().reason.as_deref(), Some("deleted"));
}

#[tokio::test]
async fn what_is_no_node_is_told_so() {
    let (client, _requests) = server(&[
        &answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>nope</html>"),
        &answer("200 OK", "", "<html>welcome</html>"),
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n\"cut",
        "SSH-2.0-OpenSSH\r\n",
    ])
    .await;
    assert_eq!(client.status().await.unwrap_err().code(), "unexpected_answer");
    assert_eq!(client.get::<String>("a").await.unwrap_err().code(), "unexpected_answer");
    assert_eq!(client.get::<String>("a").await.unwrap_err().code(), "connection_lost");
    assert_eq!(client.get::<String>("a").await.unwrap_err().code(), "connection_lost");
}

#[tokio::test]
async fn a_value_of_another_type_keeps_its_text() {
    let (client, _requests) =
        server(&[&answer("200 OK", "ETag: \"e\"\r\nRejoin-Conflicts: 2\r\n", "1.0")]).await;
    let entry = client.entry("a").await.unwrap().unwrap();
    assert_eq!((entry.value.get(), entry.etag.as_deref(), entry.conflicts), ("1.0", Some("e"), 2));
    assert!(matches!(entry.get::<String>(), Err(Error::Decode(_))));
}

#[tokio::test]
async fn a_scan_streams_over_all_pages() {
    let first = r#"{"items":[{"path":"a","value":null},{"path":"b","value":1}],"cursor":"x+y"}"#;
    let last = r#"{"items":[{"path":"c","value":2}],"cursor":null}"#;
    let (client, requests) = server(&[&answer("200 OK", "", first), &answer("200 OK", "", last)]).await;
    let items: Vec<Item> = client.scan("u s/").limit(2).items().try_collect().await.unwrap();
    let values: Vec<_> = items.iter().map(|item| item.value.as_ref().unwrap().get()).collect();
    assert_eq!(values, ["null", "1", "2"]);
    let requests = requests.await.unwrap();
    assert!(requests[0].starts_with("GET /api/scan/u%20s/?limit=2 "), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /api/scan/u%20s/?limit=2&cursor=x%2By "), "{}", requests[1]);
}

#[tokio::test]
async fn a_scan_ends_with_its_first_error() {
    let first = r#"{"items":[{"path":"a","value":0}],"cursor":"x"}"#;
    let (client, _requests) = server(&[&answer("200 OK", "", first), &answer("500 Oh", "", "")]).await;
    let items: Vec<_> = client.scan("").items().collect().await;
    assert!(matches!(&items[..], [Ok(_), Err(Error::Unexpected { .. })]), "{items:?}");
}

#[tokio::test]
async fn a_feed_is_cut_into_lines_wherever_it_is_cut_into_pieces() {
    let pieces = [
        "\n",
        "{\"event\":\"snapshot-end\",\"tok",
        "en\":\"t\",\"count\":0}\n\n{\"event\":\"change\",\"path\":\"a\",\"op\":\"put\",\"value\":[1]}\n{\"eve",
        "nt\":\"news\"}\n",
    ];
    let chunks: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    let feed = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let (client, requests) = server(&[&feed]).await;
    let mut changes = client.watch("users/é").open().await.unwrap();
    assert!(matches!(changes.next().await, Some(Ok(Event::SnapshotEnd { count: 0, .. }))));
    let Some(Ok(Event::Change(change))) = changes.next().await else { panic!("not a change") };
    assert_eq!(change.get::<Vec<u8>>().unwrap(), Some(vec![1]));
    assert!(matches!(changes.next().await, Some(Ok(Event::Other(_)))));
    // A feed has no end of its own: the connection's end is an error, and the last event.
    assert!(matches!(changes.next().await, Some(Err(Error::Broken { .. }))));
    assert!(changes.next().await.is_none());
    let request = requests.await.unwrap().remove(0);
    assert!(
        request.starts_with("GET /api/_changes?snapshot=true&heartbeat=15000&prefix=users/%C3%A9 "),
        "{request}"
    );
    assert!(request.to_lowercase().contains("accept: application/x-ndjson"));
}

#[tokio::test]
async fn a_write_says_what_was_read_and_how_many_must_hold_it() {
    let body = r#"{"path":"a","value":7,"version":"v","timestamp":1,"applied":true,
        "receipt":{"wanted":2,"complete":false,"holders":["n"]}}"#;
    let headers = "Location: /api/a\r\nRejoin-Context: next\r\n";
    let short = answer("202 Accepted", headers, body);
    let (client, requests) = server(&[&short, &short, &short]).await;
    let options = WriteOptions {
        ttl: Some(Duration::from_secs(90)),
        condition: Condition::Present,
        context: Some("seen".into()),
        wait: Some(Duration::from_secs(2)),
        ack: Some(Ack { nodes: 2, timeout: Duration::from_millis(1_500) }),
        key: None,
    };
    let written = client.put_with("a", "7", &options).await.unwrap();
    assert!(written.created, "a short receipt does not hide that the path is new");
    assert_eq!(written.context.as_deref(), Some("next"));
    let receipt = written.receipt.unwrap();
    assert_eq!(
        (receipt.wanted, receipt.complete, receipt.holders.as_slice()),
        (2, false, &["n".to_owned()][..])
    );
    client.resolve("a/b", &Resolution::Keep("v\"".into()), &options).await.unwrap();
    client.revert("a", "v", &WriteOptions::default()).await.unwrap();
    let requests = requests.await.unwrap();
    assert!(
        requests[0].starts_with("PUT /api/a?ttl=90000ms&ack=2&timeout=1500ms HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    for header in ["if-match: *", "rejoin-context: seen", "rejoin-wait: 2000ms"] {
        assert!(requests[0].to_lowercase().contains(&format!("\r\n{header}\r\n")), "{}", requests[0]);
    }
    assert!(requests[1].starts_with("POST /api/_conflicts/a/b?ack=2&timeout=1500ms HTTP"), "{}", requests[1]);
    assert!(requests[1].ends_with(r#"{"keep":"v\""}"#), "{}", requests[1]);
    assert!(requests[2].starts_with("POST /api/history/a HTTP/1.1\r\n"), "{}", requests[2]);
    assert!(
        requests[2].ends_with(r#"{"version":"v"}"#) && !requests[2].to_lowercase().contains("\r\nrejoin-")
    );
    let unsendable = WriteOptions { context: Some("line\nbreak".into()), ..WriteOptions::default() };
    assert_eq!(client.put_with("a", "7", &unsendable).await.unwrap_err().code(), "invalid_context");
}

#[tokio::test]
async fn conflicts_keep_every_value_as_it_was_sent() {
    let page = r#"{"items":[{"path":"a","state":"open","strategy":"last-write-wins","winner":"v2","why":"W.",
        "value":null,"etag":"e","context":"c","conflicts":1,"versions":[
        {"version":"v2","origin":"n","timestamp":2,"counter":0,"op":"put","value":null,"wins":true},
        {"version":"v1","origin":"m","timestamp":1,"counter":0,"op":"delete","wins":false}],
        "resolved":[{"by":"v0","versions":[{"op":"put","value":1.0,"version":"u","outcome":"lost","concurrent":true}]}]},
        {"path":"b","state":"resolved","resolved":[]}],"cursor":"next"}"#;
    let (client, requests) = server(&[&answer("200 OK", "", page)]).await;
    let page = client.conflicts("a b/").open().limit(2).cursor("c/").page().await.unwrap();
    let conflict = &page.items[0];
    assert_eq!(conflict.value.as_ref().unwrap().get(), "null", "a null is a value");
    assert!(conflict.versions[1].value.is_none());
    let past = &conflict.resolved[0].versions[0];
    assert_eq!((past.value().unwrap().get(), past.outcome.as_deref()), ("1.0", Some("lost")));
    assert_eq!((page.items[1].versions.len(), page.cursor.as_deref()), (0, Some("next")));
    let request = requests.await.unwrap().remove(0);
    assert!(request.starts_with("GET /api/_conflicts/a%20b/?state=open&limit=2&cursor=c/ "), "{request}");
}

#[tokio::test]
async fn a_feed_is_followed_over_lost_connections() {
    let feed = |lines: &str| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        // Without the last chunk: the connection was lost.
        format!("{head}{:x}\r\n{lines}\r\n", lines.len())
    };
    let change = |path: &str, token: &str| {
        format!(
            "{{\"event\":\"change\",\"path\":\"{path}\",\"op\":\"put\",\"value\":1,\"token\":\"{token}\"}}\n"
        )
    };
    let first = feed(&format!("{}{}", change("a", "t1"), change("b", "t2")));
    let cut = feed("\n");
    let last = feed(&format!("{}{{\"event\":\"closing\",\"reason\":\"x\"}}\n", change("c", "t3")));
    let refusal = answer("410 Gone", "", r#"{"error":"token_too_old","message":"No.","retryable":false}"#);
    let (client, requests) = server(&[&first, &cut, &last, &refusal]).await;
    let mut events = client.watch("x").and("y").follow();
    let mut told = Vec::new();
    loop {
        match events.next().await {
            Some(Ok(Event::Change(change))) => told.push(change.path),
            Some(Ok(Event::Interrupted { .. })) => told.push("interrupted".to_owned()),
            Some(Err(error)) => break assert_eq!(error.code(), "token_too_old"),
            other => panic!("{other:?}"),
        }
    }
    assert!(events.next().await.is_none());
    assert_eq!(told, ["a", "b", "interrupted", "interrupted", "c", "interrupted"]);
    let requests = requests.await.unwrap();
    let begins: Vec<_> = requests.iter().map(|request| request.split('&').next().unwrap()).collect();
    let since = |token: &str| format!("GET /api/_changes?since={token}");
    assert_eq!(begins, ["GET /api/_changes?snapshot=true".to_owned(), since("t2"), since("t2"), since("t3")]);
    assert!(requests[3].contains("&prefix=x&prefix=y "), "{}", requests[3]);
}

#[tokio::test]
async fn a_feed_from_now_on_is_followed_from_a_token() {
    let now = answer("200 OK", "", r#"{"items":[],"token":"t0","more":false}"#);
    let refusal = answer("401 No", "", r#"{"error":"unauthorized","message":"No.","retryable":false}"#);
    let (client, requests) = server(&[&now, &refusal]).await;
    let mut events = client.watch("x").snapshot(false).follow();
    assert!(matches!(events.next().await, Some(Err(Error::Refused(_)))));
    let requests = requests.await.unwrap();
    assert!(requests[0].starts_with("GET /api/_changes?feed=normal&since=now&prefix=x "), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /api/_changes?since=t0&"), "{}", requests[1]);
}

/// The key that a request was sent with.
fn key_of(request: &str) -> &str {
    let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
    key.unwrap_or_else(|| panic!("no key: {request}"))
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_sent_again_with_its_key() {
    let written =
        r#"{"path":"a","value":1,"vectorClock":{},"timestamp":1,"version":"v","etag":"e","applied":true}"#;
    let again = answer("201 Created", "Location: /api/a\r\nIdempotency-Replayed: true\r\n", written);
    let results = answer("200 OK", "", r#"{"results":[]}"#);
    let cut = "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{";
    let (client, requests) =
        server(&["", &again, cut, &again, "", &again, "", &results, &again, "", cut, &again]).await;
    let put = client.put("a", &1).await.unwrap();
    assert!(put.replayed && put.created);
    assert!(client.patch("a", &1).await.unwrap().replayed);
    assert!(client.delete("a").await.unwrap());
    client.batch().delete("a").send().await.unwrap();
    let options = WriteOptions { key: "mine".parse().ok(), ..WriteOptions::default() };
    assert!(client.put_with("a", "1", &options).await.unwrap().replayed);
    assert!(client.put_with("a", "1", &options).await.unwrap().replayed);

    let requests = requests.await.unwrap();
    for pair in [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [9, 10], [10, 11]] {
        let [one, other] = pair.map(|at| key_of(&requests[at]));
        assert_eq!(one, other);
    }
    let keys: std::collections::BTreeSet<&str> = requests.iter().map(|request| key_of(request)).collect();
    assert_eq!(keys.len(), 5, "each write has its own");
    assert_eq!(key_of(&requests[9]), "mine");
}

#[tokio::test]
async fn what_is_no_write_and_what_was_refused_is_not_sent_again() {
    let refused = answer(
        "503 Service Unavailable",
        "",
        r#"{"error":"overloaded","message":"Later.","retryable":true}"#,
    );
    let (client, requests) = server(&["", &refused, ""]).await;
    assert_eq!(client.get::<u32>("a").await.unwrap_err().code(), "connection_lost");
    assert_eq!(client.put("a", &1).await.unwrap_err().code(), "overloaded");
    assert_eq!(client.anti_entropy().await.unwrap_err().code(), "connection_lost");
    assert!(!requests.await.unwrap()[0].contains("idempotency-key"));
}

#[tokio::test]
async fn a_write_whose_answer_stays_lost_says_so() {
    let (client, requests) = server(&["", "", "", ""]).await;
    assert_eq!(client.put("a", &1).await.unwrap_err().code(), "connection_lost");
    let keys: Vec<String> =
        requests.await.unwrap().iter().map(|request| key_of(request).to_owned()).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
}
