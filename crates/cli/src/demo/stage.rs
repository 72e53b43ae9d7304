//! Three nodes as a chain a — b — c, each with its own directory, store and HTTP server; and every wait, bounded.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rejoin::{Entry, Event, Node, Path, PeerState, Strategy, Subscription};
use rejoin_http::ServeOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::exit::Exit;
use crate::failure::Failure;

/// How long anything may take before the demonstration gives up: a hundred times what it takes on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Pause between two looks at what nobody announces: the state of links and digests.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long the nodes have to stop.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// Where the nodes keep their data.
pub(super) struct Stage {
    directory: TempDir,
}

/// The running nodes.
pub(super) struct Cast {
    pub(super) a: Actor,
    pub(super) b: Actor,
    pub(super) c: Actor,
}

/// One node and its server.
pub(super) struct Actor {
    pub(super) letter: char,
    pub(super) node: Node,
    pub(super) url: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), rejoin_http::ServeError>>,
}

/// Where a node will be reached, before it is there.
struct Door {
    listener: TcpListener,
    url: String,
}

impl Stage {
    pub(super) fn build() -> Result<Stage, Failure> {
        Ok(Stage { directory: tempfile::Builder::new().prefix("rejoin-demo-").tempdir()? })
    }

    /// Starts the nodes: b dials a, c dials b.
    pub(super) async fn enter(&self) -> Result<Cast, Failure> {
        let [a, b, c] = [Door::open().await?, Door::open().await?, Door::open().await?];
        let (url_of_a, url_of_b) = (a.url.clone(), b.url.clone());
        let (a, b, c) = tokio::try_join!(
            self.start('a', a, None),
            self.start('b', b, Some(url_of_a)),
            self.start('c', c, Some(url_of_b)),
        )?;
        Ok(Cast { a, b, c })
    }

    /// Removes the nodes' data.
    pub(super) fn clear(self) {
        if let Err(error) = self.directory.close() {
            crate::output::say(format_args!("note: the demo's directory could not be removed: {error}"));
        }
    }

    async fn start(&self, letter: char, door: Door, peer: Option<String>) -> Result<Actor, Failure> {
        let Door { listener, url } = door;
        let node = Node::builder()
            .data_dir(self.directory.path().join(letter.to_string()))
            .name(letter.to_string())
            .cluster("demo")
            .peers(peer)
            .strategy("users", Strategy::MergeFields)
            .open()
            .await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = rejoin_http::serve(node.clone(), listener, ServeOptions::default(), async {
            // A sender that is gone means stop as well.
            let _ = stopped.await;
        });
        Ok(Actor { letter, node, url, stop, serving: tokio::spawn(serving) })
    }
}

impl Door {
    async fn open() -> Result<Door, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Door { listener, url })
    }
}

impl Cast {
    pub(super) fn all(&self) -> [&Actor; 3] {
        [&self.a, &self.b, &self.c]
    }

    /// Waits until the chain is linked.
    pub(super) async fn linked(&self) -> Result<(), Failure> {
        let linked = || self.a.links() == 1 && self.b.links() == 2 && self.c.links() == 1;
        until("the nodes to link", linked).await
    }

    /// Takes the link between b and c away.
    pub(super) async fn cut(&self) -> Result<(), Failure> {
        self.c.node.remove_peer(&self.b.url);
        until("the link between b and c to close", || self.b.links() == 1 && self.c.links() == 0).await
    }

    /// Brings the link between b and c back; tells how long all three nodes then took to hold the same.
    pub(super) async fn heal(&self) -> Result<(Duration, String), Failure> {
        let started = Instant::now();
        self.c.node.add_peer(&self.b.url)?;
        let same = async {
            loop {
                let [a, b, c] = [self.a.digest().await?, self.b.digest().await?, self.c.digest().await?];
                if a == b && b == c {
                    return Ok((started.elapsed(), a));
                }
                // The chain's far ends change last; a commit at either is worth a look.
                tokio::join!(self.a.node.committed(LOOK_INTERVAL), self.c.node.committed(LOOK_INTERVAL));
            }
        };
        match timeout(WAIT_MAX, same).await {
            Ok(same) => same,
            Err(_) => Err(too_long("the nodes to hold the same")),
        }
    }

    /// Stops the nodes.
    pub(super) async fn leave(self) {
        let leaving = async {
            for actor in [self.a, self.b, self.c] {
                drop(actor.stop);
                // What fails now fails with the data that is about to be removed.
                let _ = actor.serving.await;
                let _ = actor.node.close().await;
            }
        };
        let _ = timeout(LEAVE_MAX, leaving).await;
    }
}

impl Actor {
    /// The entry at a path that must have one.
    pub(super) fn entry(&self, path: &str) -> Result<Entry, Failure> {
        let path = Path::parse(path).map_err(rejoin::Error::from)?;
        let missing = || failed(format!("Node {} knows nothing of {path}.", self.letter));
        self.node.entry(&path)?.ok_or_else(missing)
    }

    /// What a reader sees at a path.
    pub(super) fn value(&self, path: &str) -> Result<Option<String>, Failure> {
        let path = Path::parse(path).map_err(rejoin::Error::from)?;
        let entry = self.node.entry(&path)?;
        Ok(entry.and_then(|entry| entry.value).map(|value| value.as_str().to_owned()))
    }

    async fn digest(&self) -> Result<String, Failure> {
        Ok(self.node.status().await?.digest)
    }

    fn links(&self) -> usize {
        self.node.peers().iter().filter(|peer| peer.state == PeerState::Connected).count()
    }
}

/// Waits until a subscriber is told of a path's new state.
pub(super) async fn arrival(changes: &mut Subscription, path: &str) -> Result<(), Failure> {
    let arrived = async {
        while let Some(event) = changes.next().await {
            match event? {
                Event::Change { entry, .. } if entry.path.as_str() == path => return Ok(()),
                _ => {}
            }
        }
        Err(failed(format!("The subscription ended before {path} arrived.")))
    };
    timeout(WAIT_MAX, arrived).await.unwrap_or_else(|_| Err(too_long(&format!("{path} to arrive"))))
}

async fn until(what: &str, holds: impl Fn() -> bool) -> Result<(), Failure> {
    let looked = async {
        let mut looks = interval(LOOK_INTERVAL);
        while !holds() {
            looks.tick().await;
        }
    };
    timeout(WAIT_MAX, looked).await.map_err(|_| too_long(what))
}

fn too_long(what: &str) -> Failure {
    failed(format!("The demo waited {} s for {what}, in vain.", WAIT_MAX.as_secs()))
}

/// The demonstration did not show what it should.
pub(super) fn failed(message: String) -> Failure {
    Failure::new(Exit::General, "demo_failed", message)
        .hint("Is the machine very busy, or the temporary directory full? If not, please report this.")
}
