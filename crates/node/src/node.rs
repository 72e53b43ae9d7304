//! The handle of a running node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rejoin_causal::{Epoch, NodeId, VersionVector};
use rejoin_link::{AcceptError, Identity, accept};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::{Path, Prefix, Scope};
use rejoin_replica::{Change, Condition, Held, Observed, RoundReport, Strategy, Ttl, View as _, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Error;
use crate::builder::{Builder, policy_of};
use crate::clock::wall_ms;
use crate::config::{Durability, Limits, ROUND_WAIT_MAX};
use crate::entry::{Entry, HistoryEntry, HistoryPage};
use crate::feed::scopes::Scopes;
use crate::links::{add_peer, note_proof, remove_peer, run_link};
use crate::metrics::Metrics;
use crate::pins::Pinned;
use crate::scan::Scan;
use crate::shared::{Job, Shared};
use crate::subscribe::{From, Subscription};
use crate::token::{self, Token, Written};

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The node's id at the start; it changes only when a clone of the node is met.
    pub id: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its epoch at the start.
    pub epoch: Epoch,
    /// When it started.
    pub started: SystemTime,
    /// What an answered write survives.
    pub durability: Durability,
    /// What it accepts from clients.
    pub limits: Limits,
    /// Where its data is.
    pub data_dir: Option<PathBuf>,
    /// The name of its storage engine.
    pub engine: &'static str,
    /// The hash of its conflict strategies at the start, in hex.
    pub policy_hash: String,
    /// Where it listens for links, when it does so itself.
    pub local_addr: Option<SocketAddr>,
}

/// A running node. Cheap to clone; the node stops when [`Node::close`] is called or the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Node {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Node").field(&self.shared.info.id).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
        // Ends the replica's thread.
        let (answer, _) = tokio::sync::oneshot::channel();
        self.shared.jobs.force(Job::Close(answer));
    }
}

