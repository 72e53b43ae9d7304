//! `rejoin serve`: opens the node, serves it, and lets it go when told to.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use rejoin::{Node, Strategy};
use rejoin_http::{OpenBindError, ServeOptions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Ended;
use crate::arguments::Global;
use crate::config::{Environment, Given, Key, Origin, Raw, Settings};
use crate::exit::Exit;
use crate::failure::{Failure, sentence, words};
use crate::log::{self, Level};
use crate::open_files;
use crate::output::{self, Style};
use crate::policy;

use super::version::VERSION;

/// Exit code of a process that was told twice to stop: 128 and the number of SIGINT, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Default, Args)]
#[command(after_help = "\
Settings come from flags, then REJOIN_* variables, then the file of --config, then defaults.
`rejoin config print` shows each with where it comes from. With --json the log is JSON.

Examples:
  rejoin serve
  rejoin serve --listen 127.0.0.1:3001 --data-dir ./b --peer http://127.0.0.1:3000
  REJOIN_AUTH_TOKEN=… rejoin serve --listen 0.0.0.0:3000")]
pub(crate) struct Serve {
    #[command(flatten)]
    options: Options,
    /// How much to log [env: REJOIN_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<Level>,
}

/// The settings that have flags.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Address to serve on [env: REJOIN_LISTEN] [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Directory of the node's data; made when it is not there [env: REJOIN_DATA_DIR] [default: ./rejoin-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// URL of a node to sync with; may be repeated [env: REJOIN_PEERS]
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// Configuration file (TOML) [env: REJOIN_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the node for people [env: REJOIN_NAME]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What an acknowledged write survives: disk (a power cut), os (a crash of the process) or memory (nothing) [env:
    /// REJOIN_DURABILITY] [default: disk]
    #[arg(long, value_name = "KIND")]
    durability: Option<String>,
    /// Connections that are served at a time, links and streams included [env: REJOIN_LIMITS_CONNECTIONS] [default: as
    /// many as the limit of open files allows, at most 10,000]
    #[arg(long, value_name = "N")]
    connections: Option<String>,
}

impl Options {
    /// Every setting, merged.
    pub(crate) fn settings(&self, global: &Global) -> Result<Settings, Failure> {
        let environment = Environment::of_process();
        Ok(Settings::load(self.config.as_deref(), &environment, self.given(global))?)
    }

    fn given(&self, global: &Global) -> Vec<Given> {
        let texts = [
            (Key::Listen, "--listen", &self.listen),
            (Key::DataDir, "--data-dir", &self.data_dir),
            (Key::Name, "--name", &self.name),
            (Key::Durability, "--durability", &self.durability),
            (Key::Connections, "--connections", &self.connections),
            (Key::AuthToken, "--token", &global.token),
        ];
        let text = |(key, flag, value): (Key, &'static str, &Option<String>)| {
            let raw = Raw::Text(value.clone()?);
            Some(Given { key, raw, origin: Origin::Flag(flag) })
        };
        let mut given: Vec<Given> = texts.into_iter().filter_map(text).collect();
        if !self.peers.is_empty() {
            let raw = Raw::List(self.peers.iter().cloned().map(Raw::Text).collect());
            given.push(Given { key: Key::Peers, raw, origin: Origin::Flag("--peer") });
        }
        given
    }
}

impl Serve {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let settings = self.options.settings(global)?;
        let level = Level::choose(self.log_level)?;
        let policy = check(&settings)?;
        log::start(level, global.json);
        let connections = open_files::connections(&settings, open_files::raise(&settings))?;
        // Signals count from here on: a data directory that is half open is closed again.
        let mut signals = Signals::listen()?;
        let listener = bind(&settings).await?;
        let address = listener.local_addr()?;
        let node = open(&settings, policy).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving =
            rejoin_http::serve(node.clone(), listener, serve_options(&settings, connections), async {
                // A sender that is gone means stop as well.
                let _ = stopped.await;
            });
        let mut serving = tokio::spawn(serving);
        announce(global, &settings, &node, address);

