//! One server's life: it opens, does what it is asked, and closes when nobody asks any more.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rejoin::{Change, Condition, Error, Event, From, JsonLimits, Node, Observed, Path, Scope, Write};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::{READS_PER_TURN, SCAN_PIECE_BYTES, WRITES_OPEN_MAX};
use crate::operation::{self, Asked, Operation};
use crate::outbox::Outbox;
use crate::resolver::Calls;
use crate::settings::{Resolvers, Settings};
use crate::shapes;

/// Under which JavaScript expects to hear that the server has started, and that it has ended.
const START: u64 = 0;
const CLOSE: u64 = 1;

/// What the event loop and the server's tasks share.
pub(crate) struct Server {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) resolvers: Resolvers,
    /// There from the time that the server has started until it closes.
    node: Mutex<Option<Node>>,
    subscriptions: Mutex<HashMap<u64, AbortHandle>>,
}

impl Server {
    /// To be made on the event loop's thread.
    pub(crate) fn new(outbox: Outbox) -> Server {
        let outbox = Arc::new(outbox);
        let calls = Arc::new(Calls::new(Arc::clone(&outbox)));
        let resolvers = Resolvers::new(Arc::clone(&calls));
        Server { outbox, calls, resolvers, node: Mutex::default(), subscriptions: Mutex::default() }
    }

