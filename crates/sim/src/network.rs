//! Links: ordered, reliable until cut, slow in their own way in each direction.
//!
//! As in the real stack, a link is one ordered stream: on it nothing is reordered, duplicated or lost in the middle. That
//! happens between links: documents overtake each other by another way, come twice over two ways, and come again when
//! a link is made anew; a cut loses the end of a stream, in the middle of a frame too.

use std::collections::VecDeque;

use bytes::Bytes;
use rejoin_replica::LinkId;
use rejoin_replica::parts::Assembly;

/// A frame on its way.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// What the replica counts of it in its send queue, in bytes: of a frame in parts the last has all.
    pub(crate) counted: Option<u64>,
    /// It is a push, or a part of one.
    pub(crate) push: bool,
    pub(crate) due_ms: u64,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) link: LinkId,
    /// This end still believes in the connection.
    pub(crate) open: bool,
    /// Frames from this end to the other.
    pub(crate) queue: VecDeque<Frame>,
    pub(crate) last_due_ms: u64,
    /// What has arrived at the other end and is not a whole frame yet.
    pub(crate) assembly: Assembly,
    /// Frames from this end no longer arrive, and this end does not know.
    pub(crate) stalled: bool,
}

/// One connection between two nodes.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// Neither direction carries anything any more.
    pub(crate) cut: bool,
    /// The number of the newest exchange on it.
    pub(crate) exchange: u64,
}

impl Connection {
    pub(crate) fn new(nodes: [usize; 2], links: [LinkId; 2], now_ms: u64) -> Connection {
        let end = |at: usize| End {
            node: nodes[at],
            link: links[at],
            open: true,
            queue: VecDeque::new(),
            last_due_ms: now_ms,
            assembly: Assembly::new(),
            stalled: false,
        };
        Connection { ends: [end(0), end(1)], cut: false, exchange: 0 }
    }

    pub(crate) fn end_of(&self, link: LinkId) -> Option<usize> {
        self.ends.iter().position(|end| end.link == link)
    }

    pub(crate) fn is_between(&self, nodes: [usize; 2]) -> bool {
        self.ends.iter().all(|end| nodes.contains(&end.node))
    }

    pub(crate) fn over(&self) -> bool {
        self.ends.iter().all(|end| !end.open)
    }
}

/// A pair of nodes that dial each other whenever they can.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) nodes: [usize; 2],
    /// The two no longer know each other.
    pub(crate) removed: bool,
    /// Only this node can dial; otherwise either can.
    pub(crate) dialer: Option<usize>,
    /// No connection can be made.
    pub(crate) blocked: bool,
    /// The connection there is.
    pub(crate) connection: Option<u64>,
    /// It stays blocked until then, in virtual time.
    pub(crate) away_until_ms: u64,
    /// An attempt is under way.
    pub(crate) dialing: bool,
    /// How long a frame takes, from and to, in milliseconds.
    pub(crate) delay_ms: (u64, u64),
}
