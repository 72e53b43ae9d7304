//! The committed description of the API.

use std::path::Path;

use crate::client::Server;

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = rejoin_http::openapi::text();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json is not what the code makes; UPDATE=1 writes it anew");
    let server = Server::memory().await;
    let served = server.get("/api/_openapi.json").await;
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    assert_eq!(served.text(), text);
    assert_eq!(served.json()["openapi"], "3.1.0");
}
