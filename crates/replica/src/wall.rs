//! A wall clock that was wrong: noticed, and recovered from.
//!
//! Stamps follow the wall clock and never go back, so one write under a clock that is years ahead would leave a node's
//! stamps ahead for ever: peers hold such writes in quarantine, and what they hold nobody can write over. So this node
//! compares its stamps with its wall clock in every turn, and its wall clock with those of its peers, which they say in
//! [`Message::Clock`]. When the stamps are ahead and the wall clock is right, the stamps fall back to it, and this node mints
//! its own live versions with stamps from the future again: ordinary writes over exactly those versions, which peers take
//! at once.
//!
//! Who says that the wall clock is right? A clock that starts in 1970 makes all that was ever written look as if it came
//! from the future. So versions are minted again only while most peers agree with the wall clock; the stamps alone fall back
//! without peers as well, but never to a time before this program was written ([`CLOCK_PLAUSIBLE_FROM_MS`]).
//!
//! Invariant: a stamp decides nothing between a write and what that write saw. So a version that takes the place of another
//! may have the lesser stamp.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Hlc, NodeId, plant};

use crate::body::{Body, Content, Document, Fields, Unit, Version};
use crate::config::{CLOCK_LOOK_EVERY_MS, CLOCK_PLAUSIBLE_FROM_MS, RESTAMP_BYTES_MAX, RESTAMP_ROWS_MAX};
use crate::effect::{Alarm, ClockStatus, Effect};
use crate::expiry::Expiry;
use crate::input::{LinkId, Now};
use crate::message::Message;
use crate::path::Path;
use crate::replica::{Group, Replica};
use crate::view::{Superseded, View};

/// Where a walk over this node's own live versions goes on, those of identities that it has left included: everything before it
/// has been looked at.
pub type Place = (NodeId, Epoch, u64);

/// Where a walk begins.
pub(crate) const FIRST_PLACE: Place = (NodeId([0; 16]), Epoch(0), 0);

/// What this node knows about its wall clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wall {
    /// What the clocks said last.
    pub(crate) now: Now,
    /// The wall clock less the steady one when peers were last told.
    told: Option<i128>,
    /// Where the walk that mints versions again goes on, while there is one.
    pub(crate) walk: Option<Place>,
    /// The walk as it is stored.
    stored: Option<Place>,
    /// When to look at the clocks again although nothing happens, on the steady clock: while something is wrong with them.
    look_at_ms: Option<u64>,
    /// Not before this, on the steady clock.
    not_before_ms: u64,
    /// Versions that this walk has minted again.
    restamped: u64,
    /// The operator was told that the stamps are ahead.
    said_ahead: bool,
    /// The operator was told that most peers have another time.
    said_differs: bool,
}

impl Wall {
    /// A walk that an earlier process began goes on.
    pub(crate) fn open(walk: Option<Place>) -> Wall {
        Wall { walk, stored: walk, said_ahead: walk.is_some(), ..Wall::default() }
    }
}

/// What the peers say about this node's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No linked peer has said what time it is.
    Alone,
    /// Most have the same time.
    Right,
    /// They do not; this clock is ahead of the nearest of them by so many milliseconds.
    Differs(i64),
}

/// What a peer said its wall clock reads, and when that was on our steady clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerClock {
    wall_ms: u64,
    at_ms: u64,
    /// The operator was told that it is wrong, or that we are.
    said: bool,
}

