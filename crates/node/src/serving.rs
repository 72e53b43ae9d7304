//! A link's reader: serves catch-ups and digest sessions from snapshots, beside the replica's thread.

use std::sync::Arc;

use bytes::Bytes;
use rejoin_causal::Frontier;
use rejoin_replica::{Audit, AuditStep, CatchUp, CatchUpStep, Input, LinkId, Message, codec, packing};
use rejoin_store::{Snapshot, StoreError};
use tokio::sync::mpsc;

use crate::engine::NodeSnapshot;
use crate::links::Outgoing;
use crate::shared::{Job, Shared};

/// What a link's reader is asked to do.
#[derive(Debug)]
pub(crate) enum ReadCommand {
    /// Serve all but what the peer is known to have, from this snapshot.
    Serve(Snapshot<NodeSnapshot>, Frontier),
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
    catch_up: Option<CatchUp<Reading>>,
    audit: Option<Audit<Reading>>,
}

/// Runs until the link ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    link: LinkId,
    frames: mpsc::UnboundedSender<Outgoing>,
    mut commands: mpsc::UnboundedReceiver<ReadCommand>,
) {
    let mut server = Server { shared, link, frames, catch_up: None, audit: None };
    let mut idle = true;
    loop {
        let command = if idle { commands.recv().await } else { commands.try_recv().ok() };
        let worked = match command {
            Some(command) => server.command(command).await.map(|()| true),
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
    async fn command(&mut self, command: ReadCommand) -> Result<(), Ended> {
        match command {
            ReadCommand::Serve(snapshot, known) => {
                let config = self.shared.config.clone();
                let opened =
                    move || CatchUp::new(snapshot, &known, config.chunk_bytes_max, config.credit_bytes);
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
        let (catch_up, step) = blocking(move || catch_up.step().map(|step| (catch_up, step))).await?;
        match step {
            CatchUpStep::Send(message) => {
                self.catch_up = Some(catch_up);
                self.send(&message)?;
                Ok(true)
            }
            CatchUpStep::Wait => {
                self.catch_up = Some(catch_up);
                Ok(false)
            }
            CatchUpStep::Done { claims, documents } => {
                self.shared.tell(Input::Served { link: self.link, claims, documents }).await;
                Ok(false)
            }
        }
    }

    async fn audit(&mut self, step: AuditStep, snapshot: Option<Reading>) -> Result<(), Ended> {
        let (audit, messages) = match (step, snapshot, self.audit.take()) {
            (AuditStep::Open, Some(snapshot), _) => blocking(move || Audit::open(snapshot)).await?,
            (AuditStep::Accept, Some(snapshot), _) => blocking(move || Audit::accept(snapshot)).await?,
            (AuditStep::Compare(message), _, Some(mut audit)) => {
                blocking(move || audit.compare(message).map(|messages| (audit, messages))).await?
            }
            (AuditStep::Continue, _, Some(mut audit)) => {
                blocking(move || audit.go_on().map(|messages| (audit, messages))).await?
            }
            (AuditStep::Reply(paths), _, Some(audit)) => {
                blocking(move || audit.reply(&paths).map(|messages| (audit, messages))).await?
            }
            _ => return Ok(()),
        };
        self.audit = Some(audit);
        for message in &messages {
            self.send(message)?;
        }
        Ok(())
    }

    fn send(&self, message: &Message) -> Result<(), Ended> {
        let frame = Bytes::from(packing::pack(codec::encode(message)));
        self.frames.send(Outgoing::Uncounted(frame)).map_err(|_| Ended::Link)
    }
}
