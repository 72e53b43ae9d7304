//! A link's reader: serves catch-ups and digest sessions from snapshots, beside the replica's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rejoin_causal::Frontier;
use rejoin_replica::path::Path;
use rejoin_replica::{Audit, AuditStep, CatchUp, CatchUpStep, Input, LinkId, Message, codec, packing};
use rejoin_store::{Snapshot, StoreError};
use tokio::sync::{Semaphore, mpsc};

use crate::config::{READER_BYTES_MAX, READER_IDLE_MAX};
use crate::engine::NodeSnapshot;
use crate::links::Outgoing;
use crate::shared::{Job, Shared};

/// What a link's reader is asked to do.
#[derive(Debug)]
pub(crate) enum ReadCommand {
    /// Serve all but what the peer is known to have, from this snapshot, as the answer to this exchange.
    Serve(Snapshot<NodeSnapshot>, Frontier, u64),
    /// The peer allows that many more bytes.
    Grant(u64),
    /// A step of a digest session; with a snapshot where it begins one.
    Audit(AuditStep, Option<Snapshot<NodeSnapshot>>),
}

type Reading = Snapshot<NodeSnapshot>;

struct Server {
    shared: Arc<Shared>,
    link: LinkId,
    frames: mpsc::UnboundedSender<Outgoing>,
    /// What may be handed over to the link and not be on its way yet.
    room: Arc<Semaphore>,
    /// The greatest document that is sent.
    document_bytes_max: usize,
    catch_up: Option<CatchUp<Reading>>,
    audit: Option<Audit<Reading>>,
}

/// Runs until the link ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    link: LinkId,
    frames: mpsc::UnboundedSender<Outgoing>,
    mut commands: mpsc::UnboundedReceiver<ReadCommand>,
    waiting: Arc<AtomicUsize>,
) {
    let document_bytes_max = shared.config.document_bytes_max;
    let room = Arc::new(Semaphore::new(READER_BYTES_MAX));
    let mut server = Server { shared, link, frames, room, document_bytes_max, catch_up: None, audit: None };
    let mut idle = true;
    loop {
        let command = if idle { server.next(&mut commands).await } else { commands.try_recv().ok() };
        let worked = match command {
            Some(command) => {
                let done = server.command(command).await.map(|()| true);
                waiting.fetch_sub(1, Ordering::Relaxed);
                done
            }
            None if idle => return,
            None => server.step().await,
        };
        match worked {
            Ok(worked) => idle = !worked,
            Err(Ended::Link) => return,
            Err(Ended::Store(error)) => {
                server.shared.jobs.force(Job::Failed(error.into()));
                return;
            }
        }
    }
}

/// Why a reader stops.
enum Ended {
    Link,
    Store(StoreError),
}

/// Reads on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Ended> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(Ended::Store),
        Err(_) => Err(Ended::Link),
    }
}

impl Server {
    /// The next command. A peer that leaves a session open and says nothing must not make the store keep its snapshot for
    /// ever: that link ends.
    async fn next(&self, commands: &mut mpsc::UnboundedReceiver<ReadCommand>) -> Option<ReadCommand> {
        if self.catch_up.is_none() && self.audit.is_none() {
            return commands.recv().await;
        }
        let command = tokio::time::timeout(READER_IDLE_MAX, commands.recv()).await;
        if command.is_err() {
            self.shared
                .links
                .close_one(self.link, "the peer left a catch-up or a digest session open and said nothing");
        }
        command.ok().flatten()
    }

    async fn command(&mut self, command: ReadCommand) -> Result<(), Ended> {
        match command {
            ReadCommand::Serve(snapshot, known, exchange) => {
                let config = self.shared.config.clone();
                let opened = move || {
                    let (chunk, document) = (config.chunk_bytes_max, config.document_bytes_max);
                    CatchUp::new(snapshot, &known, exchange, chunk, config.credit_bytes, document)
                };
                self.catch_up = Some(blocking(opened).await?);
            }
            ReadCommand::Grant(bytes) => {
                if let Some(catch_up) = &mut self.catch_up {
                    catch_up.grant(bytes);
                }
            }
            ReadCommand::Audit(step, snapshot) => self.audit(step, snapshot).await?,
        }
        Ok(())
    }

