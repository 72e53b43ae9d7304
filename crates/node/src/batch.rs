//! Several writes at once: each on its own, or all or nothing.

use rejoin_replica::{Write, Written as Done};
use tokio::sync::oneshot;

use crate::config::{ATOMIC_BATCHES_MAX, QUEUE_WAIT_MAX};
use crate::shared::Job;
use crate::token::Written;
use crate::{Error, Node};

/// Writes in one atomic batch, at most.
pub const BATCH_WRITES_MAX: usize = rejoin_replica::config::BATCH_WRITES_MAX;

/// An atomic batch was not done: nothing of it was.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", at.map_or(String::new(), |at| format!(" (write {at} of the batch, counted from 0)")))]
pub struct BatchError {
    /// Which of its writes is refused, counted from 0; `None`: it is not about one of them.
    pub at: Option<usize>,
    /// Why.
    pub error: Error,
}

impl From<Error> for BatchError {
    fn from(error: Error) -> BatchError {
        BatchError { at: None, error }
    }
}

impl Node {
    /// Does writes one after the other, each on its own; answers in their order. They share commits, which makes this
    /// much faster than as many calls of [`Node::write`].
    pub async fn write_many(&self, writes: Vec<Write>) -> Vec<Result<Written, Error>> {
        let mut waiting = Vec::with_capacity(writes.len());
        for write in writes {
            let counting = self.shared().metrics.writes.begin(&write.change);
            waiting.push((counting, self.hand_over(write).await));
        }
        self.shared().jobs.gather_and_work().await;
        let mut answers = Vec::with_capacity(waiting.len());
        for (counting, answer) in waiting {
            let ended = match answer {
                Ok(answer) => answer.await.unwrap_or_else(|_| Err(self.shared().ended())),
                Err(error) => Err(error),
            };
            counting.end(&ended);
            answers.push(ended);
        }
        // One token names them all.
        let token = self.token();
        let written = |write: Box<Done>| Written { write: *write, token: token.clone() };
        answers.into_iter().map(|ended| ended.map(written)).collect()
    }

    async fn hand_over(&self, write: Write) -> Result<oneshot::Receiver<Result<Box<Done>, Error>>, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared().put(Job::Write(write, answer)).await?;
        Ok(answered)
    }

    /// Does all of these writes or none, in one commit. Each is checked against what those before it leave. Other nodes
    /// take them over in one commit as well; docs/consistency.md has the promise.
    ///
    /// At most 1,000 writes, with at most 4 MiB of paths and values together.
    pub async fn write_atomic(&self, writes: Vec<Write>) -> Result<Vec<Written>, BatchError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let shared = self.shared();
        let counting: Vec<_> =
            writes.iter().map(|write| shared.metrics.writes.begin(&write.change)).collect();
        let ended = self.all_of(writes).await;
        // What refuses one refuses all.
        let outcome = ended.as_ref().map(drop).map_err(|refused| &refused.error);
        for counting in counting {
            counting.end_as(outcome);
        }
        let token = self.token();
        Ok(ended?.into_iter().map(|write| Written { write, token: token.clone() }).collect())
    }

    async fn all_of(&self, writes: Vec<Write>) -> Result<Vec<Done>, BatchError> {
        let shared = self.shared();
        let turn = tokio::time::timeout(QUEUE_WAIT_MAX, shared.batches.acquire()).await;
        let _turn = match turn {
            Ok(Ok(turn)) => turn,
            _ => return Err(Error::Overloaded.into()),
        };
        shared.ask(|answer| Job::WriteAll(writes, answer)).await?
    }
}

/// Atomic batches under way together.
pub(crate) fn turns() -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(ATOMIC_BATCHES_MAX)
}
