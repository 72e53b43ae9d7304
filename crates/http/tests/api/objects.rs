//! Where an object is promised, an array of its members is none.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Server;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn an_array_in_place_of_an_object_does_nothing() {
    let server = Server::memory().await;
    let version = server.put("/api/users/alice", "1").await.json()["version"].as_str().unwrap().to_owned();
    server.put("/api/users/alice", "2").await;
    let before = server.state();
    for (target, body, code) in [
        ("/api/_batch", json!([[{"op": "delete", "path": "users/alice"}], true]), "invalid_json"),
        ("/api/_peers", json!(["http://127.0.0.1:9"]), "invalid_json"),
        ("/api/history/users/alice", json!([version]), "invalid_json"),
        ("/api/_conflicts/users/alice", json!([3]), "invalid_json"),
        ("/api/_conflicts/users/alice", json!([null, version, null]), "invalid_json"),
    ] {
        let answer = server.send("POST", target, &[JSON], &body.to_string()).await;
        let problem = answer.assert_problem(400, code);
        assert!(problem["message"].as_str().unwrap().contains("expected an object"), "{problem}");
    }
    server
        .send("DELETE", "/api/_peers", &[JSON], "[\"http://127.0.0.1:9\"]")
        .await
        .assert_problem(400, "invalid_json");
    for operation in [json!(["delete", "users/alice"]), json!(["put", "users/alice", 7]), json!([])] {
        for atomic in [false, true] {
            let body = json!({"operations": [operation], "atomic": atomic}).to_string();
            let answer = server.send("POST", "/api/_batch", &[JSON], &body).await;
            let problem = if atomic { answer.json() } else { answer.json()["results"][0].clone() };
            assert_eq!(problem["error"], "invalid_operation", "{problem}");
        }
        let line = [("content-type", "application/x-ndjson")];
        let answer = server.send("POST", "/api/_batch", &line, &format!("{operation}\n")).await;
        let first: Value = serde_json::from_str(answer.text().lines().next().unwrap()).unwrap();
        assert_eq!(first["error"], "invalid_operation", "{first}");
    }
    // An array is no last line of a scan either, which a stream of operations leaves out.
    let line = [("content-type", "application/x-ndjson")];
    let answer = server.send("POST", "/api/_batch", &line, "[null]\n").await;
    assert!(answer.text().contains("\"refused\":1"), "{}", answer.text());
    assert_eq!(server.state(), before);
    assert_eq!(server.get("/api/_peers").await.json()["peers"], json!([]));
}

#[tokio::test]
async fn an_array_in_place_of_a_message_does_nothing() {
    let server = Server::memory().await;
    server.put("/api/users/alice", "1").await;
    let before = server.state();
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (mut socket, _) = client_async(format!("ws://{}/api/_ws", server.addr), stream).await.unwrap();
    for message in [
        json!([1, "delete", "users/alice"]),
        json!([1, "delete", "users/alice", null, null, null, null, null, null, null, null]),
        json!([1, "put", "users/alice", 7, null, null, null, null, null, null, null]),
        json!([1, "get", "users/alice"]),
    ] {
        socket.send(Message::text(message.to_string())).await.unwrap();
        let Message::Text(reply) = socket.next().await.unwrap().unwrap() else { panic!("no text") };
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!((&reply["error"], &reply["id"]), (&json!("invalid_message"), &Value::Null), "{message}");
    }
    assert_eq!(server.state(), before);
}