impl PeerClock {
    /// How far the peer's clock is ahead of ours now.
    pub(crate) fn lead_ms(&self, now: Now) -> i64 {
        let elapsed = now.steady_ms.saturating_sub(self.at_ms);
        let lead = i128::from(self.wall_ms) + i128::from(elapsed) - i128::from(now.wall_ms);
        i64::try_from(lead).unwrap_or(if lead < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Replica {
    /// The greatest stamp that is not from the future.
    pub(crate) fn reach(&self, now: Now) -> Hlc {
        let reach = Hlc::of_wall(now.wall_ms.saturating_add(self.config.clock_skew_max_ms));
        Hlc(reach.0 | 0xffff)
    }

    fn verdict(&self, now: Now) -> Verdict {
        let leads: Vec<i64> = self.links.values().filter_map(|link| Some(link.clock?.lead_ms(now))).collect();
        let skew = self.config.clock_skew_max_ms;
        let agree = leads.iter().filter(|lead| lead.unsigned_abs() <= skew).count();
        match leads.iter().min_by_key(|lead| lead.unsigned_abs()) {
            None => Verdict::Alone,
            // This node's own clock is one voice as well.
            Some(_) if agree > 0 && 2 * agree + 1 > leads.len() => Verdict::Right,
            Some(_) => {
                let differing = leads.iter().filter(|lead| lead.unsigned_abs() > skew);
                Verdict::Differs(differing.min_by_key(|lead| lead.unsigned_abs()).map_or(0, |lead| -lead))
            }
        }
    }

    /// Looks at the clocks: tells peers when the wall clock has stepped, lets stamps that are ahead fall back, and tells the
    /// operator.
    pub(crate) fn mind_clock<V>(&mut self, group: &mut Group<'_, V>) {
        let now = group.now;
        self.wall.now = now;
        let offset = i128::from(now.wall_ms) - i128::from(now.steady_ms);
        let step = self.wall.told.map(|told| told.abs_diff(offset));
        if step.is_none_or(|step| step > u128::from(self.config.clock_skew_max_ms / 4)) {
            self.wall.told = Some(offset);
            let links: Vec<LinkId> = self.links.keys().copied().collect();
            links.into_iter().for_each(|id| self.tell_clock(group, id));
        }
        let verdict = self.verdict(now);
        let last = self.clock.last();
        if last > self.reach(now) && !plant::is("clock-never-falls-back") {
            let ahead_ms = last.unix_ms().saturating_sub(now.wall_ms);
            if !core::mem::replace(&mut self.wall.said_ahead, true) {
                group.effects.push(Effect::Alarm(Alarm::ClockAhead { ahead_ms }));
            }
            let may = match verdict {
                Verdict::Right => true,
                Verdict::Alone => now.wall_ms >= CLOCK_PLAUSIBLE_FROM_MS,
                Verdict::Differs(_) => false,
            };
            if may {
                self.clock.fall_back(now.wall_ms);
                self.wall.walk = Some(FIRST_PLACE);
                self.wall.restamped = 0;
            }
        } else if self.wall.walk.is_none() {
            self.wall.said_ahead = false;
        }
        let wrong = self.wall.said_ahead || matches!(verdict, Verdict::Differs(_));
        self.wall.look_at_ms = wrong.then_some(now.steady_ms + CLOCK_LOOK_EVERY_MS);
        match verdict {
            Verdict::Differs(ahead_ms) if !self.wall.said_differs => {
                self.wall.said_differs = true;
                group.effects.push(Effect::Alarm(Alarm::ClockDiffers { ahead_ms }));
            }
            Verdict::Right if self.wall.said_differs => {
                self.wall.said_differs = false;
                group.effects.push(Effect::Alarm(Alarm::ClockAgrees));
            }
            _ => {}
        }
    }

    /// Says what time it is here.
    pub(crate) fn tell_clock<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        // What a stamp cannot name is not a time that a peer would read.
        let wall_ms = group.now.wall_ms.min(crate::config::EXPIRES_MS_MAX);
        self.say(group, id, &Message::Clock { wall_ms });
    }

    /// A peer says what time it is there.
    pub(crate) fn clock_told<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, wall_ms: u64) {
        let now = group.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let said = link.clock.is_some_and(|clock| clock.said);
        let mut clock = PeerClock { wall_ms, at_ms: now.steady_ms, said };
        let ahead_ms = clock.lead_ms(now);
        clock.said = ahead_ms.unsigned_abs() > self.config.clock_skew_max_ms;
        link.clock = Some(clock);
        let peer = link.peer;
        match (said, clock.said) {
            (false, true) => group.effects.push(Effect::Alarm(Alarm::PeerClock { peer, ahead_ms })),
            (true, false) => group.effects.push(Effect::Alarm(Alarm::PeerClockAgrees { peer })),
            _ => {}
        }
    }

    /// One of this node's own versions came in with a stamp from the future: the walk has to come to it.
    pub(crate) fn walk_to(&mut self, dot: Dot) {
        let place = (dot.node, dot.epoch, dot.seq);
        self.wall.walk = Some(self.wall.walk.map_or(place, |walk| walk.min(place)));
    }

    /// When the walk goes on, on the steady clock.
    pub(crate) fn restamp_deadline(&self, now: Now) -> Option<u64> {
        let due = self.wall.walk.is_some() && self.renewing.is_none() && self.verdict(now) == Verdict::Right;
        due.then_some(self.wall.not_before_ms)
    }

    /// When something is to be done about the clocks, on the steady clock.
    pub(crate) fn clock_deadline(&self, now: Now) -> Option<u64> {
        [self.restamp_deadline(now), self.wall.look_at_ms].into_iter().flatten().min()
    }

    /// Writes how far the walk is.
    pub(crate) fn store_walk<V>(&mut self, group: &mut Group<'_, V>) {
        if self.wall.walk != self.wall.stored {
            self.wall.stored = self.wall.walk;
            group.rows.batch.restamp = Some(self.wall.walk);
        }
    }

    /// How the clocks are.
    pub(crate) fn clock_status(&self) -> ClockStatus {
        ClockStatus {
            last: self.clock.last(),
            restamping: self.wall.walk.is_some(),
            restamped: self.tally.restamped,
        }
    }

    /// Takes note of the stamps of a document that is about to be written over: of those that are not from the future, what is
    /// written gets a later one.
    pub(crate) fn observe_document(
        &self,
        clock: &mut rejoin_causal::HlcClock,
        document: &Document,
        now: Now,
    ) {
        let reach = self.reach(now);
        let mut observe = |stamp: Hlc| {
            if stamp <= reach {
                clock.observe(stamp);
            }
        };
        for version in document.versions() {
            observe(version.hlc);
            if version.hlc <= reach {
                continue;
            }
            if let Body::Fields(fields) = &*version.body {
                fields.0.iter().for_each(|field| observe(field.hlc));
            }
            if let Some(Expiry::Of(stamp, _)) = version.body.expiry {
                observe(stamp);
            }
        }
    }

    /// Mints own versions with stamps from the future again: a turn of the walk over them, of a bounded size.
    pub(crate) fn restamp<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let now = group.now;
        let Some(place) = self.wall.walk else { return Ok(()) };
        if self.restamp_deadline(now).is_none_or(|due| due > now.steady_ms) {
            return Ok(());
        }
        self.wall.not_before_ms = now.steady_ms + 1;
        let reach = self.reach(now);
        let (mut rows_left, mut bytes_left) = (RESTAMP_ROWS_MAX, RESTAMP_BYTES_MAX);
        let own: BTreeSet<NodeId> = self.lives.left().chain([self.node]).collect();
        let lives: Vec<(NodeId, Epoch)> = own
            .into_iter()
            .flat_map(|node| self.frontier.epochs(node).map(move |(epoch, _)| (node, epoch)))
            .filter(|life| *life >= (place.0, place.1))
            .collect();
        for (node, epoch) in lives {
            let first = if (node, epoch) == (place.0, place.1) { place.2 } else { 0 };
            let rows = group.rows.base.log(node, epoch, first, u64::MAX, rows_left)?;
            for (seq, path) in rows {
                if rows_left == 0 || bytes_left == 0 {
                    self.wall.walk = Some((node, epoch, seq));
                    return Ok(());
                }
                rows_left -= 1;
                let dot = Dot { node, epoch, seq };
                let bytes = self.restamp_with_its_batch(group, dot, path, reach)?;
                bytes_left = bytes_left.saturating_sub(bytes);
                self.wall.walk = Some((node, epoch, seq + 1));
            }
            if rows_left == 0 {
                return Ok(());
            }
        }
        self.wall.walk = None;
        self.wall.said_ahead = false;
        group.effects.push(Effect::Alarm(Alarm::ClockRecovered { restamped: self.wall.restamped }));
        Ok(())
    }