impl Node {
    /// Settings of a node to open.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Node {
        Node { handle: Arc::new(Handle { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Writes a value. When this returns, the write is as durable as the node's [`Durability`] says.
    pub async fn put<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<Written, Error> {
        let change = Change::Put(self.json(value)?);
        self.change(path, change).await
    }

    /// Writes a value that lives for that long, from 1 ms to 3,650 days; then it reads as deleted, and is. The next write
    /// of the path takes that time away, unless it gives one of its own ([`Write::ttl`]).
    ///
    /// # Errors
    /// [`Error::Ttl`] when the time is out of bounds.
    pub async fn put_for<T: Serialize + ?Sized>(
        &self,
        path: &str,
        value: &T,
        ttl: std::time::Duration,
    ) -> Result<Written, Error> {
        let (path, ttl) = (Path::parse(path)?, Some(Ttl::of(ttl)?));
        let (change, condition, observed) =
            (Change::Put(self.json(value)?), Condition::Always, Observed::All);
        self.write(Write { path, change, condition, observed, ttl, once: None }).await
    }

    /// Applies a JSON merge patch (RFC 7396). Under merge-fields a `null` member removes its field everywhere.
    pub async fn patch<T: Serialize + ?Sized>(&self, path: &str, patch: &T) -> Result<Written, Error> {
        let change = Change::Patch(self.json(patch)?);
        self.change(path, change).await
    }

    /// Deletes a value; false when there is none.
    pub async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.change(path, Change::Delete).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a value; `None` when there is none.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let path = Path::parse(path)?;
        let record = self.shared().snapshot()?.record(&path)?;
        // The value alone: an entry tells of every version, and names them by a hash.
        let visible =
            record.and_then(|record| self.shared().policy().visible(&path, &record.document, wall_ms()));
        Ok(visible.and_then(|visible| visible.value).map(|value| value.get()).transpose()?)
    }

    /// Reads every value whose path begins with `prefix`, in path order; see [`Scan`]. `users/` is a subtree, the
    /// empty prefix is everything.
    pub fn scan(&self, prefix: &str) -> Result<Scan, Error> {
        self.scan_prefix(Prefix::parse(prefix)?)
    }

    /// As [`Node::scan`], with a prefix that was parsed before.
    pub fn scan_prefix(&self, prefix: Prefix) -> Result<Scan, Error> {
        let pin = Pinned::new(self.shared())?;
        // After the snapshot: it must cover what that shows.
        let applied = self.shared().applied();
        Ok(Scan::new(pin, applied, self.shared().policy(), Ok(prefix)))
    }

    /// The superseded versions of a path, newest first.
    pub async fn history(&self, path: &str) -> Result<Vec<HistoryEntry>, Error> {
        Ok(self.history_page(&Path::parse(path)?, usize::MAX, None)?.items)
    }

    /// A page of the superseded versions of a path, newest first, behind `cursor`.
    pub fn history_page(
        &self,
        path: &Path,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<HistoryPage, Error> {
        let after = match cursor {
            Some(cursor) => Some(cursor.parse().map_err(|_| Error::BadCursor)?),
            None => None,
        };
        let snapshot = self.shared().snapshot()?;
        let mut items: Vec<HistoryEntry> = Vec::new();
        let mut passed = after.is_none();
        for row in snapshot.history(path) {
            let item = HistoryEntry::from(row?);
            if !passed {
                passed = Some(item.version) == after;
                continue;
            }
            if items.len() == limit {
                let cursor = items.last().map(|last| last.version.to_string());
                return Ok(HistoryPage { items, cursor });
            }
            items.push(item);
        }
        Ok(HistoryPage { items, cursor: None })
    }

    /// Every change from now on of `scope`: that path, everything below it, and its ancestors; all paths when empty.
    pub fn subscribe(&self, scope: &str) -> Result<Subscription, Error> {
        self.subscribe_scope(Scope::parse(scope)?, From::Now)
    }

    /// As [`Node::subscribe`], from a place of your choice.
    pub fn subscribe_scope(&self, scope: Scope, from: From) -> Result<Subscription, Error> {
        self.subscribe_scopes([scope], from)
    }

    /// As [`Node::subscribe`], to several scopes at once: one stream, in which a change is told once however many of them
    /// it concerns. No scope means everything.
    pub fn subscribe_scopes(
        &self,
        scopes: impl IntoIterator<Item = Scope>,
        from: From,
    ) -> Result<Subscription, Error> {
        Subscription::new(self.shared(), Scopes::new(scopes), from)
    }

    /// Does a write with everything that can be said about one.
    ///
    /// One with a [`Key`](crate::Key) is done once, however often it is asked for, for a day, here and on other nodes that have
    /// it, and answered as the first time: `node.write(write.with_key(&key))`, and [`Write::all_with_key`] for an atomic
    /// batch. [`Written`]'s `replay` says which it was.
    pub async fn write(&self, write: Write) -> Result<Written, Error> {
        let counting = self.shared().metrics.writes.begin(&write.change);
        let ended = self.shared().write(write).await;
        counting.end(&ended);
        Ok(Written { write: *ended?, token: self.token() })
    }

    /// What is at a path: `None` when nobody ever wrote it, an entry without a value when it was deleted.
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, Error> {
        let record = self.shared().snapshot()?.record(path)?;
        Ok(record
            .and_then(|record| Entry::of(&self.shared().policy(), path.clone(), &record.document, wall_ms())))
    }

    /// What this node has applied. Taken after a read, it covers what that showed, absence included: a session that
    /// brings it to another node ([`Node::wait_for`]) does not read older values there. Writes and scans carry one.
    pub fn token(&self) -> Token {
        self.shared().applied().token()
    }

    /// Whether this node has applied everything that a token names.
    pub fn has_applied(&self, token: &Token) -> bool {
        self.shared().applied().meets(token)
    }

    /// Waits until this node has applied everything that a token names.
    ///
    /// # Errors
    /// [`Error::NotCaughtUp`] when it has not after that time, and [`Error::Closed`] when the node ends meanwhile.
    pub async fn wait_for(&self, token: &Token, at_most: std::time::Duration) -> Result<(), Error> {
        token::wait_for(self.shared(), token, at_most).await
    }

    /// Waits until something is committed after this call, or for at most that long.
    pub async fn committed(&self, at_most: std::time::Duration) {
        let mut committed = self.shared().committed.clone();
        committed.mark_unchanged();
        let _ = tokio::time::timeout(at_most, committed.changed()).await;
    }

    /// The newest write applied of each node. Asks nobody: it is what readers see.
    pub fn vector_clock(&self) -> VersionVector {
        self.shared().applied().frontier.tops()
    }

    /// Goes by other strategies from now on, for reads and for writes that are made after this call; see
    /// [`Builder::default_strategy`] and [`Builder::strategy`]. What is stored stays as it is: a strategy decides what is
    /// shown of it. Links are made anew, so that peers hear of it; they should be given the same.
    ///
    /// Subscribers are not told of values that look different now. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Path`] when a prefix is none; then nothing has changed.
    pub fn set_strategies(
        &self,
        default: Strategy,
        rules: impl IntoIterator<Item = (String, Strategy)>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        shared.set_policy(policy_of(default, rules, &shared.metrics)?);
        Ok(())
    }

    /// What does not change while the node runs.
    pub fn info(&self) -> &NodeInfo {
        &self.shared().info
    }

    /// What the node counts of its own work.
    pub fn metrics(&self) -> &Metrics {
        &self.shared().metrics
    }

    /// Whether the node can serve; otherwise why not.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(reason) = &*self.shared().failed.borrow() {
            return Err(format!("the store has failed: {reason}"));
        }
        if *self.shared().stopping.borrow() {
            return Err("the node is shutting down".to_string());
        }
        Ok(())
    }

    /// Compares this node with every linked peer and exchanges what differs; tells when that is done. Bounded to
    /// 30 s.
    pub async fn anti_entropy(&self) -> Result<RoundReport, Error> {
        self.compare(Prefix::default()).await
    }

    /// As [`Node::anti_entropy`], of the paths that begin with this only: digests of ranges and the documents that differ, at
    /// the cost of the difference. What else differs is left alone.
    pub async fn anti_entropy_below(&self, prefix: &str) -> Result<RoundReport, Error> {
        self.compare(Prefix::parse(prefix)?).await
    }

    async fn compare(&self, prefix: Prefix) -> Result<RoundReport, Error> {
        let round = self.shared().ask(|answer| Job::AntiEntropy(prefix, answer));
        tokio::time::timeout(ROUND_WAIT_MAX, round).await.map_err(|_| Error::TimedOut)?
    }

    /// What waits in quarantine: documents that peers sent and whose stamps are too far ahead of this clock.
    pub async fn quarantine(&self) -> Result<Vec<Held>, Error> {
        self.shared().ask(Job::Quarantine).await
    }

    /// Takes documents out of quarantine now, although their stamps are ahead: that of a path, or all; only those that a
    /// node wrote or sent, if one is given. What was written together comes out together. Tells how many came out.
    ///
    /// They win over every write that did not see them until their time has come; a write that sees one replaces it. This
    /// node's own clock does not follow their stamps.
    pub async fn release(&self, path: Option<&str>, node: Option<NodeId>) -> Result<u64, Error> {
        let path = path.map(Path::parse).transpose()?;
        self.shared().ask(|answer| Job::Release { path, node, answer }).await
    }

    /// Keeps a link to a peer from now on; false when it does already.
    pub fn add_peer(&self, url: &str) -> Result<bool, Error> {
        add_peer(self.shared(), url)
    }

    /// Stops dialing a peer and closes that link; false when it was not dialed.
    pub fn remove_peer(&self, url: &str) -> bool {
        remove_peer(self.shared(), url)
    }

    /// Runs a link over an upgraded stream of `GET /api/_link`, to its end.
    pub async fn accept_link<IO>(&self, io: IO, remote: String)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(self.shared());
        let identity = shared.identity();
        match accept(io, &identity, &shared.link_limits).await {
            Ok(link) => {
                run_link(shared, link, identity, None).await;
            }
            Err(error) => note_refused(&shared, &remote, &identity, &AcceptError::Handshake(error)).await,
        }
    }

