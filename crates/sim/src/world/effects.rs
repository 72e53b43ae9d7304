//! Effects: performed as the node's shell performs them, each reader in its own time.

use std::collections::VecDeque;

use bytes::Bytes;
use rejoin_replica::message::Entry;
use rejoin_replica::path::Path;
use rejoin_replica::{
    Alarm, Audit, AuditStep, CatchUp, CatchUpStep, Doubt, Effect, Input, LinkId, Message, Statement,
    StatementKind, codec,
};
use rejoin_store::StoreError;

use super::{Event, World};
use crate::node::{Auditing, NodeSnapshot, Serving};
use crate::plant::Plant;
use crate::violation::{Promise, Violation, ensure};

impl World {
    pub(super) fn perform(&mut self, node: usize, life: u64, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Reply(request, answer) => {
                self.answers.insert(request, answer);
            }
            Effect::ReplyAll(request, answer) => {
                self.batch_answers.insert(request, answer);
            }
            Effect::Send(link, bytes) => self.send(node, link, bytes, true)?,
            Effect::Close(link, why) => {
                self.note(|world| format!("{} closes {link:?}: {why}", world.nodes[node].name));
                // Whoever knows a life of its own only by half meets numbers of it that it never gave.
                let this = &self.nodes[node];
                let halved = self.oracle.is_forked((this.id, this.epoch));
                let honest = halved || !why.contains("violation") && !why.contains("malformed");
                ensure(honest, Promise::Protocol, || {
                    format!("{} closes {link:?}: {why}", self.nodes[node].name)
                })?;
                self.trace.mark("closed by a replica");
                self.drop_readers(node, link);
                if let Some(connection) = self.links.get(&link).copied()
                    && let Some(end) = self.connections.get(&connection).and_then(|found| found.end_of(link))
                {
                    self.cut(connection);
                    self.end_down(connection, end);
                }
            }
            Effect::Serve { link, known, exchange } => {
                if !self.links.contains_key(&link) {
                    return Ok(());
                }
                let config = self.nodes[node].config.clone();
                let token = self.new_id();
                let Some(process) = self.process(node, life) else { return Ok(()) };
                let snapshot = process.store.snapshot();
                let reader = CatchUp::new(
                    snapshot,
                    &known,
                    exchange,
                    config.chunk_bytes_max,
                    config.credit_bytes,
                    config.document_bytes_max,
                )
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
                let serving = Serving { reader, stepping: true, token, uncommitted_bytes: 0, claimed: false };
                if process.serving.insert(link, serving).is_some() {
                    self.trace.mark("catch-up replaced another");
                }
                self.trace.mark("catch-up");
                self.after(0, 5, Event::Step { node, life, link, token });
            }
            Effect::Grant(link, bytes) => {
                let mut step = None;
                if let Some(serving) =
                    self.process(node, life).and_then(|process| process.serving.get_mut(&link))
                {
                    serving.reader.grant(bytes);
                    serving.uncommitted_bytes -= i128::from(bytes);
                    if !serving.stepping {
                        serving.stepping = true;
                        step = Some(serving.token);
                    }
                }
                if let Some(token) = step {
                    self.after(0, 2, Event::Step { node, life, link, token });
                }
            }
            Effect::Audit(link, step) => self.audit(node, life, link, step),
            Effect::Committed(sequence) => self.committed(node, life, sequence)?,
            Effect::RoundDone(request, report) => {
                self.rounds.insert(request, report);
            }
            // Told to the oracle already.
            Effect::Restamped { .. } | Effect::Released(..) => {}
            Effect::Held(request, held) => {
                self.held.insert(request, held);
            }
            Effect::Holder(request, holder) => self.holder(node, request, holder)?,
            Effect::Status(request, status) => {
                let room = self.nodes[node].config.quarantine_entries_max as u64;
                let bytes = self.nodes[node].config.quarantine_bytes_max as u64;
                ensure(status.quarantined_bytes <= bytes, Promise::Bounded, || {
                    format!("{} holds {} bytes", self.nodes[node].name, status.quarantined_bytes)
                })?;
                ensure(status.quarantined <= room, Promise::Bounded, || {
                    format!("{} holds {} documents", self.nodes[node].name, status.quarantined)
                })?;
                for link in &status.links {
                    if link.ahead > 0 {
                        self.trace.mark("a link is ahead");
                    }
                    self.trace.mark(match link.session {
                        "fenced" => "session fenced",
                        "catching-up" => "session catching up",
                        "greeting" => "session greeting",
                        _ => "session live",
                    });
                }
                self.statuses.insert(request, status);
            }
            Effect::Alarm(alarm) => {
                self.note(|world| format!("{} alarms {alarm:?}", world.nodes[node].name));
                if let Alarm::LifeDoubted { life, .. } = &alarm {
                    self.oracle.doubt(*life);
                }
                self.trace.mark(match &alarm {
                    Alarm::Clone { .. } | Alarm::OlderClone { .. } => "clone alarm",
                    Alarm::RemovalsStopped { .. } => "removals stopped",
                    Alarm::Unasked { .. } => "a message nobody asked for",
                    Alarm::UnmadeWrite { .. } => "a write never made was named",
                    Alarm::UnsignedReceipts { .. } => "unsigned receipts",
                    Alarm::UnexplainedRows { .. } => "claims of unknown lives cut",
                    Alarm::RemovalsHeld { .. } => "removals held back",
                    Alarm::OwnWriteRemoved { .. } => "own write removed by a peer",
                    Alarm::Quarantined { .. } => "quarantined",
                    Alarm::Resolver(_) => "resolver failed",
                    Alarm::LifeDoubted { .. } => "a life was doubted",
                    Alarm::SameDotTwice { .. } => "a dot with two meanings",
                    Alarm::Undeliverable { .. } => "undeliverable",
                    Alarm::Siblings { .. } => "many siblings",
                    Alarm::ClockAhead { .. } => "stamps ahead of the clock",
                    Alarm::ClockRecovered { .. } => "stamps follow the clock again",
                    Alarm::ClockDiffers { .. } => "most peers have another time",
                    Alarm::ClockAgrees => "most peers have the same time again",
                    Alarm::PeerClock { .. } => "a peer has another time",
                    Alarm::PeerClockAgrees { .. } => "a peer has the same time again",
                });
                // Who answers what it was asked is not taken for somebody who does not.
                let accused = matches!(alarm, Alarm::Unasked { .. } | Alarm::UnexplainedRows { .. });
                ensure(!accused || self.lied, Promise::Protocol, || {
                    format!("{} alarms {alarm:?}, and nobody lies", self.nodes[node].name)
                })?;
                self.nodes[node].alarms.push(alarm);
            }
            Effect::Attest { id, digest } => {
                let holder = self.attest(self.nodes[node].id, id, digest);
                self.tell(node, Input::Attested(holder));
            }
            Effect::Renew { doubts } => {
                let renew = self
                    .process(node, life)
                    .is_some_and(|process| !std::mem::replace(&mut process.renewing, true));
                if renew {
                    self.after(1, 30, Event::Renewed { node, life, doubts });
                }
            }
        }
        Ok(())
    }

    /// A new identity is durable; the node leaves all links and dials again.
    pub(super) fn renewed(&mut self, node: usize, life: u64, doubts: &[Doubt]) -> Result<(), Violation> {
        let id = self.new_node_id();
        let random = (self.rng.bits() & 0xffff) as u16;
        let wall_ms = self.nodes[node].clock.now(self.now_ms).wall_ms;
        let failed = |error| Violation::new(Promise::RowsAgree, format!("a store fails: {error}"));
        let mut statements: Vec<Statement> =
            doubts.iter().map(|doubt| World::sign(doubt.life, doubt.kind())).collect();
        let signs = self.settings.signs;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        World::keep_signed(&mut process.store, &statements)?;
        process.store.set_note("id", &id.0).map_err(failed)?;
        let epoch = process.store.begin_epoch(wall_ms, random).map_err(failed)?;
        if signs {
            statements.push(World::sign((id, epoch), StatementKind::Alive));
        }
        self.trace.mark("identity renewed");
        self.note(|world| format!("{} becomes {id:?} {epoch:?}", world.nodes[node].name));
        self.tell(node, Input::Renewed { node: id, epoch, statements });
        let connections: Vec<(u64, usize)> = self
            .connections
            .iter()
            .filter_map(|(at, connection)| {
                Some((*at, connection.ends.iter().position(|end| end.node == node)?))
            })
            .collect();
        for (connection, end) in connections {
            self.cut(connection);
            self.end_down(connection, end);
        }
        Ok(())
    }

    /// A subscriber reads the feed from where it was.
    pub(super) fn committed(&mut self, node: usize, life: u64, sequence: u64) -> Result<(), Violation> {
        let name = self.nodes[node].name.clone();
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let seen = std::mem::replace(&mut process.feed_seen, sequence);
        let snapshot = process.store.snapshot();
        let rows = snapshot
            .feed(seen)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        let in_order = sequence > seen && rows.iter().all(|(at, _)| *at > seen && *at <= sequence);
        ensure(in_order, Promise::RowsAgree, || {
            format!("{name}: the feed after {seen} says {rows:?}, and should end at {sequence}")
        })
    }

    pub(super) fn serve_step(
        &mut self,
        node: usize,
        life: u64,
        link: LinkId,
        token: u64,
    ) -> Result<(), Violation> {
        let early = self.settings.plant == Some(Plant::ClaimEarly);
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let Some(serving) = process.serving.get_mut(&link).filter(|serving| serving.token == token) else {
            return Ok(());
        };
        if early && !serving.claimed {
            serving.claimed = true;
            let claims = serving.reader.missing().clone();
            let claim = Message::CaughtUp { exchange: serving.reader.exchange(), claims };
            self.send(node, link, Bytes::from(codec::encode(&claim)), false)?;
            self.after(0, 5, Event::Step { node, life, link, token });
            return Ok(());
        }
        self.arm_reads(node);
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let Some(serving) = process.serving.get_mut(&link) else { return Ok(()) };
        let step = serving.reader.step();
        if self.disarm_reads(node, step.is_err()) {
            self.kill(node);
            return Ok(());
        }
        let credit_bytes = self.nodes[node].config.credit_bytes;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let Some(serving) = process.serving.get_mut(&link) else { return Ok(()) };
        let step =
            step.map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        match step {
            CatchUpStep::Send(message) => {
                if let Message::Chunk(entries) = &message {
                    let before = serving.uncommitted_bytes;
                    serving.uncommitted_bytes += i128::from(entries.iter().map(cost).sum::<u64>());
                    ensure(before < i128::from(credit_bytes), Promise::Bounded, || {
                        format!("a chunk on {link:?} with {before} of {credit_bytes} bytes uncommitted")
                    })?;
                }
                self.send(node, link, Bytes::from(codec::encode(&message)), false)?;
                self.after(0, 5, Event::Step { node, life, link, token });
            }
            CatchUpStep::Wait => {
                serving.stepping = false;
                self.trace.mark("catch-up waits for credit");
            }
            CatchUpStep::Withheld(path) => {
                self.trace.mark("a document too large to travel");
                self.tell(node, Input::Withheld { link, path, unswept: false });
                self.after(0, 5, Event::Step { node, life, link, token });
            }
            CatchUpStep::Done { claims, documents, unclaimed, withheld } => {
                process.serving.remove(&link);
                self.tell(node, Input::Served { link, claims, documents, unclaimed, withheld });
            }
        }
        Ok(())
    }

    pub(super) fn audit(&mut self, node: usize, life: u64, link: LinkId, step: AuditStep) {
        let token = self.new_id();
        if !self.links.contains_key(&link) {
            return;
        }
        let Some(process) = self.process(node, life) else { return };
        match &step {
            AuditStep::Stop => {
                process.auditing.remove(&link);
                return;
            }
            AuditStep::Open(_) | AuditStep::Accept => {
                let snapshot = Some(process.store.snapshot());
                let steps = VecDeque::from([(step, snapshot)]);
                let auditing = Auditing { reader: None, steps, stepping: true, token };
                if process.auditing.insert(link, auditing).is_some() {
                    self.trace.mark("digest sessions crossed");
                }
                self.after(0, 5, Event::AuditStep { node, life, link, token });
                return;
            }
            AuditStep::Compare(_) | AuditStep::Continue | AuditStep::Reply(_) => {}
        }
        let Some(auditing) = process.auditing.get_mut(&link) else { return };
        auditing.steps.push_back((step, None));
        if !auditing.stepping {
            auditing.stepping = true;
            let token = auditing.token;
            self.after(0, 5, Event::AuditStep { node, life, link, token });
        }
    }

    pub(super) fn audit_step(
        &mut self,
        node: usize,
        life: u64,
        link: LinkId,
        token: u64,
    ) -> Result<(), Violation> {
        let newer = self.settings.plant == Some(Plant::NewerFrontier);
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let frontier = process.replica.frontier().clone();
        let Some(auditing) = process.auditing.get_mut(&link).filter(|auditing| auditing.token == token)
        else {
            return Ok(());
        };
        let Some((step, snapshot)) = auditing.steps.pop_front() else {
            auditing.stepping = false;
            return Ok(());
        };
        let reader = auditing.reader.take();
        let document_bytes_max = self.nodes[node].config.document_bytes_max;
        self.arm_reads(node);
        let read = match (step, snapshot, reader) {
            (AuditStep::Open(prefix), Some(snapshot), _) => {
                Audit::open(snapshot, &prefix, document_bytes_max).map(|read| (Some(read.0), read.1))
            }
            (AuditStep::Accept, Some(snapshot), _) => {
                Audit::accept(snapshot, document_bytes_max).map(|read| (Some(read.0), read.1))
            }
            (AuditStep::Compare(message), _, Some(mut reader)) => {
                reader.compare(message).map(|output| (Some(reader), output))
            }
            (AuditStep::Continue, _, Some(mut reader)) => reader.go_on().map(|output| (Some(reader), output)),
            (AuditStep::Reply(paths), _, Some(mut reader)) => {
                all_of_reply(&mut reader, paths).map(|output| (Some(reader), output))
            }
            (_, _, reader) => Ok((reader, Vec::new())),
        };
        if self.disarm_reads(node, read.is_err()) {
            self.kill(node);
            return Ok(());
        }
        let (reader, mut output) =
            read.map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        if let Some(auditing) = process.auditing.get_mut(&link) {
            auditing.reader = reader;
        }
        for message in &mut output {
            if let Message::AuditOpen { frontier: said, .. } | Message::AuditAccept { frontier: said, .. } =
                message
                && newer
            {
                said.clone_from(&frontier);
            }
        }
        for message in output {
            if let Message::Withheld(paths) = &message {
                self.trace.mark("withheld in a digest session");
                for path in paths {
                    self.tell(node, Input::Withheld { link, path: path.clone(), unswept: true });
                }
            }
            self.send(node, link, Bytes::from(codec::encode(&message)), false)?;
        }
        self.after(0, 5, Event::AuditStep { node, life, link, token });
        Ok(())
    }

    pub(super) fn drop_readers(&mut self, node: usize, link: LinkId) {
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.serving.remove(&link);
            process.auditing.remove(&link);
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// All messages of an answer: in a world of small documents they need not wait for each other.
fn all_of_reply(reader: &mut Audit<NodeSnapshot>, paths: Vec<Path>) -> Result<Vec<Message>, StoreError> {
    let mut output = reader.reply(paths)?;
    while reader.has_more() {
        output.extend(reader.more()?);
    }
    Ok(output)
}

/// What a document costs of a receiver's credit, by docs/protocol.md: path, 24 bytes a version, body.
fn cost(entry: &Entry) -> u64 {
    let versions = entry.document.versions().iter().map(|version| 24 + version.body.weight());
    (entry.path.as_str().len() + versions.sum::<usize>()) as u64
}
