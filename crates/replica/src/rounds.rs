//! Rounds of anti-entropy: on every link, exchanges until both sides are equal or have tried often enough.

use alloc::vec::Vec;

use crate::effect::Effect;
use crate::frontiers::frontier_digest;
use crate::input::{LinkId, RequestId};
use crate::path::Prefix;
use crate::replica::{Group, Replica, RunningRound};
use crate::session::{EXCHANGES_PER_ROUND, Round, Session};

impl Replica {
    /// Runs an anti-entropy round on every link.
    pub(crate) fn anti_entropy<V>(&mut self, group: &mut Group<'_, V>, request: Option<RequestId>) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        if let Some(request) = request {
            let waiting = links.iter().map(|link| (*link, 0)).collect();
            self.rounds.push(RunningRound { request, waiting, part: None, report: Default::default() });
        }
        for id in links {
            self.tell_clock(group, id);
            self.begin_round(group, id);
        }
        self.finish_rounds(group);
    }

    /// Compares a part of the paths on every link, as each has nothing else to do.
    pub(crate) fn compare_part<V>(&mut self, group: &mut Group<'_, V>, request: RequestId, part: Prefix) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        let waiting = links.iter().map(|link| (*link, 0)).collect();
        self.rounds.push(RunningRound { request, waiting, part: Some(part), report: Default::default() });
        for id in links {
            self.settle(group, id);
        }
        self.finish_rounds(group);
    }

    /// A digest session over a part has ended. Where it found something it is done again: what was exchanged may have
    /// been held back at either end.
    pub(crate) fn part_compared<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        request: RequestId,
        differed: bool,
    ) {
        let sessions = self
            .rounds
            .iter_mut()
            .find(|round| round.request == request)
            .and_then(|round| round.waiting.get_mut(&id));
        let Some(sessions) = sessions else { return };
        *sessions += 1;
        if !differed || *sessions >= EXCHANGES_PER_ROUND {
            self.left(id, !differed, |round| round.request == request);
            self.finish_rounds(group);
        }
    }

    pub(crate) fn begin_round<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let started_ms = group.now.steady_ms;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.round.is_some() {
            return;
        }
        link.round = Some(Round { exchanges: 0, started_ms, equal: false, compared: None });
        let fresh = link.session == Session::Greeting && link.dialed && link.asking.is_none();
        if fresh {
            self.update(id, |link| link.round.iter_mut().for_each(|round| round.exchanges = 1));
            self.probe(group, id);
        } else {
            self.settle(group, id);
        }
    }

    /// A link where nothing is going on: its round ends, or asks again whether the two are equal now.
    pub(crate) fn settle<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.is_quiet() {
            return;
        }
        let Some(round) = &mut link.round else {
            let asked = self.rounds.iter().find_map(|round| {
                let part = round.part.clone().filter(|_| round.waiting.contains_key(&id))?;
                Some((round.request, part))
            });
            if asked.is_some() {
                self.open_audit(group, id, asked);
            }
            return;
        };
        if round.equal || round.exchanges >= EXCHANGES_PER_ROUND {
            let (equal, started_ms) = (round.equal, round.started_ms);
            link.round = None;
            match equal {
                true => self.tally.rounds_equal += 1,
                false => self.tally.rounds_unequal += 1,
            }
            self.last_round = Some((group.now.steady_ms, group.now.steady_ms.saturating_sub(started_ms)));
            self.round_left(group, id, equal);
        } else {
            round.exchanges += 1;
            self.probe(group, id);
        }
    }

    /// Whether a digest session would only repeat what the last one of this round has done in vain: removals may be held
    /// back at either end. Then the round is over, unequal; the next one tries again.
    pub(crate) fn would_compare_in_vain<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) -> bool {
        let now = (frontier_digest(&self.frontier), self.counters.values);
        let Some(round) = self.links.get_mut(&id).and_then(|link| link.round.as_mut()) else { return false };
        let in_vain = round.compared.replace(now) == Some(now);
        if in_vain {
            round.exchanges = EXCHANGES_PER_ROUND;
            self.settle(group, id);
        }
        in_vain
    }

    pub(crate) fn round_left<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, equal: bool) {
        self.left(id, equal, |round| round.part.is_none());
        self.finish_rounds(group);
        self.settle(group, id);
    }

    /// A link has ended, or is of no use: no request waits for it.
    pub(crate) fn link_left<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        self.left(id, false, |_| true);
        self.finish_rounds(group);
    }

    fn left(&mut self, id: LinkId, equal: bool, is_meant: impl Fn(&RunningRound) -> bool) {
        for round in self.rounds.iter_mut().filter(|round| is_meant(round)) {
            if round.waiting.remove(&id).is_some() {
                round.report.links += 1;
                round.report.equal += u64::from(equal);
                round.report.unequal += u64::from(!equal);
            }
        }
    }

    fn finish_rounds<V>(&mut self, group: &mut Group<'_, V>) {
        let finished = |round: &RunningRound| round.waiting.is_empty();
        for round in self.rounds.iter().filter(|round| finished(round)) {
            group.effects.push(Effect::RoundDone(round.request, round.report));
        }
        self.rounds.retain(|round| !finished(round));
    }
}
