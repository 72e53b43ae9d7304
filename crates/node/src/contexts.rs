//! Writing over exactly what was read: contexts out of reads, and into writes.

use std::time::Duration;

use rejoin_causal::Dot;
use rejoin_replica::path::Path;
use rejoin_replica::{Context, Observed, View as _};

use crate::entry::Entry;
use crate::token::Applied;
use crate::{Error, Node};

impl Entry {
    /// What a reader of this entry has read, as opaque text for [`Node::observed`].
    pub fn context(&self) -> String {
        Context::new(self.siblings.iter().map(|sibling| sibling.version)).encode(&self.path)
    }
}

impl Node {
    /// What a reader of a path has read now, as opaque text; good also for a path where nothing is.
    pub fn context(&self, path: &Path) -> Result<String, Error> {
        let record = self.shared().snapshot()?.record(path)?;
        let context = record.map_or_else(Context::default, |record| Context::of(&record.document));
        Ok(context.encode(path))
    }

    /// The versions that a context names, for a write that is to replace exactly those.
    ///
    /// A context may come from another node. When it names versions that this one has not applied yet, this waits for
    /// them, at most that long; else it is [`Error::ContextAhead`], because a write could not replace them.
    pub async fn observed(&self, path: &Path, context: &str, at_most: Duration) -> Result<Observed, Error> {
        let context = Context::decode(context, path)?;
        let ahead = |applied: &Applied| -> Vec<Dot> {
            context.dots().iter().copied().filter(|dot| !applied.frontier.contains(*dot)).collect()
        };
        let mut applied = self.shared().applied.subscribe();
        // A sender that is gone means that the node has ended, which the write will say.
        let caught_up = applied.wait_for(|applied| ahead(applied).is_empty());
        if tokio::time::timeout(at_most, caught_up).await.is_err() {
            return Err(Error::ContextAhead(ahead(&self.shared().applied())));
        }
        Ok(Observed::These(context.dots().to_vec()))
    }
}
