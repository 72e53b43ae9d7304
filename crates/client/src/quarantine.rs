//! Documents that wait in quarantine because their stamps are too far ahead of the node's clock.

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::error::Error;

/// What waits.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// The answer as the server sent it.
    pub raw: Box<RawValue>,
    /// The documents, by path.
    pub documents: Vec<Held>,
}

/// A document that waits.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Held {
    /// Its path.
    pub path: String,
    /// The newest version that it would bring.
    pub version: String,
    /// The node that wrote it.
    pub author: String,
    /// The peer that sent it.
    pub peer: String,
    /// Its stamp, in Unix milliseconds.
    pub stamp_at: u64,
    /// Its bytes, about.
    pub bytes: u64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Released {
    /// The answer as the server sent it.
    pub raw: Box<RawValue>,
    /// How many documents.
    pub released: u64,
}

#[derive(Deserialize)]
struct List {
    documents: Vec<Held>,
}

#[derive(Deserialize)]
struct Count {
    released: u64,
}

impl Client {
    /// Lists what waits in quarantine.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn quarantine(&self) -> Result<Quarantine, Error> {
        let answer = self.ask(Ask::new(Method::GET, "/api/_quarantine")).await?;
        Ok(Quarantine { documents: answer.decode::<List>()?.documents, raw: answer.raw()? })
    }

    /// Takes documents out of quarantine now: that of a path, or all; only those that a node wrote or sent, if its id or the
    /// first digits of it are given.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn release_quarantine(
        &self,
        path: Option<&str>,
        peer: Option<&str>,
    ) -> Result<Released, Error> {
        let mut choice = serde_json::Map::new();
        match path {
            Some(path) => choice.insert("path".to_owned(), path.into()),
            None => choice.insert("all".to_owned(), true.into()),
        };
        if let Some(peer) = peer {
            choice.insert("peer".to_owned(), peer.into());
        }
        let body = serde_json::Value::Object(choice).to_string();
        let answer = self.ask(Ask::new(Method::POST, "/api/_quarantine/release").json(body)).await?;
        Ok(Released { released: answer.decode::<Count>()?.released, raw: answer.raw()? })
    }
}
