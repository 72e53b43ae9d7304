//! The node itself: its status, its links, and anti-entropy rounds.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::config::ROUND_TIMEOUT;
use crate::error::Error;
use crate::path;

/// The state of a node. Members that a server does not send have their defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// The node's id.
    #[serde(rename = "serverID")]
    pub node: String,
    /// Its name.
    pub name: Option<String>,
    /// The port it serves.
    pub port: u16,
    /// Version of the server.
    pub version: String,
    /// How long it has run, in seconds.
    pub uptime: f64,
    /// Whether it serves.
    pub ready: bool,
    /// Latest change applied, by node.
    pub vector_clock: BTreeMap<String, u64>,
    /// Its links.
    pub peers: Vec<Peer>,
    /// What it stores.
    pub storage: Storage,
    /// Competing versions.
    pub conflicts: Conflicts,
    /// Whether it agrees with others.
    pub convergence: Convergence,
    /// What the node has applied, as opaque text.
    pub token: String,
    /// Live subscriptions.
    pub subscriptions: u64,
    /// What an operator must hear of.
    pub alarms: Vec<Alarm>,
    /// Lives of nodes that may be two.
    pub doubts: Vec<Doubt>,
    /// The answer as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

/// What an operator must hear of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Alarm {
    /// What kind of alarm.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// When it was last raised, in Unix milliseconds.
    pub last: u64,
    /// How often it was raised.
    pub count: u64,
}

/// A life of a node that may be two: its machine was copied or put back with its memory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Doubt {
    /// Whose.
    pub node: String,
    /// Which.
    pub epoch: String,
    /// Why.
    pub reason: String,
    /// When the node that answers heard of it, in Unix milliseconds.
    pub since: u64,
}

/// What a node stores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Storage {
    /// Name of the engine.
    pub engine: String,
    /// How durable a write is when it is acknowledged.
    pub durability: Option<String>,
    /// Paths with a value.
    pub entries: u64,
    /// Deleted paths that are still remembered.
    pub tombstones: u64,
    /// Superseded versions.
    pub history_entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The disk is nearly full: only reads and deletes are served.
    pub disk_full: bool,
    /// Bytes left on the disk.
    pub free_bytes: Option<u64>,
}

/// Competing versions on a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Conflicts {
    /// Paths with more than one live version.
    pub open: u64,
}

/// Whether a node agrees with others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Convergence {
    /// Over all documents: equal on nodes that hold the same.
    pub digest: String,
    /// How long the last anti-entropy round took, in milliseconds.
    pub last_round_ms: Option<f64>,
}

/// One link of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Peer {
    /// The peer's node id, once known.
    pub id: Option<String>,
    /// The peer's name, once known.
    pub name: Option<String>,
    /// Where it is dialed; none for a peer that dials this node.
    pub url: Option<String>,
    /// `in` or `out`.
    pub direction: String,
    /// `connected`, `backoff` or `rejected`.
    pub state: String,
    /// Round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Changes that the peer has and this node has not.
    pub behind: u64,
    /// Changes that this node has and the peer has not.
    pub ahead: u64,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// What an anti-entropy round did.
#[derive(Clone, Debug)]
pub struct Round {
    /// The answer as the server sent it.
    pub raw: Box<RawValue>,
    /// Every count in it, by name.
    pub counts: Vec<(String, u64)>,
}

#[derive(Deserialize)]
struct Peers {
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct PeerUrl<'a> {
    url: &'a str,
}

impl Client {
    /// The node's state.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        let answer = self.ask(Ask::new(Method::GET, "/api/status")).await?;
        let status: Status = answer.decode()?;
        Ok(Status { raw: Some(answer.raw()?), ..status })
    }

    /// The node's links.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn peers(&self) -> Result<Vec<Peer>, Error> {
        let answer = self.ask(Ask::new(Method::GET, PEERS)).await?;
        answer.decode::<Peers>().map(|answer| answer.peers)
    }

    /// Tells the node to dial a peer and to keep dialing it until it is removed or the node restarts. False when it
    /// did so already.
    ///
    /// # Errors
    /// Also that the URL cannot be dialed; not that nobody answers there now.
    pub async fn add_peer(&self, url: &str) -> Result<bool, Error> {
        let body = serde_json::to_string(&PeerUrl { url }).map_err(Error::Encode)?;
        let answer = self.ask(Ask::new(Method::POST, PEERS).json(body)).await?;
        Ok(answer.status == StatusCode::CREATED)
    }

    /// Closes the link to a peer that the node dials, and forgets its URL. False when it was not dialed.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn remove_peer(&self, url: &str) -> Result<bool, Error> {
        let target = format!("{PEERS}?url={}", path::encode(url));
        match self.ask(Ask::new(Method::DELETE, target)).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Compares with every peer now and waits until what differed has been exchanged.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn anti_entropy(&self) -> Result<Round, Error> {
        self.anti_entropy_below("").await
    }

    /// As [`Client::anti_entropy`], of the paths that begin with this only.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn anti_entropy_below(&self, prefix: &str) -> Result<Round, Error> {
        let path = match prefix {
            "" => "/api/_anti_entropy".to_owned(),
            _ => format!("/api/_anti_entropy?prefix={}", crate::path::encode(prefix)),
        };
        let ask = Ask::new(Method::POST, &path).json("{}").within(ROUND_TIMEOUT);
        let answer = self.ask(ask).await?;
        let members: BTreeMap<String, serde_json::Value> = answer.decode()?;
        let counts = members.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?)));
        Ok(Round { counts: counts.collect(), raw: answer.raw()? })
    }
}

const PEERS: &str = "/api/_peers";
