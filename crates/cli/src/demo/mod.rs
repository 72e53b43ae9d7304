//! The demonstration: three real nodes in this process, and the whole of what they are for in one minute.
//!
//! `stage` owns the nodes and every bounded wait, `story` is what happens on it, `narrator` tells it to a person or,
//! as JSON lines, to a program.

mod narrator;
mod stage;
mod story;

pub(crate) use narrator::Narrator;

use std::time::Instant;

use crate::Ended;
use stage::Stage;

/// Tells the story; keeps the nodes afterwards until Ctrl-C, unless `exit`.
pub(crate) async fn run(mut narrator: Narrator, exit: bool) -> Ended {
    let stage = Stage::build()?;
    let played = async {
        story::open(&mut narrator)?;
        let started = Instant::now();
        let cast = stage.enter().await?;
        let opened = started.elapsed();
        let told = tokio::select! {
            told = story::tell(&mut narrator, &cast, opened) => told,
            () = interrupted() => Ok(()),
        };
        if told.is_ok() && !exit {
            narrator.wait_for_reader()?;
            interrupted().await;
        }
        cast.leave().await;
        told
    };
    let ended = played.await;
    stage.clear();
    ended
}

async fn interrupted() {
    // Without the handler there is no way to be told: wait to be killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