    /// Serves one chunk; false when there is nothing to do before the next command.
    async fn step(&mut self) -> Result<bool, Ended> {
        let Some(mut catch_up) = self.catch_up.take() else { return Ok(false) };
        let (catch_up, step) = blocking(move || {
            let step = catch_up.step()?;
            let frame = match &step {
                CatchUpStep::Send(message) => Some(frame(message)),
                _ => None,
            };
            Ok((catch_up, (step, frame)))
        })
        .await?;
        match step {
            (CatchUpStep::Wait, _) => {
                self.catch_up = Some(catch_up);
                Ok(false)
            }
            (CatchUpStep::Done { claims, documents, unclaimed, withheld }, _) => {
                let link = self.link;
                self.shared.tell(Input::Served { link, claims, documents, unclaimed, withheld }).await;
                Ok(false)
            }
            (CatchUpStep::Withheld(path), _) => {
                self.catch_up = Some(catch_up);
                self.shared.tell(Input::Withheld { link: self.link, path, unswept: false }).await;
                Ok(true)
            }
            (CatchUpStep::Send(_), frame) => {
                self.catch_up = Some(catch_up);
                if let Some(frame) = frame {
                    self.send(frame).await?;
                }
                Ok(true)
            }
        }
    }

    async fn audit(&mut self, step: AuditStep, snapshot: Option<Reading>) -> Result<(), Ended> {
        let most = self.document_bytes_max;
        let (audit, messages) = match (step, snapshot, self.audit.take()) {
            (AuditStep::Open(prefix), Some(snapshot), _) => {
                blocking(move || Audit::open(snapshot, &prefix, most).map(framed)).await?
            }
            (AuditStep::Accept, Some(snapshot), _) => {
                blocking(move || Audit::accept(snapshot, most).map(framed)).await?
            }
            (AuditStep::Compare(message), _, Some(mut audit)) => {
                blocking(move || audit.compare(message).map(|messages| framed((audit, messages)))).await?
            }
            (AuditStep::Continue, _, Some(mut audit)) => {
                blocking(move || audit.go_on().map(|messages| framed((audit, messages)))).await?
            }
            (AuditStep::Reply(paths), _, Some(mut audit)) => {
                let mut reply =
                    blocking(move || audit.reply(paths).map(|messages| framed((audit, messages)))).await?;
                // The rest of the answer is read as the link takes what was read before.
                while reply.0.has_more() {
                    self.say(reply.1).await?;
                    let mut audit = reply.0;
                    reply = blocking(move || audit.more().map(|messages| framed((audit, messages)))).await?;
                }
                reply
            }
            _ => return Ok(()),
        };
        self.say(messages).await?;
        self.audit = Some(audit);
        Ok(())
    }

    async fn say(&self, messages: Vec<Said>) -> Result<(), Ended> {
        for Said { frame, withheld } in messages {
            for path in withheld {
                self.shared.tell(Input::Withheld { link: self.link, path, unswept: true }).await;
            }
            self.send(frame).await?;
        }
        Ok(())
    }

    /// Hands a frame over, as soon as the link has taken enough of those before.
    async fn send(&self, frame: Bytes) -> Result<(), Ended> {
        let bytes = u32::try_from(frame.len().min(READER_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Ended::Link)?;
        self.frames.send(Outgoing::Uncounted(frame, room)).map_err(|_| Ended::Link)
    }
}

/// A message of a digest session as it goes out.
struct Said {
    frame: Bytes,
    withheld: Vec<Path>,
}

fn framed((audit, messages): (Audit<Reading>, Vec<Message>)) -> (Audit<Reading>, Vec<Said>) {
    let said = messages.into_iter().map(|message| {
        let frame = frame(&message);
        let withheld = if let Message::Withheld(paths) = message { paths } else { Vec::new() };
        Said { frame, withheld }
    });
    (audit, said.collect())
}

fn frame(message: &Message) -> Bytes {
    Bytes::from(packing::pack(codec::encode(message)))
}
