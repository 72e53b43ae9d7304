//! A set of positive integers as sorted, disjoint, inclusive ranges.

use alloc::vec::Vec;
use core::fmt;

/// A set of sequence numbers, kept as ranges: a replica that has everything from 1 to a million holds one range.
///
/// Invariant: ranges are sorted, non-empty, and neither touch nor overlap.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct IntervalSet {
    ranges: Vec<(u64, u64)>,
}

impl IntervalSet {
    /// The empty set.
    pub const fn new() -> IntervalSet {
        IntervalSet { ranges: Vec::new() }
    }

    /// The set `first..=last`; empty when `first > last`.
    pub fn range(first: u64, last: u64) -> IntervalSet {
        let mut set = IntervalSet::new();
        set.insert_range(first, last);
        set
    }

    /// A set of these ranges, which hold the invariant.
    pub(crate) fn from_ranges(ranges: Vec<(u64, u64)>) -> IntervalSet {
        debug_assert!(ranges.iter().all(|range| range.0 > 0 && range.0 <= range.1), "an empty range");
        debug_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "ranges that touch");
        IntervalSet { ranges }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers are in it (saturating).
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0u64, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// The greatest member.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last().map(|range| range.1)
    }

    /// Whether it holds every number from 1 to its greatest member.
    pub fn is_dense(&self) -> bool {
        matches!(self.ranges.as_slice(), [] | [(1, _)])
    }

    /// Membership, in O(log ranges).
    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < number);
        self.ranges.get(at).is_some_and(|range| range.0 <= number)
    }

    /// Adds one number; says whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        // Nearly every insertion extends the last range by one.
        if let Some(last) = self.ranges.last_mut()
            && last.1.checked_add(1) == Some(number)
        {
            last.1 = number;
            return true;
        }
        if self.contains(number) {
            return false;
        }
        self.insert_range(number, number);
        true
    }

    /// Adds `first..=last`.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Every range that overlaps or touches the new one is swallowed by it.
        let from = self.ranges.partition_point(|range| range.1.saturating_add(1) < first);
        let to = self.ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        let mut joined = (first, last);
        if from < to {
            joined.0 = joined.0.min(self.ranges[from].0);
            joined.1 = joined.1.max(self.ranges[to - 1].1);
        }
        self.ranges.splice(from..to, [joined]);
    }

    /// Adds everything of `other`.
    pub fn union_with(&mut self, other: &IntervalSet) {
        // Room for exactly what there is: frontiers have very many rows of one range.
        if self.ranges.is_empty() {
            self.ranges = other.ranges.clone();
            return;
        }
        for &(first, last) in &other.ranges {
            self.insert_range(first, last);
        }
    }

    /// What is in `self` and not in `other`.
    pub fn difference(&self, other: &IntervalSet) -> IntervalSet {
        let mut left = Vec::new();
        let mut others = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut from = Some(first);
            while let (Some(start), Some(&&(taken_first, taken_last))) = (from, others.peek()) {
                if taken_last < start {
                    others.next();
                    continue;
                }
                if taken_first > last {
                    break;
                }
                if taken_first > start {
                    left.push((start, taken_first - 1));
                }
                from = taken_last.checked_add(1).filter(|&next| next <= last);
                if from.is_some() {
                    others.next();
                }
            }
            if let Some(start) = from {
                left.push((start, last));
            }
        }
        IntervalSet { ranges: left }
    }

    /// What is in both.
    pub fn intersection(&self, other: &IntervalSet) -> IntervalSet {
        self.difference(&self.difference(other))
    }

    /// Whether everything of `other` is in `self`.
    pub fn is_superset(&self, other: &IntervalSet) -> bool {
        other.ranges.iter().all(|&(first, last)| {
            let at = self.ranges.partition_point(|range| range.1 < first);
            self.ranges.get(at).is_some_and(|range| range.0 <= first && last <= range.1)
        })
    }

    /// The members, ascending. Costs as much as there are members.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }
}

impl FromIterator<u64> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> IntervalSet {
        let mut set = IntervalSet::new();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

impl fmt::Debug for IntervalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
