//! Authenticated, ordered byte-frame streams between two nodes over WebSocket.
//!
//! A link carries frames of bytes and knows nothing of what they mean. Both ends prove, before the first frame,
//! that they hold their node key and belong to the same cluster; each can say why it refuses the other.
//!
//! In reading order:
//! 1. who we are: [`NodeKey`], [`ClusterId`], [`ClusterSecret`], [`Identity`], and what a peer proved: [`Peer`];
//! 2. where a peer is, and how to reach it: [`PeerUrl`], [`BearerToken`], [`dial`], [`Backoff`];
//! 3. how a peer reaches us: [`accept`] over an upgraded socket, [`Listener`] and [`accept_http`] without an HTTP
//!    server, [`refuse`], [`check_upgrade`] and [`upgrade_response`] for the server that answers the upgrade itself;
//! 4. the link: [`Link`], [`LinkSender`], [`LinkReceiver`], [`LinkStats`]; [`prefer`] when a pair has two;
//! 5. [`Introduction`]: whether two links of one peer end in one process; [`signer_of`]: who signed what of another layer;
//! 6. every bound: [`Limits`] and [`config`].
//!
//! What it does not do: encrypt. A handshake proves who is at the other end when it ran; somebody who can alter
//! packets on the way can still read and forge what follows. Over networks that are not trusted, run links through
//! a tunnel or a TLS proxy.

mod backoff;
pub mod config;
mod dial;
mod handshake;
mod http;
mod identity;
mod introduction;
mod link;
mod listen;
mod meter;
mod pump;
mod receipt;
mod socket;
mod stats;
mod url;

pub use backoff::Backoff;
pub use config::Limits;
pub use dial::{BearerToken, BearerTokenError, DialError, dial};
pub use handshake::{HandshakeError, OpenHandshakes, Refusal, RefusalCode};
pub use http::{UpgradeRefusal, check_upgrade, upgrade_response};
pub use identity::{
    ClusterId, ClusterSecret, Identity, IdentityError, NodeKey, Peer, RandomnessError, signer_of,
};
pub use introduction::{Acquaintance, Introduction};
pub use link::{CloseReason, ClosedBy, Link, LinkError, LinkReceiver, LinkSender, prefer};
pub use listen::{AcceptError, Incoming, Listener, accept, accept_http, refuse};
pub use receipt::is_receipt_of;
pub use stats::LinkStats;
pub use url::{LINK_PATH, PeerUrl, PeerUrlError, parse_peer_url};
