//! `/api/_ws`: the feed, reads and writes over one WebSocket. docs/changes.md has the messages.
//!
//! One task per socket. What goes out is written before anything else is done: while a client does not read, its
//! subscriptions are not read and its requests wait in its own socket, so nothing piles up here.

mod feeds;
mod incoming;
mod message;
mod request;
pub(crate) mod subprotocols;

use std::pin::Pin;
use std::sync::Arc;

use crate::incoming::Incoming;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header::{HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use self::feeds::{Feeds, Told};
use self::incoming::Incoming as Counted;
use self::message::{Asked, Reply};
use crate::answer::Stream;
use crate::api::Api;
use crate::changes::STOPPING;
use crate::changes::events;
use crate::config::{
    HEARTBEAT, LINGER_BYTES_MAX, LINGER_TIMEOUT, SOCKET_ENVELOPE_BYTES_MAX, SOCKET_GOODBYE_MAX,
    SOCKET_READ_BUFFER_BYTES, SOCKET_REQUESTS_MAX, SOCKET_SUBSCRIPTIONS_MAX, SOCKET_WRITE_BUFFER_BYTES_MAX,
};
use crate::problem::Problem;
use crate::query::Query;
use crate::server::{Connection, is_true};
use crate::upgrade;

const HINT: &str = "Open this address with a WebSocket client, and have every proxy between pass `Upgrade` on; without \
                    a WebSocket, use /api/_changes.";

/// Answers the upgrade.
pub(crate) fn answer(
    api: &Arc<Api>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    // Unlike links, sockets of browsers are welcome: the guard has compared their origin.
    let headers = request.headers().iter().filter(|(name, _)| **name != ORIGIN);
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let accept = upgrade::accept(&request, headers, "a WebSocket request", HINT)?;
    let mut response = upgrade::switching(&accept);
    if subprotocols::offers(request.headers()) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocols::SPOKEN));
    }
    let (api, connection) = (Arc::clone(api), Arc::clone(connection));
    connection.exchange.hand_over();
    // Whoever stops the server waits for the goodbye.
    let open = api.sockets.subscribe();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => Session::new(api, upgraded).await.run().await,
            Err(error) => tracing::debug!(%error, "an upgrade to a WebSocket failed"),
        }
        drop((connection, open));
    });
    Ok(response)
}

type Work = Pin<Box<dyn Future<Output = Reply> + Send>>;

struct Session {
    api: Arc<Api>,
    socket: WebSocketStream<Counted<TokioIo<Upgraded>>>,
    feeds: Feeds,
    /// Requests whose answers are not there yet.
    work: FuturesUnordered<Work>,
    /// When the client last said anything.
    heard: Instant,
}

/// Why a session goes on no more.
enum Ended {
    /// The client is gone, or does not read.
    Lost,
    /// The server or the node stops.
    Stopping,
    /// There is no room for what the client sends.
    Crowded,
    /// The client does not end a message that it has begun.
    Slow,
    /// The client broke the protocol of WebSockets.
    Broken(String),
    /// The client sent a message that is larger than what is taken.
    TooLarge,
}

/// The largest message that is taken: the largest value, and what goes with it.
fn message_bytes_max(api: &Api) -> usize {
    api.node.info().limits.value_bytes.saturating_add(SOCKET_ENVELOPE_BYTES_MAX)
}

