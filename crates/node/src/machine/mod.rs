//! Whether the machine below this process was put back to an earlier state, or copied, with its memory.
//!
//! A process that goes on after that writes a second time under numbers that it has used already, and nothing in its memory
//! says so. Two things outside of it do: the generation of the virtual machine, and the wall clock, which gets corrected
//! while the time since boot goes on from where it was.

mod generation;
mod jumps;

use std::path::PathBuf;

use rejoin_replica::DoubtReason;

use generation::Generation;
use jumps::{Jumps, Reading};

/// What is watched of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    generation: Generation,
    jumps: Option<Jumps>,
}

impl Machine {
    /// Begins to watch. `generation` is a file whose content changes with each copy of the machine, where there is one.
    pub(crate) fn watch(generation: Option<PathBuf>, clock_jumps: bool) -> Machine {
        let jumps = Reading::now().filter(|_| clock_jumps).map(Jumps::begin);
        Machine { generation: Generation::watch(generation), jumps }
    }

    /// Why what this process remembers may not be all that it has done. Cheap enough for every commit: two clocks that are
    /// read without a system call, one system call, and where a file is watched three more.
    pub(crate) fn look(&mut self) -> Option<DoubtReason> {
        if self.generation.has_changed() {
            // The clock is corrected after the same event: that is not another one.
            if let (Some(jumps), Some(reading)) = (&mut self.jumps, Reading::now()) {
                jumps.explained(reading);
            }
            return Some(DoubtReason::Generation);
        }
        let jump = self.jumps.as_mut()?.look(Reading::now()?)?;
        if jump.counts {
            return Some(DoubtReason::ClockJump);
        }
        tracing::warn!(
            by_ms = jump.by_ms,
            why = jump.why,
            "the wall clock jumped ahead; taken for a correction"
        );
        None
    }

    /// Whether it may have to be doubted, and is not known yet.
    pub(crate) fn is_unsure(&self) -> bool {
        self.jumps.as_ref().is_some_and(Jumps::is_ahead)
    }
}
