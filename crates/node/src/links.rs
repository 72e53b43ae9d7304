//! Links in the shell: which are up, who dials, and which of two links of one pair stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rejoin_causal::{Epoch, NodeId};
use rejoin_link::{
    Backoff, DialError, HandshakeError, Identity, Link, LinkError, LinkReceiver, LinkSender, LinkStats, Peer,
    PeerUrl, RefusalCode, dial, prefer,
};
use rejoin_replica::config::PART_BYTES;
use rejoin_replica::{DoubtReason, Input, LinkId, Message, parts};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::Error;
use crate::attest::Checks;
use crate::clock::random;
use crate::config::{HANDLED_AT_ONCE_BYTES_MAX, LINKS_MAX, PEERS_MAX};
use crate::introduction::{FRAME_TYPE, Guest, Outcome, Word, introduce};
use crate::receiving::{Receiving, Unreadable};
use crate::serving::{ReadCommand, serve};
use crate::shared::{Job, Shared, lock};
use crate::statements::are_signed;

/// A link that lasted this long was a good one: the next dial starts without delay.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// What a peer is told while nothing can be taken from it.
pub(crate) const DISK_FULL: &str = "the disk of this node is nearly full; it links again when there is room";

/// What a peer is told when it has heard in the handshake what does not hold any more. Who reads it dials again without
/// delay.
pub(crate) const INTRODUCTION_CHANGED: &str =
    "the conflict strategies or the identity of this node have changed";

/// What both links of a peer are told when two processes are at their other ends.
const TWINS: &str = "two processes run as this node; link again under another identity";

/// Words of an introduction that wait to be carried.
const WORDS_WAITING_MAX: usize = 8;

/// Where the replica's thread puts what it has for a link.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    /// Frames to send, in order: a catch-up's last claim must not overtake a push that was queued before it. Not
    /// bounded here: the replica counts the bytes of its pushes and turns one that would exceed
    /// [`rejoin_replica::Config::push_queue_bytes_max`] into catch-up; what the link's reader adds is bounded by the
    /// peer's credit, and by one request of a digest session.
    pub(crate) frames: mpsc::UnboundedSender<Outgoing>,
    /// Work for the link's reader. One command an exchange or a credit; bounded by what the peer may have open.
    pub(crate) reads: mpsc::UnboundedSender<ReadCommand>,
    /// How many of them wait, or are being done: [`crate::config::READ_COMMANDS_MAX`] at most.
    pub(crate) waiting: Arc<AtomicUsize>,
    sender: LinkSender,
}

impl Ports {
    /// Closes the link, telling the peer why.
    pub(crate) fn close(&self, reason: String) {
        let sender = self.sender.clone();
        tokio::spawn(async move { sender.close(&reason).await });
    }
}

/// A frame on its way to the link.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// From the replica, which wants to hear when it has left.
    Counted(Bytes),
    /// From the link's reader.
    Uncounted(Bytes, OwnedSemaphorePermit),
}

/// A link that is up.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) peer: Peer,
    pub(crate) dialed: bool,
    pub(crate) url: Option<String>,
    pub(crate) since: SystemTime,
    pub(crate) stats: LinkStats,
    sender: LinkSender,
}

/// A peer that this node dials.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) state: DialState,
    pub(crate) since: SystemTime,
    pub(crate) peer: Option<NodeId>,
    pub(crate) last_error: Option<String>,
    pub(crate) next_retry_at: Option<SystemTime>,
    stop: watch::Sender<bool>,
}

/// How dialing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialState {
    /// Connecting, or waiting before the next try.
    Trying,
    /// Connected by this dial, or by the peer's.
    Connected,
    /// The peer refused us, or we it: another cluster, a wrong secret, ourselves.
    Rejected,
}

/// All links and all dialed peers.
#[derive(Debug)]
pub(crate) struct Links {
    up: Mutex<BTreeMap<LinkId, Up>>,
    dialed: Mutex<BTreeMap<String, Dialed>>,
    next: AtomicU64,
    changed: watch::Sender<u64>,
    /// Where what a link's peer says of an introduction goes.
    introducing: Mutex<BTreeMap<LinkId, mpsc::Sender<Word>>>,
}

impl Links {
    pub(crate) fn new() -> Links {
        Links {
            up: Mutex::default(),
            dialed: Mutex::default(),
            next: AtomicU64::new(1),
            changed: watch::Sender::new(0),
            introducing: Mutex::default(),
        }
    }

