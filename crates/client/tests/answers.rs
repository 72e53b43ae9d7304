//! Answers as servers, proxies and broken connections give them: what the client makes of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

use futures_util::{StreamExt, TryStreamExt};
use rejoin_client::{Client, Condition, Error, Event, Item};
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
