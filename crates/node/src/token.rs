//! Sessions over several nodes: what was seen on one is seen on every other.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rejoin_causal::Frontier;
use rejoin_replica::Written as Write;

use crate::Error;
use crate::error::HeldBack;
use crate::shared::{Job, Shared};

/// How long a refusal waits to hear what is in quarantine. 500 ms: without it the refusal only says less.
const HELD_ANSWER_MAX: Duration = Duration::from_millis(500);

/// What a session has seen, as opaque text.
///
/// A node that has met a token ([`crate::Node::wait_for`]) shows everything that the session wrote or read before:
/// its reads do not go back, wherever they are done. Cheap to clone; the text is at most 8 KiB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token(Arc<Seen>);

#[derive(PartialEq, Eq, Debug)]
struct Seen {
    token: rejoin_causal::Token,
    text: String,
}

impl Token {
    /// The text, to be carried in a header or a URL.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl FromStr for Token {
    type Err = Error;

    /// # Errors
    /// [`Error::BadToken`] for text that no node gave.
    fn from_str(text: &str) -> Result<Token, Error> {
        let token = text.parse().map_err(|_| Error::BadToken)?;
        Ok(Token(Arc::new(Seen { token, text: text.to_string() })))
    }
}

/// Every dot that a node has applied, with the token that says so: made once, and only when somebody asks.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) frontier: Frontier,
    token: OnceLock<Token>,
}

impl Applied {
    pub(crate) fn new(frontier: Frontier) -> Applied {
        Applied { frontier, token: OnceLock::new() }
    }

    pub(crate) fn token(&self) -> Token {
        let made = self.token.get_or_init(|| {
            let token = rejoin_causal::Token::of(&self.frontier);
            let text = token.to_string();
            Token(Arc::new(Seen { token, text }))
        });
        made.clone()
    }

    pub(crate) fn meets(&self, token: &Token) -> bool {
        token.0.token.is_met_by(&self.frontier)
    }
}

/// Waits until the node has applied everything that a token names.
pub(crate) async fn wait_for(shared: &Shared, token: &Token, at_most: Duration) -> Result<(), Error> {
    let (mut applied, mut stopping) = (shared.applied.subscribe(), shared.stopping.subscribe());
    let waited = async {
        tokio::select! {
            biased;
            met = applied.wait_for(|applied| applied.meets(token)) => met.map(drop).map_err(|_| Error::Closed),
            _ = stopping.wait_for(|stopping| *stopping) => Err(shared.ended()),
        }
    };
    match tokio::time::timeout(at_most, waited).await {
        Ok(met) => met,
        Err(_) => {
            let missing = token.0.token.missing(&shared.applied.borrow().frontier);
            let held = held_of(shared, &missing).await.map(Box::new);
            Err(Error::NotCaughtUp { missing: Box::new(missing), held })
        }
    }
}

/// What of these writes waits in quarantine. A node that is too busy to say does not.
async fn held_of(shared: &Shared, missing: &Frontier) -> Option<HeldBack> {
    if shared.quarantined.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let held = tokio::time::timeout(HELD_ANSWER_MAX, shared.ask(Job::Quarantine)).await.ok()?.ok()?;
    let held = held.iter().filter(|held| missing.contains(held.dot));
    let (count, until_ms) =
        held.fold((0, 0), |(count, until_ms), held| (count + 1, until_ms.max(held.stamp_ms)));
    let reach_ms = shared.config.clock_skew_max_ms;
    (count > 0).then(|| HeldBack { count, until_ms: until_ms.saturating_sub(reach_ms) })
}

/// A write that was done, and the token of a session that did it. Has the members of what it wraps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    pub(crate) write: Write,
    pub(crate) token: Token,
}

impl Written {
    /// Names everything that the node had applied once the write was done, the write included.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Deref for Written {
    type Target = Write;

    fn deref(&self) -> &Write {
        &self.write
    }
}