    pub(crate) fn with_up<T>(&self, look: impl FnOnce(&BTreeMap<LinkId, Up>) -> T) -> T {
        look(&lock(&self.up))
    }

    pub(crate) fn with_dialed<T>(&self, look: impl FnOnce(&BTreeMap<String, Dialed>) -> T) -> T {
        look(&lock(&self.dialed))
    }

    fn update_dialed(&self, url: &str, change: impl FnOnce(&mut Dialed)) {
        if let Some(dialed) = lock(&self.dialed).get_mut(url) {
            change(dialed);
        }
    }

    fn is_linked(&self, peer: NodeId) -> bool {
        lock(&self.up).values().any(|up| up.peer.id == peer.0)
    }

    /// The link that is up with the same life of the same peer, to be introduced to another; what its peer says of that comes
    /// out of the receiver, until the next time.
    fn rival(&self, peer: &Peer) -> Option<(LinkId, LinkSender, mpsc::Receiver<Word>)> {
        let links = lock(&self.up);
        let (id, up) = links.iter().find(|(_, up)| up.peer.id == peer.id && up.peer.epoch == peer.epoch)?;
        let (said, heard) = mpsc::channel(WORDS_WAITING_MAX);
        lock(&self.introducing).insert(*id, said);
        Some((*id, up.sender.clone(), heard))
    }

    /// Hands on what a link's peer says of an introduction; nobody may be waiting for it any more.
    fn introduced(&self, id: LinkId, word: Word) {
        if let Some(said) = lock(&self.introducing).get(&id) {
            let _ = said.try_send(word);
        }
    }

    /// Takes a new link in, unless another of the same pair is to stay. The one that has to go is closed.
    fn admit(&self, ours: [u8; 16], up: Up) -> Result<LinkId, &'static str> {
        let mut links = lock(&self.up);
        if links.len() >= LINKS_MAX {
            return Err("too many links");
        }
        let rival = links.iter().find(|(_, other)| other.peer.id == up.peer.id);
        if let Some((id, other)) = rival {
            // Both ends keep the link that the lower id dialed; of two in the same direction, the newer: the older
            // one is a connection whose end has not been noticed yet.
            let keep_other = other.dialed != up.dialed && prefer(ours, up.peer.id, other.dialed);
            if keep_other && other.peer.epoch == up.peer.epoch {
                return Err("another link between the two nodes stays");
            }
            let id = *id;
            if let Some(other) = links.remove(&id) {
                tokio::spawn(
                    async move { other.sender.close("a newer link between the two nodes stays").await },
                );
            }
        }
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        links.insert(id, up);
        drop(links);
        self.changed.send_modify(|changes| *changes += 1);
        Ok(id)
    }

    fn remove(&self, id: LinkId) {
        lock(&self.up).remove(&id);
        lock(&self.introducing).remove(&id);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Closes every link for which `which` holds.
    pub(crate) fn close(&self, reason: &'static str, which: impl Fn(&Up) -> bool) {
        for up in lock(&self.up).values().filter(|up| which(up)) {
            let sender = up.sender.clone();
            tokio::spawn(async move { sender.close(reason).await });
        }
    }

    /// Closes one link.
    pub(crate) fn close_one(&self, id: LinkId, reason: &'static str) {
        if let Some(up) = lock(&self.up).get(&id) {
            let sender = up.sender.clone();
            tokio::spawn(async move { sender.close(reason).await });
        }
    }

    /// Waits until no link is up, for as long as goodbyes take.
    pub(crate) async fn drained(&self, at_most: Duration) {
        let mut changed = self.changed.subscribe();
        let gone = changed.wait_for(|_| lock(&self.up).is_empty());
        let _ = tokio::time::timeout(at_most, gone).await;
    }
}

/// Starts dialing a peer; false when it is dialed already.
pub(crate) fn add_peer(shared: &Arc<Shared>, url: &str) -> Result<bool, Error> {
    let url: PeerUrl = url.parse().map_err(|error| Error::BadPeer(format!("{error}")))?;
    let name = url.to_string();
    let (stop, stopped) = watch::channel(false);
    {
        let mut dialed = lock(&shared.links.dialed);
        if dialed.contains_key(&name) {
            return Ok(false);
        }
        if dialed.len() >= PEERS_MAX {
            return Err(Error::BadPeer(format!("{PEERS_MAX} peers are dialed already; remove one first")));
        }
        let (state, since) = (DialState::Trying, SystemTime::now());
        let entry = Dialed { state, since, peer: None, last_error: None, next_retry_at: None, stop };
        dialed.insert(name.clone(), entry);
    }
    tokio::spawn(keep_dialing(Arc::clone(shared), url, name, stopped));
    Ok(true)
}