impl Session {
    async fn new(api: Arc<Api>, upgraded: Upgraded) -> Session {
        let message_bytes_max = message_bytes_max(&api);
        let config = WebSocketConfig::default()
            .read_buffer_size(SOCKET_READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(SOCKET_WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let io = Counted::new(TokioIo::new(upgraded), Arc::clone(&api.bodies), api.limits.clone());
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Session { api, socket, feeds: Feeds::new(), work: FuturesUnordered::new(), heard: Instant::now() }
    }

    async fn run(mut self) {
        let ended = loop {
            match self.turn().await {
                Ok(()) => {}
                Err(ended) => break ended,
            }
        };
        let close = match ended {
            Ended::Lost => return,
            Ended::Stopping => {
                let _ = self.send(events::closing_object(None, STOPPING)).await;
                CloseFrame { code: CloseCode::Away, reason: Utf8Bytes::from_static(STOPPING) }
            }
            Ended::Crowded => {
                let reason = Utf8Bytes::from_static("the server is overloaded");
                return self.cut_off(CloseFrame { code: CloseCode::Again, reason }).await;
            }
            Ended::Slow => {
                let reason = Utf8Bytes::from_static("a message came too slowly");
                return self.cut_off(CloseFrame { code: CloseCode::Policy, reason }).await;
            }
            Ended::Broken(why) => {
                tracing::debug!(%why, "a WebSocket of a client broke the rules");
                let reason = Utf8Bytes::from_static("not a legal message");
                return self.cut_off(CloseFrame { code: CloseCode::Policy, reason }).await;
            }
            Ended::TooLarge => {
                let most = message_bytes_max(&self.api);
                let reason = format!("a message has at most {most} bytes").into();
                return self.cut_off(CloseFrame { code: CloseCode::Size, reason }).await;
            }
        };
        let goodbye = async {
            let _ = self.socket.close(Some(close)).await;
            // Until the client has read it and closes its side.
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = timeout(SOCKET_GOODBYE_MAX, goodbye).await;
    }

    /// Says why, to a client of which nothing more is understood: it may be in the middle of a message, and reads this
    /// only when the rest is not answered with a reset.
    async fn cut_off(mut self, close: CloseFrame) {
        self.socket.get_mut().discard();
        let told = timeout(SOCKET_GOODBYE_MAX, self.socket.close(Some(close))).await;
        let raw = self.socket.get_mut();
        if told.is_ok() && raw.shutdown().await.is_ok() {
            let mut rest = raw.take(LINGER_BYTES_MAX as u64);
            let _ = timeout(LINGER_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        }
    }

    /// Runs until the session ends; the clock of the heartbeat goes on between turns.
    async fn turn(&mut self) -> Result<(), Ended> {
        let mut stopped = self.api.stopped.clone();
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read = true;
        loop {
            let reads = self.work.len() < SOCKET_REQUESTS_MAX;
            if !std::mem::replace(&mut read, reads) && reads {
                // While the socket was not read, nothing of a message could come.
                self.socket.get_mut().settle();
            }
            let due = self.socket.get_ref().due();
            let late = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = is_true(&mut stopped) => return Err(Ended::Stopping),
                () = late, if reads => return Err(Ended::Slow),
                message = self.socket.next(), if reads => {
                    self.heard = Instant::now();
                    self.receive(message).await?;
                }
                Some(told) = self.feeds.next(), if !self.feeds.is_empty() => self.tell(told).await?,
                Some(reply) = self.work.next(), if !self.work.is_empty() => self.send(reply.text()).await?,
                _ = heartbeat.tick() => {
                    if self.work.is_empty() && self.heard.elapsed() > HEARTBEAT * 3 {
                        return Err(Ended::Lost);
                    }
                    self.socket.send(Message::Ping(bytes::Bytes::new())).await.map_err(|_| Ended::Lost)?;
                }
            }
        }
    }

    async fn receive(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), Ended> {
        self.socket.get_mut().settle();
        match message {
            Some(Err(_)) if self.socket.get_ref().is_refused() => Err(Ended::Crowded),
            None | Some(Ok(Message::Close(_))) => Err(Ended::Lost),
            Some(Err(error @ tokio_tungstenite::tungstenite::Error::Io(_))) => {
                tracing::debug!(%error, "a WebSocket of a client ended early");
                Err(Ended::Lost)
            }
            Some(Err(tokio_tungstenite::tungstenite::Error::Capacity(_))) => Err(Ended::TooLarge),
            Some(Err(error)) => Err(Ended::Broken(error.to_string())),
            // Answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => {
                let reply = Reply::refused(None, message::malformed("Messages are text, not binary."));
                self.send(reply.text()).await
            }
            Some(Ok(Message::Text(text))) => match message::parse(&text) {
                Ok(asked) => self.handle(asked, text.len()).await,
                Err(reply) => self.send(reply.text()).await,
            },
        }
    }

    async fn handle(&mut self, (id, asked): (Box<RawValue>, Asked), bytes: usize) -> Result<(), Ended> {
        let outcome = match asked {
            Asked::Subscribe { prefixes, since, snapshot } => {
                self.subscribe(&id, &prefixes, since.as_deref(), snapshot)
            }
            Asked::Unsubscribe { subscription } => match self.feeds.remove(&subscription) {
                true => Ok(None),
                false => Err(message::malformed("There is no such subscription on this socket.")),
            },
            Asked::Ping => Ok(None),
            Asked::Data(request) => {
                match request::claim(&self.api, bytes) {
                    Ok(claim) => {
                        let api = Arc::clone(&self.api);
                        self.work.push(Box::pin(async move {
                            let reply = request::answer(&api, id, request).await;
                            drop(claim);
                            reply
                        }));
                    }
                    Err(problem) => self.send(Reply::refused(Some(&id), problem).text()).await?,
                }
                return Ok(());
            }
        };
        match outcome {
            Ok(Some(feed)) => {
                // The acknowledgement goes out before the first event.
                let token = feed.token().to_string();
                self.send(Reply::done(&id, &message::Subscribed { token }).text()).await?;
                self.feeds.insert(id, feed);
                Ok(())
            }
            Ok(None) => self.send(Reply::done(&id, &message::Nothing {}).text()).await,
            Err(problem) => self.send(Reply::refused(Some(&id), problem).text()).await,
        }
    }

    fn subscribe(
        &self,
        id: &RawValue,
        prefixes: &[String],
        since: Option<&str>,
        snapshot: bool,
    ) -> Result<Option<rejoin::Subscription>, Problem> {
        if self.feeds.has(id) {
            return Err(message::malformed("There is a subscription of this id on this socket already."));
        }
        if self.feeds.len() == SOCKET_SUBSCRIPTIONS_MAX {
            return Err(message::malformed(&format!(
                "This socket has {SOCKET_SUBSCRIPTIONS_MAX} subscriptions, which is the limit."
            )));
        }
        let scopes = crate::changes::scopes(prefixes.iter().map(String::as_str))?;
        let from = crate::changes::from(since, snapshot)?;
        Ok(Some(self.api.node.subscribe_scopes(scopes, from)?))
    }

    async fn tell(&mut self, told: Told) -> Result<(), Ended> {
        match told {
            Told::Event(id, event) => self.send(events::object(Some(&id), &event)).await,
            Told::Over => Err(Ended::Stopping),
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Ended> {
        self.socket.send(Message::text(text)).await.map_err(|_| Ended::Lost)
    }
}
