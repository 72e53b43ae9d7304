//! `rejoin peers`

use clap::{Args, Subcommand};
use rejoin_client::Peer;

use crate::Ended;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Style};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the node's peers; also what `rejoin peers` alone does
    List,
    /// Link the node to a peer until it is removed or the node restarts
    Add {
        /// The peer's URL, such as http://10.0.0.2:3000
        peer: String,
    },
    /// Close the node's link to a peer that it dials, and forget it
    Remove {
        /// The peer's URL, as `peers list` shows it
        peer: String,
    },
}

impl Peers {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let peers = client.peers().await?;
                if global.json {
                    return peers.iter().try_for_each(output::json);
                }
                if peers.is_empty() {
                    output::say("This node has no peers. Link it to one: rejoin peers add URL");
                }
                show(&peers)
            }
            Action::Add { peer } => {
                let added = client.add_peer(&peer).await?;
                done(global, "added", added, &peer, "was a peer already")
            }
            Action::Remove { peer } => {
                if client.remove_peer(&peer).await? {
                    return done(global, "removed", true, &peer, "");
                }
                Err(Failure::new(Exit::NotFound, "not_found", format!("The node does not dial {peer}."))
                    .hint("`rejoin peers` lists its peers; one that dials this node is removed over there."))
            }
        }
    }
}

/// One line for each link.
pub(crate) fn show(peers: &[Peer]) -> Ended {
    let style = Style::of_stdout();
    for peer in peers {
        let state = format!("{:<9}", peer.state);
        let state = match peer.state.as_str() {
            "connected" => style.green(state),
            _ => style.red(state),
        };
        let id = peer.id.as_deref().map(|id| style.dim(id));
        let who = match (peer.name.as_deref(), id) {
            (Some(name), Some(id)) => format!("{name} {id}"),
            (Some(one), None) => one.to_owned(),
            (None, one) => one.unwrap_or_default(),
        };
        let place = peer.url.as_deref().unwrap_or("dials this node");
        let rtt = peer.rtt_ms.map(|ms| format!("  rtt {ms:.1} ms")).unwrap_or_default();
        let state_of_link = match peer.state.as_str() {
            "connected" => format!("{who}{rtt}  behind {}  ahead {}", peer.behind, peer.ahead),
            _ => [who.as_str(), peer.last_error.as_deref().unwrap_or_default()]
                .join("  ")
                .trim_start()
                .to_owned(),
        };
        output::line(format_args!("  {:<3}  {state}  {place}  {state_of_link}", peer.direction))?;
    }
    Ok(())
}

fn done(global: &Global, what: &str, changed: bool, peer: &str, otherwise: &str) -> Ended {
    if global.json {
        return output::json(&serde_json::json!({ "url": peer, what: changed }));
    }
    match changed {
        true => output::say(format_args!("{} {peer}", Style::of_stderr().green(what))),
        false => output::say(format_args!("{peer} {otherwise}")),
    }
    Ok(())
}
