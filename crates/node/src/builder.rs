//! Opening a node.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rejoin_causal::{Epoch, Hex, NodeId};
use rejoin_link::{
    BearerToken, ClusterId, ClusterSecret, Identity, Limits as LinkLimits, Listener, NodeKey, OpenHandshakes,
};
use rejoin_replica::path::{PATH_BYTES_MAX, Path, SEGMENT_BYTES_MAX, SEGMENTS_MAX};
use rejoin_replica::{Alarm, Config, Now, Policy, Replica, Start, StatementKind, Strategy, View as _};
use rejoin_store::{FjallEngine, FjallOptions, MemoryEngine, Store, SyncPolicy};
use tokio::sync::watch;

use crate::alarms::Alarms;
use crate::board::{self, Board, Figures};
use crate::clock::{Clock, random, wall_ms};
use crate::config::{
    DISK_RESERVE_BYTES, Durability, Limits, NAME_BYTES_MAX, SCAN_ITEMS_MAX, SCAN_PAGE_BYTES_MAX,
    SIBLINGS_BYTES_MAX,
};
use crate::engine::{Kind, NodeEngine};
use crate::feed::hub::Hub;
use crate::feed::lineage::Lineage;
use crate::links::{Links, add_peer, run_link};
use crate::machine::Machine;
use crate::metrics::{Metrics, watched};
use crate::node::{Node, NodeInfo};
use crate::pins::{self, Pins};
use crate::queue::Queue;
use crate::shared::{Published, Shared};
use crate::statements::{self, STATEMENTS_NOTE};
use crate::token::Applied;
use crate::writer::Writer;
use crate::{Error, error};

/// The note that holds the node's secret key.
pub(crate) const KEY_NOTE: &str = "key";

