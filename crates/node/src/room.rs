//! Room on the disk: what a node does with the last of it.
//!
//! Three states. With *plenty*, everything goes on. When space is *short*, nothing is accepted that makes the data grow:
//! clients' writes are refused, links are closed, and what peers have is fetched by catch-up later. Deletes go on, from the
//! reserve, to its end. When it is *gone*, deletes are refused as well: each leaves a tombstone and a history row, and the
//! store itself must not run out of space, since a commit or a merge of tables that fails ends the process.

use std::time::{Duration, Instant};

use rejoin_store::DiskSpace;

use crate::config::{DISK_LOOK_INTERVAL, GROUP_INPUTS_MAX};

/// One part in that many of a small file system is reserved, where that is less than the reserve.
const RESERVE_SHARE: u64 = 10;

/// What is left beside what the store owes when deletes are refused as well: 1 MiB. A delete takes some kilobytes of it; the
/// rest is for what tables and journals have around their rows.
const LAST_BYTES: u64 = 1 << 20;

/// One part in that many of what the store owes is what its tables take beside their rows.
const OWED_SHARE: u64 = 8;

/// Of a small reserve, one part in that many is left at most.
const GONE_SHARE: u64 = 4;

/// What one input may cost, in values of the largest size: the new and the old version in the journal, and both once more
/// in tables.
const VALUES_PER_INPUT: u64 = 4;

/// Beyond that, a look at the disk before every group is a waste.
const NEAR_BYTES: u64 = 4 << 30;

/// What may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Nothing.
    Gone,
    /// Deletes.
    Short,
    /// Everything.
    Plenty,
}

/// What a file system keeps back from growing data: the reserve, or a tenth of a small one.
fn reserve_bytes(space: &DiskSpace, reserve: u64) -> u64 {
    reserve.min(space.total_bytes / RESERVE_SHARE)
}

/// Free bytes below which growing data is refused.
pub(crate) fn kept_bytes(space: &DiskSpace, reserve: u64) -> u64 {
    reserve_bytes(space, reserve).saturating_add(space.owed_bytes())
}

/// Free bytes below which nothing is written.
fn last_bytes(space: &DiskSpace, reserve: u64) -> u64 {
    let owed = space.owed_bytes();
    let last = LAST_BYTES.saturating_add(owed / OWED_SHARE);
    last.min(reserve_bytes(space, reserve) / GONE_SHARE).saturating_add(owed)
}

/// Sorts what a disk has left.
pub(crate) fn room(space: Option<&DiskSpace>, reserve: u64) -> Room {
    let Some(space) = space else { return Room::Plenty };
    if space.free_bytes < last_bytes(space, reserve) {
        Room::Gone
    } else if space.free_bytes < kept_bytes(space, reserve) {
        Room::Short
    } else {
        Room::Plenty
    }
}

/// The writer's view of the disk, measured again when it may have changed.
#[derive(Debug)]
pub(crate) struct Watch {
    reserve: u64,
    input_bytes_max: u64,
    space: Option<DiskSpace>,
    measured: Option<Instant>,
    pub(crate) room: Room,
}

impl Watch {
    pub(crate) fn new(reserve: u64, value_bytes_max: usize) -> Watch {
        let input_bytes_max = (value_bytes_max as u64).saturating_mul(VALUES_PER_INPUT).max(1);
        Watch { reserve, input_bytes_max, space: None, measured: None, room: Room::Plenty }
    }

    /// Looks at the disk, if it is time to.
    pub(crate) fn look(&mut self, measure: impl FnOnce() -> Option<DiskSpace>) {
        let near = self.space.is_some_and(|space| space.free_bytes < NEAR_BYTES);
        let fresh = self.measured.is_some_and(|at| at.elapsed() < DISK_LOOK_INTERVAL);
        if fresh && !near {
            return;
        }
        self.space = measure();
        self.measured = Some(Instant::now());
        self.room = room(self.space.as_ref(), self.reserve);
    }

    /// What the disk had left at the last look.
    pub(crate) fn space(&self) -> Option<DiskSpace> {
        self.space
    }