    /// Where the node listens for links, when [`Builder::listen`] asked it to.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.shared().info.local_addr
    }

    /// Stops the node: ends its links, finishes what is queued, and lets the data directory go.
    pub async fn close(self) -> Result<(), Error> {
        self.shared().ask(Job::Close).await?
    }

    /// Waits until the store fails, if it ever does; tells why. The process should exit with an error then.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared().failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.map(|reason| reason.clone().unwrap_or_default());
        match reason {
            Ok(reason) => reason,
            Err(_) => std::future::pending().await,
        }
    }

    async fn change(&self, path: &str, change: Change) -> Result<Written, Error> {
        let path = Path::parse(path)?;
        let (condition, observed) = (Condition::Always, Observed::All);
        self.write(Write { path, change, condition, observed, ttl: None, once: None }).await
    }

    fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Json, Error> {
        let Limits { value_bytes: bytes, value_depth: depth, .. } = self.info().limits;
        Ok(Json::from_serialize(value, &JsonLimits { bytes, depth })?)
    }
}

/// Logs why an incoming link came to nothing.
pub(crate) async fn note_refused(shared: &Shared, remote: &str, told: &Identity, error: &AcceptError) {
    if let AcceptError::Handshake(error) = error {
        note_proof(shared, told, error).await;
    }
    tracing::warn!(remote, error = %crate::error::chain(error), "an incoming link was refused");
}