    /// The node.
    ///
    /// # Errors
    /// [`Error::Closed`] before it has started and after it has closed.
    pub(crate) fn node(&self) -> Result<Node, Error> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    fn set_node(&self, node: Option<Node>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the node, serves it and does what it is asked, until the sender of batches is gone.
    pub(crate) async fn run(self: Arc<Self>, settings: Settings, batches: mpsc::UnboundedReceiver<String>) {
        let opened = self.open(&settings).await;
        let (node, listener) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.outbox.finish(shapes::failed(START, &error)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving =
            tokio::spawn(rejoin_http::serve(node.clone(), listener, settings.serve_options(), async {
                // A sender that is gone means stop as well.
                let _ = stopped.await;
            }));
        self.set_node(Some(node.clone()));
        let started = format!("{{\"id\":\"{}\"}}", node.info().id);
        self.outbox.push(shapes::done(START, &started));
        let failing = tokio::spawn(tell_of_failure(Arc::clone(&self.outbox), node.clone()));

        let mut others = self.work(&node, batches).await;
        drop(stop);
        if let Ok(Err(error)) = serving.await {
            self.outbox.push(shapes::warning("REJOIN_SERVER", &error.to_string()));
        }
        self.set_node(None);
        let closed = node.close().await;
        failing.abort();
        self.calls.end();
        self.outbox.close();
        // With the node they end too.
        while others.join_next().await.is_some() {}
        self.outbox.finish(match closed {
            Ok(()) | Err(Error::Closed) => shapes::done(CLOSE, "null"),
            Err(error) => shapes::failed(CLOSE, &error),
        });
    }

    async fn open(&self, settings: &Settings) -> Result<(Node, TcpListener), Error> {
        let (host, port) = (settings.host.as_str(), settings.port);
        let listener = TcpListener::bind((host, port)).await;
        let listener =
            listener.map_err(|error| Error::Listen(format!("cannot listen on {host}:{port}: {error}")))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(error.to_string()))?;
        let options = settings.serve_options();
        rejoin_http::refuse_open_bind(address, options.auth_token.as_deref()).map_err(|error| {
            Error::Config(format!("option \"host\": {error}; the token is option \"authToken\""))
        })?;
        let node = settings.builder(&self.resolvers)?.open().await?;
        Ok((node, listener))
    }

    /// Does what it is asked; returns what is still going on when nobody can ask any more and all writes and reads of single
    /// paths are done.
    async fn work(
        self: &Arc<Self>,
        node: &Node,
        mut batches: mpsc::UnboundedReceiver<String>,
    ) -> JoinSet<()> {
        let limits = node.info().limits;
        let limits = JsonLimits { bytes: limits.value_bytes, depth: limits.value_depth };
        let mut waiting: VecDeque<Operation> = VecDeque::new();
        let mut writes = FuturesUnordered::new();
        let (mut reads, mut others) = (JoinSet::new(), JoinSet::new());
        let mut open = true;
        loop {
            while writes.len() < WRITES_OPEN_MAX
                && let Some(Operation { id, asked }) = waiting.pop_front()
            {
                let change = match asked {
                    Asked::Write(path, change) => Some((path, change, Told::Written)),
                    Asked::Remove(path) => Some((path, Change::Delete, Told::Whether)),
                    asked => {
                        self.begin(node, Operation { id, asked }, &mut waiting, &mut reads, &mut others);
                        None
                    }
                };
                if let Some((path, change, told)) = change {
                    let write = write(Arc::clone(self), node.clone(), id, path, change, told);
                    // Tokio makes every 128th wait of a turn yield: the next write would overtake it.
                    let mut write = Box::pin(tokio::task::unconstrained(write));
                    // Looked at once here, in turn: this hands it to the replica, in the order in which it was asked.
                    if poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await.is_pending() {
                        writes.push(write);
                    }
                }
            }
            tokio::select! {
                Some(()) = writes.next() => {}
                Some(_) = reads.join_next() => {}
                Some(_) = others.join_next() => {}
                batch = batches.recv(), if open && waiting.is_empty() => match batch {
                    Some(batch) => match operation::parse(&batch, limits) {
                        Ok(operations) => waiting.extend(operations),
                        Err(error) => tracing::error!(%error, "a batch of operations is not understood"),
                    },
                    None => open = false,
                },
                else => break,
            }
            if !open && waiting.is_empty() && writes.is_empty() && reads.is_empty() {
                break;
            }
        }
        others
    }

    /// Starts what is not a write.
    fn begin(
        self: &Arc<Self>,
        node: &Node,
        operation: Operation,
        waiting: &mut VecDeque<Operation>,
        reads: &mut JoinSet<()>,
        others: &mut JoinSet<()>,
    ) {
        let (server, node, id) = (Arc::clone(self), node.clone(), operation.id);
        match operation.asked {
            Asked::Get(path) => {
                let mut paths = vec![(id, path)];
                // Those that follow it cost one turn of a thread together.
                while paths.len() < READS_PER_TURN
                    && let Some(Operation { id, asked: Asked::Get(path) }) =
                        waiting.pop_front_if(|next| matches!(next.asked, Asked::Get(_)))
                {
                    paths.push((id, path));
                }
                reads.spawn_blocking(move || server.read(&node, &paths));
            }
            Asked::Scan { prefix, limit } => {
                others.spawn_blocking(move || {
                    if let Err(error) = server.scan(&node, id, &prefix, limit) {
                        server.outbox.push(shapes::failed(id, &error));
                    }
                });
            }
            Asked::Subscribe(scope) => match Scope::parse(&scope)
                .map_err(Error::from)
                .and_then(|scope| node.subscribe_scope(scope, From::Now))
            {
                Ok(subscription) => {
                    self.outbox.push(shapes::done(id, "true"));
                    let outbox = Arc::clone(&self.outbox);
                    let task = others.spawn(tell(outbox, id, subscription));
                    self.subscriptions().insert(id, task);
                }
                Err(error) => self.outbox.push(shapes::failed(id, &error)),
            },
            Asked::Unsubscribe(subscription) => {
                if let Some(task) = self.subscriptions().remove(&subscription) {
                    task.abort();
                }
            }
            Asked::AntiEntropy(prefix) => {
                others.spawn(async move {
                    let round = node.anti_entropy_below(&prefix).await;
                    server.outbox.push(match round {
                        Ok(report) => shapes::done(id, &shapes::round(&report)),
                        Err(error) => shapes::failed(id, &error),
                    });
                });
            }
            Asked::Refused(error) => self.outbox.push(shapes::failed(id, &error)),
            Asked::Write(..) | Asked::Remove(_) => {}
        }
    }

    fn read(&self, node: &Node, paths: &[(u64, String)]) {
        for (id, path) in paths {
            let entry = Path::parse(path).map_err(Error::from).and_then(|path| node.entry(&path));
            self.outbox.push(match entry {
                Ok(entry) => {
                    let value = entry.as_ref().and_then(|entry| entry.value.as_ref());
                    shapes::done(*id, value.map_or("null", |value| value.as_str()))
                }
                Err(error) => shapes::failed(*id, &error),
            });
        }
    }

    fn scan(&self, node: &Node, id: u64, prefix: &str, limit: Option<u64>) -> Result<(), Error> {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let runtime = tokio::runtime::Handle::current();
        let mut text = String::new();
        for entry in node.scan(prefix)?.entries().take(limit) {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&shapes::entry(&entry?));
            if text.len() >= SCAN_PIECE_BYTES {
                self.outbox.push(shapes::piece(id, &text));
                text.clear();
                // A scan of everything must not be in memory twice.
                runtime.block_on(self.outbox.has_room());
                // A server that closes does not wait for walks.
                self.node()?;
            }
        }
        self.outbox.push(shapes::done(id, &format!("[{text}]")));
        Ok(())
    }
}

