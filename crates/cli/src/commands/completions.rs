//! `rejoin completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::{Ended, output};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rejoin completions bash > ~/.local/share/bash-completion/completions/rejoin
  rejoin completions zsh > ~/.zfunc/_rejoin
  rejoin completions fish > ~/.config/fish/completions/rejoin.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Ended {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "rejoin", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end())
    }
}
