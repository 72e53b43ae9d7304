//! `rejoin quarantine`

use clap::{Args, Subcommand};

use crate::Ended;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::time;

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what waits: documents whose stamps are too far ahead of the node's clock
    List,
    /// Take documents now, although their stamps are ahead; what was written together comes out together
    Release {
        /// The path of one document
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        path: Option<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Only those that this node wrote or sent: its id, or the first digits of it
        #[arg(long, value_name = "NODE")]
        peer: Option<String>,
    },
}

impl Quarantine {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        match self.what {
            What::List => {
                let held = client.quarantine().await?;
                if global.json {
                    return output::raw(&held.raw);
                }
                for document in &held.documents {
                    let stamp = time::show_unix_ms(document.stamp_at);
                    let (path, author, peer) = (&document.path, &document.author, &document.peer);
                    output::line(format_args!("{path}\t{stamp}\tby {author}\tfrom {peer}"))?;
                }
                if held.documents.is_empty() {
                    output::say(Style::of_stderr().dim("nothing waits"));
                }
            }
            What::Release { path, peer, .. } => {
                let named = path.is_some();
                let released = client.release_quarantine(path.as_deref(), peer.as_deref()).await?;
                if named && released.released == 0 {
                    let why = "Nothing at that path waits in quarantine.";
                    return Err(Failure::new(Exit::NotFound, "not_found", why)
                        .hint("`rejoin quarantine list` lists what does."));
                }
                if global.json {
                    return output::raw(&released.raw);
                }
                output::line(format_args!("{}", released.released))?;
            }
        }
        Ok(())
    }
}