/// What whoever writes is told.
#[derive(Clone, Copy)]
enum Told {
    /// What is there now.
    Written,
    /// Whether something was done.
    Whether,
}

/// Does a write and answers.
async fn write(server: Arc<Server>, node: Node, id: u64, path: String, change: Change, told: Told) {
    let answer = match written(&node, path, change, told).await {
        Ok(text) => shapes::done(id, &text),
        Err(error) => shapes::failed(id, &error),
    };
    server.outbox.push(answer);
}

async fn written(node: &Node, path: String, change: Change, told: Told) -> Result<String, Error> {
    let parsed = Path::parse(&path)?;
    let (condition, observed) = (Condition::Always, Observed::All);
    let write = Write { path: parsed.clone(), change, condition, observed, ttl: None, once: None };
    match node.write(write).await {
        Ok(_) if matches!(told, Told::Whether) => Ok("true".to_owned()),
        Err(Error::NotFound { .. }) if matches!(told, Told::Whether) => Ok("false".to_owned()),
        Ok(written) => Ok(shapes::written(&path, Some(&written.visible), &written.vector_clock)),
        // First-write-wins: the value after the resolution is the one that was there.
        Err(Error::RejectedByStrategy(current)) => {
            Ok(shapes::written(&path, current.visible.as_deref(), &current.vector_clock))
        }
        // A delete of nothing.
        Err(Error::NotFound { .. }) => Ok(shapes::absent(&path, node.entry(&parsed)?.as_ref())),
        Err(error) => Err(error),
    }
}

/// Tells a subscriber of changes, when there is room for them.
async fn tell(outbox: Arc<Outbox>, id: u64, mut subscription: rejoin::Subscription) {
    loop {
        outbox.has_room().await;
        match subscription.next().await {
            Some(Ok(Event::Change { entry, .. })) => outbox.push(shapes::change(id, &entry)),
            Some(Ok(Event::SnapshotEnd { .. })) => {}
            Some(Ok(Event::Resync { reason, .. })) => {
                let message = format!("a subscription starts over with the current values: {reason}");
                outbox.push(shapes::warning("REJOIN_RESYNC", &message));
            }
            Some(Err(error)) => {
                outbox.push(shapes::warning(
                    "REJOIN_SUBSCRIPTION",
                    &format!("a subscription has ended: {error}"),
                ));
                return;
            }
            None => return,
        }
    }
}

async fn tell_of_failure(outbox: Arc<Outbox>, node: Node) {
    let reason = node.failed().await;
    let message = format!("the store has failed: {reason}; close the server and start it again");
    outbox.push(shapes::warning("REJOIN_STORAGE", &message));
}