    /// Mints a version again if its stamp is from the future, and what is left of its atomic batch with it. Says how many
    /// bytes that were.
    fn restamp_with_its_batch<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        dot: Dot,
        path: Path,
        reach: Hlc,
    ) -> Result<usize, V::Error> {
        let Some(version) = live(group, &path, dot)? else { return Ok(0) };
        if version.hlc <= reach {
            // The clock may have fallen back below it, and it may be from the future again once the wall clock is set back.
            self.clock.observe(version.hlc);
            return Ok(0);
        }
        let mut versions = Vec::from([(path, version)]);
        if let Some(unit) = versions[0].1.body.unit {
            versions.clear();
            for seq in unit.first..=unit.last {
                let dot = Dot { seq, ..dot };
                for path in group.rows.log(dot.node, dot.epoch, seq, seq)? {
                    let version = live(group, &path, dot)?.filter(|version| version.hlc > reach);
                    versions.extend(version.map(|version| (path, version)));
                }
            }
        }
        let (count, first) = (versions.len() as u64, self.seq + 1);
        let unit = (count > 1).then(|| Unit { first, last: self.seq + count });
        let mut bytes = 0;
        for (path, version) in versions {
            bytes += crate::catch_up::weight(&path, &Document::new()) + version.body.weight();
            self.mint_again(group, &path, version, unit, reach)?;
        }
        Ok(bytes)
    }

    /// Writes the same over exactly this version, with a stamp of now.
    fn mint_again<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
        old: Version,
        unit: Option<Unit>,
        reach: Hlc,
    ) -> Result<(), V::Error> {
        if plant::is("restamp-nothing") {
            return Ok(());
        }
        let Some(record) = group.rows.record(path)? else { return Ok(()) };
        let now = group.now;
        let dot = Dot { node: self.node, epoch: self.epoch, seq: self.seq + 1 };
        let mut clock = self.clock;
        self.observe_document(&mut clock, &record.document, now);
        let mut hlc = clock.tick(now.wall_ms);
        let replaced = old.dot;
        let Content { body, expiry, .. } = old.body;
        let mut content = Content { body, unit, expiry };
        match content.expiry {
            // It lives for as long as it was to live.
            Some(Expiry::At(ms)) if ms >= old.hlc.unix_ms() => {
                let ttl_ms = ms - old.hlc.unix_ms();
                content.expiry = Some(Expiry::At(ms.min(hlc.unix_ms().saturating_add(ttl_ms))));
            }
            Some(Expiry::Of(stamp, ended)) if stamp > reach => {
                // What ended was from the future as well.
                let stamp = hlc;
                hlc = clock.tick(now.wall_ms);
                content.expiry = Some(Expiry::Of(stamp, ended));
            }
            Some(Expiry::Of(stamp, ended)) => {
                let ended = group.rows.base.superseded(path, stamp, ended)?;
                if let Some(Superseded { version, .. }) = ended
                    && version.body.expires_ms().is_some_and(|ms| ms > now.wall_ms)
                {
                    // The wrong clock has ended it before its time: it comes back, and stands where it stood.
                    hlc = version.hlc;
                    content = Content { unit, ..version.body };
                }
            }
            _ => {}
        }
        if let Body::Fields(fields) = &mut content.body {
            restamp_fields(fields, (hlc, dot));
        }
        self.clock = clock;
        self.seq = dot.seq;
        self.wall.restamped += 1;
        self.tally.restamped += 1;
        let version = Version { dot, hlc, body: content };
        let state = record.document.written(version, |version| version.dot == replaced);
        self.merge_with(group, path, Some(record), state, None)?;
        self.applied(group, path, dot, None);
        group.effects.push(Effect::Restamped { path: path.clone(), replaced, dot });
        Ok(())
    }
}

/// Fields that a version carries and that are newer than the version: stamped by a clock that was wrong. They are as new as
/// what carries them.
pub(crate) fn restamp_fields(fields: &mut Fields, (hlc, dot): (Hlc, Dot)) {
    for field in fields.0.iter_mut().filter(|field| field.hlc > hlc) {
        (field.hlc, field.dot) = (hlc, dot);
    }
}

/// The live version of that dot.
fn live<V: View>(group: &Group<'_, V>, path: &Path, dot: Dot) -> Result<Option<Version>, V::Error> {
    let record = group.rows.record(path)?;
    Ok(record.and_then(|record| record.document.version(dot).cloned()))
}
