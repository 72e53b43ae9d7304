//! The threads of all servers of a process.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::config::{BLOCKING_THREADS_MAX, WORKER_THREADS_MAX};

/// The runtime, started when it is first needed. It ends with the process: its threads do not keep that alive.
pub(crate) fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        log();
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Builder::new_multi_thread()
            .worker_threads(processors.clamp(2, WORKER_THREADS_MAX))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("rejoin")
            .enable_all()
            .build()
            .map_err(|error| format!("the system starts no threads: {error}"))
    });
    runtime.as_ref().map_err(Clone::clone)
}

/// Writes what the engine says to standard error when `REJOIN_LOG` asks for it: error, warn, info, debug or trace.
fn log() {
    let level = std::env::var("REJOIN_LOG").ok().and_then(|level| level.parse::<tracing::Level>().ok());
    if let Some(level) = level {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).finish();
        // Another addon of the same process may have taken that place.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}