    /// Whether the delete of a document of so many bytes fits into what is left: what it takes out goes into history.
    pub(crate) fn fits_delete(&self, bytes: u64) -> bool {
        let Some(space) = &self.space else { return true };
        let left = space.free_bytes.saturating_sub(last_bytes(space, self.reserve));
        self.room == Room::Plenty || left >= bytes.saturating_mul(VALUES_PER_INPUT)
    }

    /// Inputs of the next group: as many as fit into what is left above the last of it, were each as large as can be.
    pub(crate) fn inputs_max(&self) -> usize {
        let Some(space) = &self.space else { return GROUP_INPUTS_MAX };
        let fit = space.free_bytes.saturating_sub(last_bytes(space, self.reserve)) / self.input_bytes_max;
        usize::try_from(fit).unwrap_or(GROUP_INPUTS_MAX).clamp(1, GROUP_INPUTS_MAX)
    }

    /// How soon to look again without being asked: at the start, and while there is not plenty, so that the node notices
    /// when there is.
    pub(crate) fn again_in(&self) -> Option<Duration> {
        match self.measured {
            None => Some(Duration::ZERO),
            Some(_) => (self.room != Room::Plenty).then_some(DISK_LOOK_INTERVAL),
        }
    }

    /// The state in words.
    pub(crate) fn words(&self) -> String {
        words(self.space.as_ref(), self.reserve)
    }
}

/// How much is free and how much is wanted, in words.
pub(crate) fn words(space: Option<&DiskSpace>, reserve: u64) -> String {
    let Some(space) = space else { return "the disk does not say how much is free".to_owned() };
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{} MiB of {} are free, and {} are kept back ({} in reserve, {} for the store's own work)",
        mib(space.free_bytes),
        mib(space.total_bytes),
        mib(kept_bytes(space, reserve)),
        mib(reserve_bytes(space, reserve)),
        mib(space.owed_bytes()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(free: u64, total: u64, owed: u64) -> DiskSpace {
        let (free_bytes, total_bytes) = (free * MIB, total * MIB);
        DiskSpace { free_bytes, total_bytes, buffered_bytes: owed * MIB, merge_bytes: 0 }
    }

    fn at(free: u64, total: u64, owed: u64) -> Room {
        room(Some(&space(free, total, owed)), 64 * MIB)
    }

    #[test]
    fn a_large_disk_keeps_the_reserve_and_a_small_one_a_tenth() {
        assert_eq!(
            [at(64, 100_000, 0), at(63, 100_000, 0), at(1, 100_000, 0), at(0, 100_000, 0)],
            [Room::Plenty, Room::Short, Room::Short, Room::Gone]
        );
        assert_eq!([at(10, 100, 0), at(9, 100, 0), at(0, 100, 0)], [Room::Plenty, Room::Short, Room::Gone]);
    }

    #[test]
    fn what_the_store_owes_is_not_there_for_others() {
        assert_eq!(
            [at(94, 100_000, 30), at(93, 100_000, 30), at(35, 100_000, 30), at(34, 100_000, 30)],
            [Room::Plenty, Room::Short, Room::Short, Room::Gone]
        );
    }

    #[test]
    fn without_a_disk_there_is_plenty() {
        assert_eq!(room(None, 64 * MIB), Room::Plenty);
    }

    #[test]
    fn a_delete_needs_room_for_what_it_takes_out() {
        let mut watch = Watch::new(64 * MIB, 1 << 20);
        watch.look(|| Some(space(3, 100_000, 0)));
        assert!(watch.fits_delete(MIB / 2) && !watch.fits_delete(MIB));
        watch.measured = None;
        watch.look(|| Some(space(64, 100_000, 0)));
        assert!(watch.fits_delete(100 * MIB), "there is plenty");
    }

    #[test]
    fn a_group_is_no_larger_than_what_fits() {
        let mut watch = Watch::new(64 * MIB, 1 << 20);
        assert_eq!(watch.inputs_max(), GROUP_INPUTS_MAX);
        for (free, inputs) in [(100_000, GROUP_INPUTS_MAX), (41, 10), (2, 1), (0, 1)] {
            watch.measured = None;
            watch.look(|| Some(space(free, 200_000, 0)));
            assert_eq!(watch.inputs_max(), inputs, "{free} MiB free");
        }
    }
}
