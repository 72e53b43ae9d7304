//! What the texts of versions and clocks mean.

use crate::history::Clock;

/// The node that minted a version, and the number that a clock shows for it (docs/http-api.md: `node.epoch.number`;
/// the clock's number is made of the epoch's milliseconds since 2020-09-13, shifted by 12 bits, and the number).
pub(super) fn parse(version: &str) -> Option<(&str, u64)> {
    let mut parts = version.rsplitn(3, '.');
    let number: u64 = parts.next()?.parse().ok()?;
    let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
    let node = parts.next()?;
    let start = (epoch >> 16).saturating_sub(1_600_000_000_000) << 12;
    Some((node, start.saturating_add(number) & ((1 << 53) - 1)))
}

/// Whether a state with this clock knows the version.
pub(super) fn covers(clock: &Clock, version: &str) -> bool {
    parse(version).is_some_and(|(node, number)| clock.get(node).is_some_and(|known| *known >= number))
}