/// Stops dialing a peer and closes the link that this made; false when it was not dialed.
pub(crate) fn remove_peer(shared: &Shared, url: &str) -> bool {
    let name = url.parse::<PeerUrl>().map_or_else(|_| url.to_string(), |url| url.to_string());
    let Some(dialed) = lock(&shared.links.dialed).remove(&name) else { return false };
    dialed.stop.send_replace(true);
    shared.links.close("the peer was removed", |up| up.url.as_deref() == Some(&name));
    true
}

/// Dials a peer for as long as the node runs: again after each end, with backoff.
async fn keep_dialing(shared: Arc<Shared>, url: PeerUrl, name: String, mut stopped: watch::Receiver<bool>) {
    let mut backoff = Backoff::default();
    let mut stopping = shared.stopping.subscribe();
    loop {
        let attempt = async {
            wait_while_linked(&shared, &name).await;
            shared.disk_has_room().await;
            let identity = shared.identity();
            let linked = dial(&url, &identity, &shared.link_limits, shared.peer_token.as_ref()).await;
            let link = match linked {
                Ok(link) => link,
                Err(error) => {
                    note_dial_error(&shared, &name, &identity, &error).await;
                    return false;
                }
            };
            let peer = NodeId(link.peer().id);
            shared.links.update_dialed(&name, |dialed| {
                dialed.peer = Some(peer);
                dialed.last_error = None;
            });
            let started = Instant::now();
            // A task of its own: when this peer is removed, the link still says goodbye in order.
            let run = tokio::spawn(run_link(Arc::clone(&shared), link, identity, Some(name.clone())));
            let reason = run.await.unwrap_or_else(|_| "the link's task ended".to_string());
            let good = started.elapsed() >= STABLE_AFTER || reason == INTRODUCTION_CHANGED;
            shared.links.update_dialed(&name, |dialed| dialed.last_error = Some(reason));
            good
        };
        let stable = tokio::select! {
            stable = attempt => stable,
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if stable {
            backoff.reset();
        }
        let jitter = random().map_or(u64::MAX / 2, u64::from_le_bytes);
        let delay = backoff.next(jitter);
        shared.links.update_dialed(&name, |dialed| {
            if dialed.state == DialState::Connected {
                dialed.state = DialState::Trying;
                dialed.since = SystemTime::now();
            }
            dialed.next_retry_at = Some(SystemTime::now() + delay);
        });
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// The peer may be connected through a link that it dialed: then there is nothing to do until that ends.
async fn wait_while_linked(shared: &Shared, name: &str) {
    let Some(peer) = shared.links.with_dialed(|dialed| dialed.get(name).and_then(|dialed| dialed.peer))
    else {
        return;
    };
    let mut changed = shared.links.changed.subscribe();
    while shared.links.is_linked(peer) {
        set_state(shared, name, DialState::Connected);
        if changed.changed().await.is_err() {
            return;
        }
    }
    set_state(shared, name, DialState::Trying);
}

fn set_state(shared: &Shared, name: &str, state: DialState) {
    shared.links.update_dialed(name, |dialed| {
        if dialed.state != state {
            dialed.state = state;
            dialed.since = SystemTime::now();
        }
        dialed.next_retry_at = None;
    });
}

/// Tells what a handshake has proved of this node: that another process has its key. `told` is what it said of itself.
pub(crate) async fn note_proof(shared: &Shared, told: &Identity, error: &HandshakeError) {
    match error {
        // Of a key that was given up since it proves nothing that matters.
        HandshakeError::Clone { .. } if told.key.id() != shared.identity().key.id() => {}
        HandshakeError::Clone { epoch } => shared.tell(Input::CloneSeen { epoch: Epoch(*epoch) }).await,
        HandshakeError::Twin => {
            let (epoch, reason) = (Epoch(told.epoch), DoubtReason::Twin);
            shared.tell(Input::SelfDoubt { epoch, reason }).await;
        }
        _ => {}
    }
}

async fn note_dial_error(shared: &Shared, name: &str, told: &Identity, error: &DialError) {
    let refused = match error {
        DialError::Handshake(error @ (HandshakeError::Clone { .. } | HandshakeError::Twin)) => {
            note_proof(shared, told, error).await;
            true
        }
        // A peer that is shutting down or busy will be back.
        DialError::Handshake(error) => {
            error.code().is_some_and(|code| !matches!(code, RefusalCode::ShuttingDown | RefusalCode::Busy))
        }
        _ => false,
    };
    let text = crate::error::chain(error);
    set_state(shared, name, if refused { DialState::Rejected } else { DialState::Trying });
    let news = shared.links.with_dialed(|dialed| {
        dialed.get(name).is_some_and(|dialed| dialed.last_error.as_deref() != Some(&text))
    });
    if news && refused {
        tracing::warn!(peer = name, error = %text, "the peer was refused");
    } else if news {
        tracing::info!(peer = name, error = %text, "cannot reach the peer; trying again");
    }
    shared.links.update_dialed(name, |dialed| dialed.last_error = Some(text));
}

/// Runs a link to its end; returns why it ended. `told` is what this node said of itself in the handshake.
pub(crate) async fn run_link(
    shared: Arc<Shared>,
    link: Link,
    told: Arc<Identity>,
    url: Option<String>,
) -> String {
    let (peer, dialed, stats) = (link.peer().clone(), link.dialed(), link.stats());
    let (sender, mut receiver) = link.split();
    let node = NodeId(peer.id);
    if *shared.stopping.borrow() {
        sender.close("the node is shutting down").await;
        return "the node is shutting down".to_string();
    }
    if *shared.disk_full.borrow() {
        sender.close(DISK_FULL).await;
        return DISK_FULL.to_string();
    }
    let up = Up {
        peer: peer.clone(),
        dialed,
        url: url.clone(),
        since: SystemTime::now(),
        stats,
        sender: sender.clone(),
    };
    let (mut guest, mut early) = (Guest::new(&told), Vec::new());
    if let Some((rival, other, heard)) = shared.links.rival(&peer) {
        let outcome = introduce(&shared, &other, heard, &sender, &mut receiver, &mut guest, &mut early).await;
        lock(&shared.links.introducing).remove(&rival);
        if outcome == Outcome::Twins {
            tracing::warn!(peer = %node, name = peer.name, "two processes run as this node; closing both links");
            tokio::spawn(async move { other.close(TWINS).await });
            sender.close(TWINS).await;
            return TWINS.to_string();
        }
    }
    // A machine that was put back dials again at once: its link must not be ahead of the look that finds it out.
    let _ = shared.ask(Job::Look).await;
    shared.is_sure().await;
    let id = match shared.links.admit(shared.identity().key.id(), up) {
        Ok(id) => id,
        Err(reason) => {
            sender.close(reason).await;
            return reason.to_string();
        }
    };
    // Whoever changes it closes the links that are up: this one was not when that happened during its handshake.
    if !Arc::ptr_eq(&told, &shared.identity()) {
        shared.links.remove(id);
        sender.close(INTRODUCTION_CHANGED).await;
        return INTRODUCTION_CHANGED.to_string();
    }
    if let Some(url) = &url {
        set_state(&shared, url, DialState::Connected);
    }
    if peer.policy != shared.identity().policy {
        tracing::warn!(peer = %node, name = peer.name, "the peer has other conflict strategies: the two will show \
            different values for the same data; give both the same policy");
    }
    tracing::info!(peer = %node, name = peer.name, dialed, "linked");

    let (frames, frames_out) = mpsc::unbounded_channel();
    let (reads, reads_in) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let ports =
        Ports { frames: frames.clone(), reads, waiting: Arc::clone(&waiting), sender: sender.clone() };
    let input = Input::LinkUp { link: id, peer: node, epoch: Epoch(peer.epoch), dialed };
    if shared.jobs.put(Job::LinkUp(input, ports)).await.is_ok() {
        shared.jobs.work();
    }
    let sending = tokio::spawn(send_frames(Arc::clone(&shared), id, sender.clone(), frames_out));
    let serving = tokio::spawn(serve(Arc::clone(&shared), id, frames, reads_in, waiting));

    let reason = receive_frames(&shared, (id, node), &sender, receiver, guest, early).await;
    sending.abort();
    serving.abort();
    shared.links.remove(id);
    shared.tell(Input::LinkDown(id)).await;
    tracing::info!(peer = %node, name = peer.name, %reason, "link closed");
    reason
}

/// Hands over what comes in as messages; a malformed frame closes this link only.
async fn receive_frames(
    shared: &Shared,
    (id, peer): (LinkId, NodeId),
    sender: &LinkSender,
    mut receiver: LinkReceiver,
    mut guest: Guest<'_>,
    early: Vec<Bytes>,
) -> String {
    let mut early = early.into_iter();
    let mut checks = Checks::new();
    let mut receiving = Receiving::new(shared);
    // What the last message stands for takes long, so the replica's thread does it, and no worker of the runtime waits.
    let mut is_large = false;
    loop {
        // What has arrived is read first: messages that come together are handled together.
        let received = {
            let work = async {
                if !is_large {
                    shared.jobs.gather_and_work().await;
                }
                std::future::pending::<()>().await;
            };
            let next = async {
                match early.next() {
                    Some(frame) => Ok(Some(frame)),
                    None => receiver.recv().await,
                }
            };
            let late = async {
                match receiving.due() {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = next => received,
                () = late => {
                    const REASON: &str = "the parts of a frame come too slowly";
                    tracing::warn!(reason = REASON, "closing a link");
                    sender.clone().close(REASON).await;
                    return REASON.to_owned();
                }
                () = work => continue,
            }
        };
        match received {
            Ok(Some(frame)) if frame.first() == Some(&FRAME_TYPE) => match Word::decode(&frame) {
                Some(word @ (Word::Said(_) | Word::Over(_))) => shared.links.introduced(id, word),
                Some(word) => guest.take(shared, sender, word).await,
                None => {
                    let reason = "an introduction is not understood".to_string();
                    tracing::warn!(%reason, "closing a link");
                    sender.clone().close(&reason).await;
                    return reason;
                }
            },
            Ok(Some(frame)) => {
                let bytes = frame.len();
                match receiving.take(frame).await {
                    Ok(Some((Message::Statements(statements), _))) if !are_signed(&statements).await => {
                        let reason =
                            "protocol violation: a statement that its node has not signed".to_string();
                        tracing::warn!(%reason, "closing a link");
                        sender.clone().close(&reason).await;
                        return reason;
                    }
                    Ok(Some((message, share))) => {
                        let message = checks.checked(shared, (id, peer), message).await;
                        is_large = share.bytes() > HANDLED_AT_ONCE_BYTES_MAX;
                        shared.note(Input::Message(id, message), share).await;
                        if is_large {
                            shared.jobs.wake();
                        }
                    }
                    Ok(None) => {}
                    Err(Unreadable::Ended) => return "the node is shutting down".to_owned(),
                    Err(Unreadable::Malformed(error)) => {
                        let reason = format!("a frame of {bytes} bytes is not understood: {error}");
                        tracing::warn!(%reason, "closing a link");
                        sender.clone().close(&reason).await;
                        return reason;
                    }
                }
            }
            Ok(None) => {
                let reason = receiver.close_reason();
                return reason.map_or_else(|| "closed".to_string(), |reason| reason.reason);
            }
            Err(error) => return crate::error::chain(&error),
        }
    }
}

/// Frames sent before the replica is told that there is room again.
const FRAMES_PER_REPORT: usize = 64;

async fn send_frames(
    shared: Arc<Shared>,
    id: LinkId,
    sender: LinkSender,
    mut frames: mpsc::UnboundedReceiver<Outgoing>,
) {
    let mut waiting = Vec::new();
    while frames.recv_many(&mut waiting, FRAMES_PER_REPORT).await > 0 {
        let mut bytes = 0;
        for frame in waiting.drain(..) {
            let (frame, _room) = match frame {
                Outgoing::Counted(frame) => {
                    bytes += frame.len() as u64;
                    (frame, None)
                }
                Outgoing::Uncounted(frame, room) => (frame, Some(room)),
            };
            if let Err(error) = send_in_parts(&sender, frame).await {
                // A link that cannot take a frame must not look alive: the peer would wait for ever.
                sender.close(&crate::error::chain(&error)).await;
                return;
            }
        }
        if bytes > 0 {
            shared.tell(Input::Sent(id, bytes)).await;
        }
    }
}

/// Sends a frame, in parts where it is long. Nothing comes between them: a link is ordered.
async fn send_in_parts(sender: &LinkSender, frame: Bytes) -> Result<(), LinkError> {
    if frame.len() <= PART_BYTES {
        return sender.send(frame).await;
    }
    for part in parts::split(&frame, PART_BYTES) {
        sender.send(part.into()).await?;
    }
    Ok(())
}
