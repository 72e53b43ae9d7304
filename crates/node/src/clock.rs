//! The clocks and the randomness of this process: the only place where they are read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rejoin_replica::Now;

/// A steady clock from the node's start, beside the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let steady_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: wall_ms(), steady_ms }
    }

    /// The instant of a reading of the steady clock.
    pub(crate) fn instant(&self, steady_ms: u64) -> Instant {
        // A deadline that does not fit is as good as a day from now: it is looked at again then.
        const DAY_MS: u64 = 24 * 3_600_000;
        let ahead = std::time::Duration::from_millis(steady_ms.min(self.now().steady_ms + DAY_MS));
        self.started + ahead
    }
}

/// Unix milliseconds; 0 before 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the machine was started, those included in which it slept; nothing where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn boot_ms() -> Option<u64> {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(since.tv_sec).ok()?, u64::try_from(since.tv_nsec).ok()?);
    Some(seconds * 1_000 + nanoseconds / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn boot_ms() -> Option<u64> {
    None
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], crate::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| crate::Error::Config(format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}
