//! One connection to a server, with one request at a time: each protocol by hand, so that a request costs little more
//! than a write and a read.

pub(crate) mod etcd;
pub(crate) mod http;
pub(crate) mod nats;
pub(crate) mod redis;

use std::time::Duration;

use anyhow::Context as _;

/// An answer comes within this time, or the run fails.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A connection, by protocol.
#[derive(Debug)]
pub(crate) enum Client {
    Http(http::Http),
    Redis(redis::Redis),
    Nats(nats::Nats),
    Etcd(etcd::Etcd),
}

impl Client {
    /// Writes a value; returns when it is acknowledged.
    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        match self {
            Client::Http(client) => client.put(key, value).await,
            Client::Redis(client) => client.put(key, value).await,
            Client::Nats(client) => client.put(key, value).await,
            Client::Etcd(client) => client.put(key, value).await,
        }
    }

    /// Reads a value, which must be there; tells its size.
    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<usize> {
        match self {
            Client::Http(client) => client.get(key).await,
            Client::Redis(client) => client.get(key).await,
            Client::Nats(client) => client.get(key).await,
            Client::Etcd(client) => client.get(key).await,
        }
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn answered<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER_MAX, answer).await.context("no answer in time")?
}