        tokio::select! {
            signal = signals.next() => tracing::info!(signal, "stopping; a second signal stops at once"),
            reason = node.failed() => return Err(store_failed(&reason)),
            ended = &mut serving => return Err(server_ended(ended)),
        }
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(EXIT_INTERRUPTED);
        });
        drop(stop);
        if let Ok(Err(error)) = serving.await {
            tracing::warn!(%error, "the server did not stop in order");
        }
        node.close().await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Refuses what cannot be served safely, without touching anything; gives the strategies by prefix.
pub(crate) fn check(settings: &Settings) -> Result<Vec<(String, Strategy)>, Failure> {
    use std::net::ToSocketAddrs;
    let listen = &settings.listen.value;
    let addresses: Vec<SocketAddr> = listen
        .to_socket_addrs()
        .map_err(|error| {
            Failure::new(
                Exit::Config,
                "listen_failed",
                format!("The address {listen} cannot be resolved: {}.", words(&error)),
            )
            .hint("Give an IP address and port, such as 127.0.0.1:3000.")
        })?
        .collect();
    for address in addresses {
        rejoin_http::refuse_open_bind(address, settings.auth_token.value.as_deref()).map_err(open_bind)?;
    }
    open_files::connections(settings, open_files::attainable())?;
    policy::load(settings)
}

async fn bind(settings: &Settings) -> Result<TcpListener, Failure> {
    let listen = &settings.listen.value;
    TcpListener::bind(listen.as_str()).await.map_err(|error| {
        let (exit, hint) = match error.kind() {
            std::io::ErrorKind::AddrInUse => (
                Exit::TryAgain,
                "Another process listens there: stop it, or choose another port with --listen.",
            ),
            _ => (Exit::Config, "Choose another address with --listen."),
        };
        let message = format!("Cannot listen on {listen}: {}.", words(&error));
        Failure::new(exit, "listen_failed", message).hint(hint)
    })
}

async fn open(settings: &Settings, policy: Vec<(String, Strategy)>) -> Result<Node, Failure> {
    let mut builder = Node::builder()
        .data_dir(&settings.data_dir.value)
        .peers(settings.peers.value.iter())
        .peer_token(settings.auth_token.value.clone())
        .durability(settings.durability.value)
        .cluster(&settings.cluster_name.value)
        .anti_entropy_interval(settings.anti_entropy_interval.value)
        .max_versions(settings.max_versions.value)
        .tombstone_retention(settings.tombstone_retention.value)
        .allow_removals(settings.allow_removals.value)
        .generation_file(settings.generation_file.value.clone())
        .doubt_clock_jumps(settings.clock_jumps.value)
        .default_strategy(settings.default_strategy.value.clone())
        .value_bytes_max(settings.value_bytes.value)
        .value_depth_max(settings.value_depth.value)
        .siblings_max(settings.siblings.value)
        .siblings_bytes_max(settings.siblings_bytes.value);
    if let Some(name) = &settings.name.value {
        builder = builder.name(name);
    }
    if let Some(secret) = &settings.cluster_secret.value {
        builder = builder.cluster_secret(secret);
    }
    for (prefix, strategy) in policy {
        builder = builder.strategy(prefix, strategy);
    }
    builder.open().await.map_err(|error| opening(settings, error))
}

/// Adds to what the node says which of our settings it is about.
fn opening(settings: &Settings, error: rejoin::Error) -> Failure {
    let place = settings.data_dir.value.display();
    let hint = match &error {
        rejoin::Error::Locked(_) => format!(
            "A node runs on {place}: stop it, or choose another directory with --data-dir. Two nodes never share one."
        ),
        rejoin::Error::Corrupt(_) => format!(
            "Restore {place} from a backup, or move it away and start empty: peers send back what they have."
        ),
        rejoin::Error::Format(_) => {
            format!(
                "{place} was written by a newer version: start that version, or choose another directory."
            )
        }
        rejoin::Error::Storage(_) if settings.data_dir.value.is_file() => {
            format!("{place} is a file ({}): name a directory.", settings.data_dir.origin)
        }
        rejoin::Error::Storage(_) => format!("Check that {place} can be read and written by this user."),
        rejoin::Error::DiskFull(_) => format!("Free some space where {place} is, then start again."),
        rejoin::Error::BadPeer(_) => format!("Correct `peers` ({}).", settings.peers.origin),
        rejoin::Error::Config(_) => "`rejoin config print` shows where each setting comes from.".to_owned(),
        _ => return error.into(),
    };
    Failure::from(error).hint(hint)
}

