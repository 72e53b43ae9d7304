//! The class that JavaScript sees.

#![allow(unsafe_code, reason = "what #[napi] writes; nothing here is unsafe by itself")]

use std::sync::Arc;

use napi_derive::napi;
use rejoin::{Error, Path};
use rejoin_resolver::Fault;
use tokio::sync::mpsc;

use crate::outbox::{Outbox, Wake};
use crate::runtime::runtime;
use crate::server::Server;
use crate::settings::{Policy, Settings};
use crate::shapes;

/// A server. Made started; `lib/server.js` keeps to the order of calls.
#[napi]
pub struct NativeServer {
    server: Arc<Server>,
    batches: Option<mpsc::UnboundedSender<String>>,
}

#[napi]
impl NativeServer {
    /// Starts a server with these settings. `wake` is called when there is something to drain.
    #[napi(constructor)]
    pub fn new(settings: String, wake: Wake) -> napi::Result<NativeServer> {
        let settings: Settings =
            serde_json::from_str(&settings).map_err(|error| refused(&error.to_string()))?;
        let runtime = runtime().map_err(|error| refused(&error))?;
        let server = Arc::new(Server::new(Outbox::new(wake)));
        let (batches, asked) = mpsc::unbounded_channel();
        runtime.spawn(Arc::clone(&server).run(settings, asked));
        Ok(NativeServer { server, batches: Some(batches) })
    }

    /// Hands operations over, as a JSON array. Their answers come by [`NativeServer::drain`].
    #[napi]
    pub fn submit(&self, batch: String) {
        if let Some(batches) = &self.batches {
            // A server that has ended has said so.
            let _ = batches.send(batch);
        }
    }

    /// Takes what has gathered for the event loop, as a JSON array.
    #[napi]
    pub fn drain(&self) -> Option<String> {
        self.server.outbox.drain()
    }

    /// Does what was asked until now, then closes.
    #[napi]
    pub fn close(&mut self) {
        self.batches = None;
    }

    /// Answers a call of a resolver: with its answer as JSON text, or with why there is none.
    #[napi]
    pub fn answer(&self, call: f64, ok: bool, text: String) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number that we counted up"
        )]
        let call = call as u64;
        self.server.calls.answer(call, if ok { Ok(text) } else { Err(Fault::threw(&text)) });
    }

    /// Goes by other strategies.
    #[napi]
    pub fn set_policy(&self, policy: String) -> napi::Result<()> {
        let policy: Policy = serde_json::from_str(&policy).map_err(|error| refused(&error.to_string()))?;
        let _entered = runtime().map_err(|error| refused(&error))?.enter();
        let set = || {
            let (default, rules) = self.server.resolvers.strategies(&policy)?;
            self.server.node()?.set_strategies(default, rules)
        };
        set().map_err(failed)
    }

    /// Keeps a link to a peer from now on; false when it does already.
    #[napi]
    pub fn add_peer(&self, url: String) -> napi::Result<bool> {
        let _entered = runtime().map_err(|error| refused(&error))?.enter();
        self.server.node().and_then(|node| node.add_peer(&url)).map_err(failed)
    }

    /// Stops dialing a peer and ends that link; false when it was not dialed.
    #[napi]
    pub fn remove_peer(&self, url: String) -> napi::Result<bool> {
        let _entered = runtime().map_err(|error| refused(&error))?.enter();
        self.server.node().map(|node| node.remove_peer(&url)).map_err(failed)
    }

    /// The superseded versions of a path, newest first, as a JSON array.
    #[napi]
    pub fn history(&self, path: String) -> napi::Result<String> {
        let read = || {
            let page = self.server.node()?.history_page(&Path::parse(&path)?, usize::MAX, None)?;
            Ok(shapes::history(&page.items))
        };
        read().map_err(failed)
    }

    /// The newest write applied of each node, as a JSON object.
    #[napi]
    pub fn vector_clock(&self) -> napi::Result<String> {
        let node = self.server.node().map_err(failed)?;
        Ok(shapes::vector_clock(&node.vector_clock()))
    }

    /// The peers and the links to them, as a JSON array.
    #[napi]
    pub fn connections(&self) -> napi::Result<String> {
        let node = self.server.node().map_err(failed)?;
        Ok(shapes::connections(&node.peers()))
    }
}

fn refused(why: &str) -> napi::Error {
    napi::Error::from_reason(why.to_owned())
}

/// An error with its parts in its message, as JSON: the other half makes a `RejoinError` of it.
fn failed(error: Error) -> napi::Error {
    napi::Error::from_reason(shapes::failed(0, &error))
}