/// Settings of a node that is about to open; see [`Node::builder`].
#[derive(Clone, Debug)]
#[must_use = "a node opens with `open`"]
pub struct Builder {
    data_dir: Option<PathBuf>,
    name: Option<String>,
    listen: Option<String>,
    peers: Vec<String>,
    peer_token: Option<String>,
    default_strategy: Strategy,
    strategies: Vec<(String, Strategy)>,
    cluster: String,
    cluster_secret: Option<String>,
    durability: Durability,
    disk_reserve: u64,
    generation_file: Option<PathBuf>,
    doubt_clock_jumps: bool,
    config: Config,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            data_dir: None,
            name: None,
            listen: None,
            peers: Vec::new(),
            peer_token: None,
            default_strategy: Strategy::LastWriteWins,
            strategies: Vec::new(),
            cluster: "default".to_string(),
            cluster_secret: None,
            durability: Durability::Disk,
            disk_reserve: DISK_RESERVE_BYTES,
            generation_file: None,
            doubt_clock_jumps: true,
            config: Config::default(),
        }
    }

    /// Where the node keeps its data; made when it is not there. Needed unless the node is [`Builder::in_memory`].
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.data_dir = Some(directory.into());
        self
    }

    /// Keeps everything in memory: the data ends with the process. Same as [`Durability::Memory`].
    pub fn in_memory(self) -> Builder {
        self.durability(Durability::Memory)
    }

    /// A name for people, beside the id. At most 64 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// An address at which peers can reach this node, such as `127.0.0.1:0`. Not needed to dial others, nor when an
    /// HTTP server hands its links over.
    pub fn listen(mut self, address: impl Into<String>) -> Builder {
        self.listen = Some(address.into());
        self
    }

    /// A peer to keep a link to, such as `http://127.0.0.1:3001`.
    pub fn peer(mut self, url: impl Into<String>) -> Builder {
        self.peers.push(url.into());
        self
    }

    /// Several peers.
    pub fn peers<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Builder {
        self.peers.extend(urls.into_iter().map(Into::into));
        self
    }

    /// A bearer token to show to the peers that this node dials.
    pub fn peer_token(mut self, token: Option<String>) -> Builder {
        self.peer_token = token;
        self
    }

    /// The strategy of paths without one of their own. Default: last-write-wins.
    pub fn default_strategy(mut self, strategy: Strategy) -> Builder {
        self.default_strategy = strategy;
        self
    }

    /// The strategy of a path and everything below it. The longest prefix wins. All nodes should have the same.
    pub fn strategy(mut self, prefix: impl Into<String>, strategy: Strategy) -> Builder {
        self.strategies.push((prefix.into(), strategy));
        self
    }

    /// The cluster's name; nodes of different clusters refuse each other. Default: `default`.
    pub fn cluster(mut self, name: impl Into<String>) -> Builder {
        self.cluster = name.into();
        self
    }

    /// A secret that every node of the cluster must know; it takes the place of the cluster's name. Use at least 16
    /// random bytes, or a long passphrase.
    pub fn cluster_secret(mut self, secret: impl Into<String>) -> Builder {
        self.cluster_secret = Some(secret.into());
        self
    }

    /// What an answered write survives. Default: [`Durability::Disk`].
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.durability = durability;
        self
    }

    /// Free disk space, in bytes, below which writes are refused as [`Error::DiskFull`] and peers are not listened to until
    /// there is more; reads and deletes go on. Of a small file system it is a tenth at most. The store's own needs, such as
    /// room to merge tables, come on top. Default: 64 MiB.
    pub fn disk_reserve(mut self, bytes: u64) -> Builder {
        self.disk_reserve = bytes;
        self
    }

    /// Superseded versions kept per path. Default: 10.
    pub fn max_versions(mut self, versions: u32) -> Builder {
        self.config.versions_max = versions;
        self
    }

    /// Time between anti-entropy rounds; `None`: only on request. Default: 60 s, jittered by a tenth.
    pub fn anti_entropy_interval(mut self, interval: Option<Duration>) -> Builder {
        self.config.anti_entropy_interval_ms = interval.map(millis);
        self
    }

    /// How long deletes are remembered before they are collected. Default: 7 days.
    pub fn tombstone_retention(mut self, retention: Duration) -> Builder {
        self.config.tombstone_retention_ms = millis(retention);
        self
    }

    /// Time between looks for deletes that can be collected, jittered by a tenth. Default: 60 s.
    pub fn collect_interval(mut self, interval: Duration) -> Builder {
        self.config.collect_interval_ms = millis(interval);
        self
    }

    /// How far ahead a peer's clock may be before its writes wait in quarantine. Default: 60 s.
    pub fn clock_skew_max(mut self, skew: Duration) -> Builder {
        self.config.clock_skew_max_ms = millis(skew);
        self
    }

    /// The largest value that a client of this node may write, in bytes. Default: 1 MiB, at most 16 MiB.
    pub fn value_bytes_max(mut self, bytes: usize) -> Builder {
        self.config.value_bytes_max = bytes;
        self
    }

    /// Live versions of one path beyond which a client's write must not add another. Default: 64, at least 1.
    pub fn siblings_max(mut self, versions: usize) -> Builder {
        self.config.siblings_max = versions;
        self
    }

    /// Bytes of the live versions of one path, when there are several, beyond which a client's write must not add to them.
    /// Default: 32 MiB, at most 256 MiB.
    pub fn siblings_bytes_max(mut self, bytes: usize) -> Builder {
        self.config.siblings_bytes_max = bytes;
        self
    }

    /// The deepest value that a client of this node may write. Default: 64, at most 126.
    pub fn value_depth_max(mut self, depth: usize) -> Builder {
        self.config.value_depth_max = depth;
        self
    }

    /// Lets digest sessions remove any number of documents. Default: they stop at 1,000 and 5 % of the store.
    pub fn allow_removals(mut self, allow: bool) -> Builder {
        self.config.removals_allowed = allow;
        self
    }

    /// A file whose content changes with each copy of this machine and each time that it is put back with its memory, in
    /// addition to the generation id of which the Linux kernel tells. The node then takes a new identity before its next
    /// write. Default: none.
    pub fn generation_file(mut self, file: Option<PathBuf>) -> Builder {
        self.generation_file = file;
        self
    }

    /// Whether the node takes a wall clock that jumps ahead, against the time since boot, for a machine that was put back
    /// with its memory, and takes a new identity. Default: yes, on Linux.
    pub fn doubt_clock_jumps(mut self, doubt: bool) -> Builder {
        self.doubt_clock_jumps = doubt;
        self
    }

    /// Opens the node: recovers its store, takes a new epoch, starts listening and dialing. Must be called within a
    /// tokio runtime with several threads or one; the node runs on it.
    ///
    /// # Errors
    /// A wrong setting, a data directory in use, damaged or of a newer version, or an address in use. Nothing runs
    /// then.
    pub async fn open(self) -> Result<Node, Error> {
        self.check()?;
        let metrics = Arc::new(Metrics::default());
        let policy =
            Arc::new(policy_of(self.default_strategy.clone(), self.strategies.iter().cloned(), &metrics)?);
        let cluster_secret = self.cluster_secret.as_ref().map(ClusterSecret::new);
        let cluster = match &cluster_secret {
            Some(secret) => ClusterId::of_secret(secret),
            None => ClusterId::of_name(&self.cluster),
        };
        let peer_token = match &self.peer_token {
            Some(token) => Some(BearerToken::new(token).map_err(|error| Error::Config(error.to_string()))?),
            None => None,
        };
        let listener = match &self.listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let local_addr = match &listener {
            Some(listener) => Some(listener.local_addr().map_err(|error| Error::Listen(error.to_string()))?),
            None => None,
        };

        let clock = Clock::start();
        let Opened { engine: engine_name, store, key, epoch, lineage, replica, figures } =
            self.open_store(&metrics, &policy, clock.now()).await?;
        let node = NodeId(key.id());

        let name = self.name.clone().unwrap_or_else(|| format!("node-{node:?}"));
        let identity = Identity {
            key: Arc::new(key),
            cluster,
            secret: cluster_secret,
            name: name.clone(),
            epoch: epoch.0,
            policy: policy.hash(),
            handshakes: OpenHandshakes::default(),
        };
        identity.check().map_err(|error| Error::Config(error.to_string()))?;

        let snapshot = store.snapshot();
        let sequence = replica.counters().sequence;
        // They stand as long as they are kept; the alarms of the last start are gone.
        let doubted = replica.doubted().clone();
        let applied = Arc::new(Applied::new(replica.frontier().clone()));

        let (committed_out, committed) = watch::channel(sequence);
        let (news_out, news) = watch::channel(sequence);
        let shared = Arc::new(Shared {
            info: NodeInfo {
                id: node,
                name,
                epoch,
                started: SystemTime::now(),
                durability: self.durability,
                limits: self.limits(),
                data_dir: self.data_dir.clone().filter(|_| self.durability != Durability::Memory),
                engine: engine_name,
                policy_hash: Hex(&policy.hash()).to_string(),
                local_addr,
            },
            policy: RwLock::new(policy),
            clock,
            config: self.config.clone(),
            link_limits: LinkLimits::default(),
            peer_token,
            identity: RwLock::new(Arc::new(identity)),
            jobs: Queue::new(self.durability == Durability::Disk),
            batches: crate::batch::turns(),
            reception: crate::receiving::Reception::new(),
            published: RwLock::new(Some(Published { reader: store.reader(), snapshot })),
            applied: watch::Sender::new(applied),
            committed,
            links: Links::new(),
            pins: Pins::default(),
            board: Board::new(replica.status(), figures),
            hub: Arc::new(Hub::new(sequence)),
            lineage,
            metrics,
            alarms: Alarms::default(),
            disk_reserve: self.disk_reserve,
            disk_full: watch::Sender::new(false),
            unsure: watch::Sender::new(false),
            quarantined: std::sync::atomic::AtomicU64::new(0),
            failed: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
        });
        let runtime = tokio::runtime::Handle::current();
        Hub::start(&shared, news, runtime.clone())?;
        let machine = Machine::watch(self.generation_file.clone(), self.doubt_clock_jumps);
        let writer =
            Writer::new(replica, store, Arc::clone(&shared), committed_out, news_out, runtime, machine);
        std::thread::Builder::new()
            .name("rejoin-replica".to_string())
            .spawn(move || crate::writer::run(writer))
            .map_err(|error| Error::Config(format!("the system starts no thread: {error}")))?;

        for (life, doubted) in doubted {
            let own = life.0 == node;
            shared.alarms.raise(&Alarm::LifeDoubted { life, reason: doubted.reason, own });
        }
        let opened = Node::new(Arc::clone(&shared));
        tokio::spawn(pins::keep_young(Arc::clone(&shared)));
        for peer in &self.peers {
            add_peer(&shared, peer)?;
        }
        if let Some(listener) = listener {
            tokio::spawn(accept_links(Arc::clone(&shared), listener));
        }
        Ok(opened)
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Config(text.to_string()));
        if self.durability != Durability::Memory && self.data_dir.is_none() {
            return refuse(
                "no data directory: give one with data_dir, or keep the node in memory with in_memory",
            );
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return refuse("a node's name has 1 to 64 bytes");
        }
        if self.config.anti_entropy_interval_ms.is_some_and(|ms| ms < 1_000) {
            return refuse("the anti-entropy interval is at least one second, or none");
        }
        if self.config.value_bytes_max == 0
            || self.config.value_bytes_max > rejoin_replica::config::VALUE_BYTES_PROTOCOL_MAX
        {
            return refuse("the value limit is between 1 byte and 16 MiB");
        }
        if self.config.siblings_max == 0 || self.config.siblings_bytes_max > SIBLINGS_BYTES_MAX {
            return refuse("a path has at least one live version, and at most 256 MiB of several");
        }
        if self.config.value_depth_max > rejoin_replica::config::VALUE_DEPTH_PROTOCOL_MAX {
            return refuse("the depth limit is at most 126");
        }
        if self.cluster_secret.as_ref().is_some_and(String::is_empty) {
            return refuse("the cluster secret is empty: leave it out, or give at least 16 random bytes");
        }
        for peer in &self.peers {
            rejoin_link::parse_peer_url(peer).map_err(|error| Error::BadPeer(error.to_string()))?;
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits {
            value_bytes: self.config.value_bytes_max,
            value_depth: self.config.value_depth_max,
            path_bytes: PATH_BYTES_MAX,
            path_segments: SEGMENTS_MAX,
            segment_bytes: SEGMENT_BYTES_MAX,
            scan_items: SCAN_ITEMS_MAX,
            scan_page_bytes: SCAN_PAGE_BYTES_MAX,
            history_versions: self.config.versions_max,
        }
    }

    /// Opens the store, and begins an epoch in it: it reads, writes and syncs, on a thread that may block.
    async fn open_store(
        &self,
        metrics: &Arc<Metrics>,
        policy: &Arc<Policy>,
        now: Now,
    ) -> Result<Opened, Error> {
        let (durability, directory, config) = (self.durability, self.data_dir.clone(), self.config.clone());
        let (metrics, policy) = (Arc::clone(metrics), Arc::clone(policy));
        let open = move || {
            let engine = match directory.filter(|_| durability != Durability::Memory) {
                Some(directory) => {
                    // Only the replica's thread waits for the disk.
                    let seals_apart = durability != Durability::Disk;
                    let options = FjallOptions { seals_apart, ..FjallOptions::default() };
                    let engine = FjallEngine::open(&directory, options);
                    let engine = engine.map_err(|error| Error::open(&error.into()))?;
                    if engine.torn_bytes() > 0 {
                        let bytes = engine.torn_bytes();
                        tracing::info!(bytes, "dropped an incomplete commit at the end of the journal");
                    }
                    Kind::Fjall(engine)
                }
                None => Kind::Memory(MemoryEngine::new()),
            };
            let engine = NodeEngine::new(engine, metrics);
            let sync = match durability {
                Durability::Disk => SyncPolicy::EveryCommit,
                Durability::Os | Durability::Memory => SyncPolicy::Never,
            };
            let name = engine.name();
            let store = Store::open(engine, sync).map_err(|error| Error::open(&error))?;
            begin(name, store, config, policy, now)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        opened.map_err(|failed| Error::Corrupt(format!("the store could not be opened: {failed}")))?
    }
}