#[expect(
    clippy::field_reassign_with_default,
    reason = "another crate's open struct has no other constructor"
)]
fn serve_options(settings: &Settings, connections: usize) -> ServeOptions {
    let mut options = ServeOptions::default();
    options.auth_token = settings.auth_token.value.clone();
    options.allowed_hosts = settings.allowed_hosts.value.clone();
    options.allowed_origins = settings.allowed_origins.value.clone();
    options.limits.connections = connections;
    options
}

/// What a person wants to know first.
fn announce(global: &Global, settings: &Settings, node: &Node, address: SocketAddr) {
    let info = node.info();
    let url = format!("http://{}", reachable(address));
    let data_dir = settings.data_dir.value.display().to_string();
    if global.json {
        let (node, name, durability) = (info.id.to_string(), &info.name, info.durability.to_string());
        let peers = settings.peers.value.join(",");
        tracing::info!(url, data_dir, node, name, durability, peers, version = VERSION, "listening");
        return;
    }
    let style = Style::of_stderr();
    let row = |name: &str, text: &str| {
        output::say(format_args!("  {}  {text}", style.dim(format_args!("{name:<5}"))));
    };
    let kept = match info.data_dir {
        Some(_) => format!("{data_dir}  (durability {})", info.durability),
        None => "in memory only: it ends with this process".to_owned(),
    };
    let peers = match settings.peers.value.is_empty() {
        true => "none yet: --peer URL, or `rejoin peers add URL` while it runs".to_owned(),
        false => settings.peers.value.join("  "),
    };
    let token = match settings.auth_token.value {
        Some(_) => " -H \"Authorization: Bearer $REJOIN_AUTH_TOKEN\"",
        None => "",
    };
    output::say(format_args!("{} {VERSION} serves {}", style.bold("rejoin"), style.green(&url)));
    row("node", &format!("{}  ({})", info.id, info.name));
    row("data", &kept);
    row("peers", &peers);
    row(
        "try",
        &format!("curl -X PUT {url}/api/hello -H 'Content-Type: application/json'{token} -d '\"world\"'"),
    );
    row("", &format!("curl {url}/api/hello{token}"));
}

/// The address under which this machine reaches a server that listens on all of its addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(host, address.port())
}

fn open_bind(error: OpenBindError) -> Failure {
    let message = format!(
        "Refusing to listen on {} without a token: everybody who can reach this address could read and write \
         everything.",
        error.addr
    );
    Failure::new(Exit::Config, "open_bind_refused", message)
        .hint("Set auth.token (REJOIN_AUTH_TOKEN=… or [auth] token in the file), or listen on 127.0.0.1.")
}

fn store_failed(reason: &str) -> Failure {
    Failure::new(Exit::Storage, "storage_failed", sentence(&format!("The store has failed: {reason}")))
        .hint("Free space or repair the disk, then start again: every acknowledged write is recovered.")
}

fn server_ended(ended: Result<Result<(), rejoin_http::ServeError>, tokio::task::JoinError>) -> Failure {
    let message = match ended {
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
        Ok(Ok(())) => "nobody told it to".to_owned(),
    };
    Failure::new(Exit::General, "server_ended", format!("The server has stopped: {message}."))
        .hint("This should not happen: please report it with the log.")
}

/// Requests to stop.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> Result<Signals, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Signals, Failure> {
        Ok(Signals {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        // Without the handler there is no way to be told: wait to be killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