/// A store, and a replica that goes on from what is in it.
struct Opened {
    /// The engine's name.
    engine: &'static str,
    store: Store<NodeEngine>,
    key: NodeKey,
    epoch: Epoch,
    lineage: Lineage,
    replica: Replica,
    figures: Figures,
}

/// Begins an epoch and a generation of the feed, durably.
fn begin(
    engine: &'static str,
    mut store: Store<NodeEngine>,
    config: Config,
    policy: Arc<Policy>,
    now: Now,
) -> Result<Opened, Error> {
    let key = match store.note(KEY_NOTE).map_err(|error| Error::open(&error))? {
        Some(seed) => {
            let seed =
                seed.try_into().map_err(|_| Error::Corrupt("the node's key is damaged".to_string()))?;
            NodeKey::from_seed(seed)
        }
        None => {
            let key = NodeKey::generate().map_err(|error| Error::Config(error.to_string()))?;
            store.set_note(KEY_NOTE, &key.seed()).map_err(|error| Error::open(&error))?;
            key
        }
    };
    let noise = u16::from_le_bytes(random()?);
    let epoch = store.begin_epoch(wall_ms(), noise).map_err(|error| Error::open(&error))?;
    let mut statements = vec![statements::sign(&key, epoch, StatementKind::Alive)];
    let signed = store.note(STATEMENTS_NOTE).map_err(|error| Error::open(&error))?;
    statements.extend(signed.as_deref().map(statements::decode).unwrap_or_default());
    let seed = u64::from_le_bytes(random()?);
    let start = Start { node: NodeId(key.id()), epoch, seed, config, policy, statements };
    let snapshot = store.snapshot();
    let sequence = snapshot.counters().map_err(|error| Error::open(&error))?.sequence;
    let lineage = Lineage::begin(&mut store, sequence)?;
    let replica = Replica::open(start, now, &store.snapshot()).map_err(|error| Error::open(&error))?;
    let figures = board::measure(&store.reader());
    Ok(Opened { engine, store, key, epoch, lineage, replica, figures })
}

/// A policy whose resolvers are watched.
pub(crate) fn policy_of(
    default: Strategy,
    rules: impl IntoIterator<Item = (String, Strategy)>,
    metrics: &Arc<Metrics>,
) -> Result<Policy, Error> {
    let mut policy = Policy::new(watched(default, metrics));
    for (prefix, strategy) in rules {
        let prefix = Path::parse(prefix.trim_end_matches('/'))?;
        policy = policy.with(&prefix, watched(strategy, metrics));
    }
    Ok(policy)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn bind(address: &str) -> Result<Listener, Error> {
    Listener::bind(address)
        .await
        .map_err(|failed| Error::Listen(format!("cannot listen on {address}: {}", error::chain(&failed))))
}

/// Accepts links until the node stops.
async fn accept_links(shared: Arc<Shared>, listener: Listener) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let incoming = tokio::select! {
            incoming = listener.accept() => incoming,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(failed) => {
                // Out of descriptors, most likely: wait for some to be given back.
                tracing::warn!(error = %failed, "cannot accept a connection");
                shared.pause(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let remote = incoming.remote_addr().to_string();
            let identity = shared.identity();
            match incoming.link(&identity, &shared.link_limits).await {
                Ok(link) => {
                    run_link(shared, link, identity, None).await;
                }
                Err(failed) => crate::node::note_refused(&shared, &remote, &identity, &failed).await,
            }
        });
    }
}
