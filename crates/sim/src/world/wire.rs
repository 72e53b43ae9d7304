//! The network between nodes: dialing, sending, delivering, cutting.

use std::collections::BTreeSet;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, NodeId};
use rejoin_replica::message::Entry;
use rejoin_replica::{Alarm, Config, Input, LinkId, Message, Unit, Version, codec, parts};

use super::{Event, World};
use crate::network::{Connection, Frame};
use crate::plant::Plant;
use crate::violation::{Promise, Violation, ensure};

/// How often catch-ups bring a document over one connection to a node where it waits, at most: several may have been asked for
/// before the peer heard that it is there.
const WAITING_SENT_MAX: u32 = 8;

impl World {
    pub(super) fn send(
        &mut self,
        node: usize,
        link: LinkId,
        bytes: Bytes,
        counted: bool,
    ) -> Result<(), Violation> {
        let message = codec::decode(&bytes).map_err(|error| {
            Violation::new(
                Promise::Protocol,
                format!("{} sends what cannot be read: {error}", self.nodes[node].name),
            )
        })?;
        *self.sent.entry(message.name()).or_default() += 1;
        self.sent_bytes += bytes.len() as u64;
        self.trace.mix(&[4, self.now_ms, link.0]);
        self.trace.bytes(&bytes);
        self.note(|world| {
            format!("{} sends on {link:?} {} bytes: {message:?}", world.nodes[node].name, bytes.len())
        });
        if let Message::Push(entries) = &message {
            *self.pushed_now.entry(link).or_default() += bytes.len() as u64;
            self.check_echo(node, link, entries)?;
        }
        let bytes = match self.settings.plant {
            Some(plant) => tampered(plant, message.clone()).unwrap_or(bytes),
            None => bytes,
        };
        let Some(id) = self.links.get(&link).copied() else { return Ok(()) };
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(from) = connection.end_of(link) else { return Ok(()) };
        if connection.cut || !connection.ends[from].open {
            return Ok(());
        }
        let nodes = [connection.ends[0].node, connection.ends[1].node];
        let edge = self.edges.iter().find(|edge| edge.nodes == nodes || edge.nodes == [nodes[1], nodes[0]]);
        let (first, last) = edge.map_or(self.settings.delay_ms, |edge| edge.delay_ms);
        let delay = self.rng.between(first, last);
        let end = &mut connection.ends[from];
        let due_ms = (self.now_ms + delay).max(end.last_due_ms);
        end.last_due_ms = due_ms;
        let push = matches!(message, Message::Push(_));
        if let Message::Probe { exchange, .. } = &message {
            connection.exchange = *exchange;
        }
        let counted = counted.then_some(bytes.len() as u64);
        let frames: Vec<Bytes> = match bytes.len() <= self.settings.part_bytes {
            true => vec![bytes],
            false => parts::split(&bytes, self.settings.part_bytes).map(Bytes::from).collect(),
        };
        let last = frames.len() - 1;
        for (number, bytes) in frames.into_iter().enumerate() {
            end.queue.push_back(Frame { bytes, counted: counted.filter(|_| number == last), push, due_ms });
        }
        for _ in 0..=last {
            self.at(due_ms, Event::Deliver { connection: id, from });
        }
        if last > 0 {
            self.trace.mark("a frame in parts");
        }
        if let (Some(crossings), Message::Push(entries) | Message::Chunk(entries)) =
            (&mut self.crossings, &message)
        {
            for dot in entries.iter().flat_map(|entry| entry.claims()) {
                *crossings.entry((id, from, dot)).or_default() += 1;
            }
        }
        Ok(())
    }

    /// A push carries something that the peer has neither told here nor was told from here.
    fn check_echo(&mut self, node: usize, link: LinkId, entries: &[Entry]) -> Result<(), Violation> {
        let this = &mut self.nodes[node];
        let Some(process) = this.process.as_mut() else { return Ok(()) };
        let (told, heard) = (process.told.entry(link).or_default(), process.heard.entry(link).or_default());
        // What shares an atomic batch with news goes along, and takes the batches of its other versions along.
        let units = |entry: &Entry| -> BTreeSet<(NodeId, Epoch, Unit)> {
            let versions = entry.document.versions().iter();
            versions
                .filter_map(|version| Some((version.dot.node, version.dot.epoch, version.body.unit?)))
                .collect()
        };
        let mut rest: Vec<&Entry> = entries.iter().collect();
        let mut along = BTreeSet::new();
        loop {
            let is_news = |dot: Dot| !told.contains(dot) && !heard.contains(dot);
            let (goes, stays): (Vec<&Entry>, Vec<&Entry>) = rest
                .into_iter()
                .partition(|entry| entry.claims().any(is_news) || !units(entry).is_disjoint(&along));
            along.extend(goes.iter().flat_map(|entry| units(entry)));
            rest = stays;
            if goes.is_empty() {
                break;
            }
        }
        // A number with two meanings is news twice.
        let twice = |entry: &Entry| entry.claims().any(|dot| self.oracle.is_forked_dot(dot));
        for entry in entries {
            ensure(twice(entry) || !rest.contains(&entry), Promise::NoEcho, || {
                format!("{} pushes on {link:?} what the peer has: {entry:?}", this.name)
            })?;
            told.union_with(&entry.claims().collect());
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, id: u64, from: usize) -> Result<(), Violation> {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.cut || connection.ends[from].stalled {
            return Ok(());
        }
        let due = connection.ends[from].queue.front().is_some_and(|frame| frame.due_ms <= now_ms);
        if due {
            self.hand_over(id, from)?;
        }
        Ok(())
    }

    /// The first frame of one direction arrives.
    pub(super) fn hand_over(&mut self, id: u64, from: usize) -> Result<(), Violation> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(frame) = connection.ends[from].queue.pop_front() else { return Ok(()) };
        let sender = (connection.ends[from].node, connection.ends[from].link, connection.ends[from].open);
        let receiver =
            (connection.ends[1 - from].node, connection.ends[1 - from].link, connection.ends[1 - from].open);
        let unreadable =
            |error| Violation::new(Promise::Protocol, format!("a frame cannot be read: {error}"));
        let bytes = match parts::is_part(&frame.bytes) {
            true => connection.ends[from].assembly.add(&frame.bytes).map_err(unreadable)?.map(Bytes::from),
            false => Some(frame.bytes),
        };
        if let Some(bytes) = frame.counted.filter(|_| sender.2) {
            self.tell(sender.0, Input::Sent(sender.1, bytes));
        }
        if let Some(bytes) = bytes.filter(|_| receiver.2) {
            let message = codec::decode(&bytes).map_err(unreadable)?;
            let message = match message {
                Message::Holders(holders) => Message::Holders(self.signed(holders)),
                message => message,
            };
            self.trace.mark(message.name());
            if let Message::Statements(statements) = &message {
                ensure(statements.iter().all(World::is_signed), Promise::Protocol, || {
                    format!("a statement that nobody signed is passed on: {statements:?}")
                })?;
            }
            if let Message::Push(entries) | Message::Chunk(entries) = &message {
                for entry in entries {
                    if entry.document.versions().len() > 2 {
                        self.trace.mark("three siblings on their way");
                    }
                    if !entry.superseded.is_empty() {
                        self.trace.mark("superseded dots claimed with a push");
                    }
                }
            }
            if let Message::Chunk(entries) = &message {
                self.check_waiting(id, from, receiver.0, entries)?;
            }
            self.tell(receiver.0, Input::Message(receiver.1, message));
        }
        Ok(())
    }

    /// What waits at a node until its time comes is not sent to it again and again over one connection.
    fn check_waiting(
        &mut self,
        id: u64,
        from: usize,
        receiver: usize,
        entries: &[Entry],
    ) -> Result<(), Violation> {
        let this = &self.nodes[receiver];
        // Of what finds no room, twice as much as a quarantine takes is not sent again.
        let is_roomy = this.config.quarantine_entries_max >= Config::default().quarantine_entries_max;
        let Some(process) = this.process.as_ref().filter(|_| is_roomy) else { return Ok(()) };
        let reach_ms = this.clock.now(self.now_ms).wall_ms + this.config.clock_skew_max_ms;
        let waits = |version: &Version| {
            // What an author has lost goes back to it until it has it.
            version.dot.node != this.id
                && version.hlc.unix_ms() > reach_ms
                && !process.replica.frontier().contains(version.dot)
        };
        // What a node says it never made does not wait there: it is cut off each time.
        let denied = |entry: &&Entry| {
            let mut denied = this.alarms.iter().filter_map(|alarm| match alarm {
                Alarm::UnmadeWrite { dot, .. } => Some(*dot),
                _ => None,
            });
            denied.any(|dot| entry.document.version(dot).is_some())
        };
        let waiting = |entry: &&Entry| entry.document.versions().iter().any(waits) && !denied(entry);
        for entry in entries.iter().filter(waiting) {
            let dots: Vec<Dot> = entry.document.versions().iter().map(|version| version.dot).collect();
            let times = self.waiting.entry((id, from, dots)).or_default();
            *times += 1;
            ensure(*times <= WAITING_SENT_MAX, Promise::Bounded, || {
                format!("{:?} waits at {}, and is sent there {times} times", entry.path, this.name)
            })?;
        }
        Ok(())
    }

    /// Both directions stop, each after some of what is on its way; the ends notice in their own time.
    pub(crate) fn cut(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.cut {
            return;
        }
        for from in 0..2 {
            let Some(connection) = self.connections.get(&id) else { return };
            let end = &connection.ends[from];
            let arriving = if end.stalled { 0 } else { end.queue.len() };
            let arriving = self.rng.index(arriving + 1);
            for _ in 0..arriving {
                if let Err(violation) = self.hand_over(id, from) {
                    self.failure = Some(violation);
                }
            }
            if let Some(connection) = self.connections.get_mut(&id) {
                let lost = std::mem::take(&mut connection.ends[from].queue);
                if let Some(torn) = lost.front() {
                    self.trace.mark("frames lost in a cut");
                    let arrived = self.rng.index(torn.bytes.len());
                    let readable = codec::decode(&torn.bytes[..arrived]).is_ok();
                    if readable {
                        self.fail(Promise::Protocol, format!("half a frame can be read: {:?}", torn.bytes));
                    }
                }
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cut = true;
        }
        self.trace.mark("link cut");
        self.note(|_| format!("connection {id} is cut"));
        for end in 0..2 {
            self.after(0, 1_500, Event::EndDown { connection: id, end });
        }
    }

    pub(super) fn end_down(&mut self, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let ended = &mut connection.ends[end];
        if !std::mem::replace(&mut ended.open, false) {
            return;
        }
        let (node, link) = (ended.node, ended.link);
        let (over, cut) = (connection.over(), connection.cut);
        self.links.remove(&link);
        self.drop_readers(node, link);
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.heard.remove(&link);
            process.told.remove(&link);
        }
        self.tell(node, Input::LinkDown(link));
        if over {
            self.connections.remove(&id);
        }
        if over || cut {
            // Whoever has noticed dials again, whether the other end has noticed or not.
            for edge in 0..self.edges.len() {
                if self.edges[edge].connection == Some(id) {
                    self.edges[edge].connection = None;
                    self.redial(edge, 20, 300);
                }
            }
        }
    }

    pub(super) fn redial(&mut self, edge: usize, first_ms: u64, last_ms: u64) {
        if self.edges[edge].connection.is_none() && !self.edges[edge].removed && !self.edges[edge].dialing {
            self.edges[edge].dialing = true;
            self.after(first_ms, last_ms, Event::Dial { edge });
        }
    }

    pub(super) fn dial(&mut self, edge: usize) {
        self.edges[edge].dialing = false;
        let mut nodes = self.edges[edge].nodes;
        if self.edges[edge].blocked
            || self.edges[edge].removed
            || self.edges[edge].connection.is_some()
            || !nodes.iter().all(|node| self.is_up(*node))
        {
            return;
        }
        let epochs = nodes.map(|node| self.nodes[node].epoch);
        if self.nodes[nodes[0]].id == self.nodes[nodes[1]].id && epochs[0] == epochs[1] {
            self.twins_meet(nodes);
            self.redial(edge, 100, 500);
            return;
        }
        if self.nodes[nodes[0]].id == self.nodes[nodes[1]].id {
            self.tell(nodes[0], Input::CloneSeen { epoch: epochs[1] });
            self.tell(nodes[1], Input::CloneSeen { epoch: epochs[0] });
            self.redial(edge, 100, 500);
            return;
        }
        let reversed = match self.edges[edge].dialer {
            Some(dialer) => dialer == nodes[1],
            None => self.rng.chance(500),
        };
        if reversed {
            nodes.reverse();
        }
        // A node that has not noticed the end of the last connection takes the newer one for it.
        let stale = self.connections.iter().filter(|(_, old)| old.is_between(nodes));
        for id in stale.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.trace.mark("a newer link replaced an older one");
            for end in 0..2 {
                self.end_down(id, end);
            }
        }
        let id = self.new_id();
        let links = [LinkId(self.new_id()), LinkId(self.new_id())];
        self.connections.insert(id, Connection::new(nodes, links, self.now_ms));
        self.edges[edge].connection = Some(id);
        self.trace.mix(&[5, self.now_ms, nodes[0] as u64, nodes[1] as u64]);
        self.note(|world| {
            format!(
                "{} dials {}: connection {id}, {links:?}",
                world.nodes[nodes[0]].name, world.nodes[nodes[1]].name
            )
        });
        self.introduce(nodes);
        for at in 0..2 {
            self.links.insert(links[at], id);
            let peer = &self.nodes[nodes[1 - at]];
            let (peer, epoch) = (peer.id, peer.epoch);
            self.tell(nodes[at], Input::LinkUp { link: links[at], peer, epoch, dialed: at == 0 });
        }
    }

    /// Cuts the connection of an edge, if there is one.
    pub fn cut_edge(&mut self, edge: usize) -> bool {
        let connection = self.edges[edge].connection;
        if let Some(connection) = connection {
            self.cut(connection);
        }
        connection.is_some()
    }

    /// One direction of an edge stops carrying frames, and nobody notices until it is cut.
    pub fn stall_edge(&mut self, edge: usize, direction: usize) -> bool {
        let mut stalled = false;
        if let Some(connection) =
            self.edges[edge].connection.and_then(|connection| self.connections.get_mut(&connection))
        {
            stalled = !std::mem::replace(&mut connection.ends[direction & 1].stalled, true);
        }
        stalled
    }

    /// A stalled connection of this edge, if it is one, is found dead.
    pub fn end_stall(&mut self, edge: usize) {
        let connection = self.edges[edge].connection.and_then(|connection| self.connections.get(&connection));
        if connection.is_some_and(|connection| connection.ends.iter().any(|end| end.stalled)) {
            self.cut_edge(edge);
        }
    }

    /// No connection of this edge, from now on.
    pub fn block_edge(&mut self, edge: usize) {
        self.edges[edge].blocked = true;
        self.cut_edge(edge);
    }

    /// Connections of this edge are possible again.
    pub fn open_edge(&mut self, edge: usize) {
        if std::mem::replace(&mut self.edges[edge].blocked, false) {
            self.redial(edge, 1, 200);
        }
    }

    /// How long frames take on this edge.
    pub fn set_delay(&mut self, edge: usize, delay_ms: (u64, u64)) {
        self.edges[edge].delay_ms = delay_ms;
    }
}

/// What a planted defect makes of a message, when it makes anything of it.
fn tampered(plant: Plant, message: Message) -> Option<Bytes> {
    let tampered = match (plant, message) {
        (Plant::NoFence, Message::Ask { nodes, rows, .. }) => Message::Ask { nodes, rows, documents: 0 },
        (Plant::NoFence, Message::Answer { rows, .. }) => Message::Answer { rows, documents: 0 },
        (Plant::ForgetPast, Message::Chunk(mut entries)) => {
            for entry in &mut entries {
                let versions = entry.document.versions().to_vec();
                let tops = versions.iter().map(|version| version.dot).collect();
                entry.document = rejoin_replica::Document::from_parts(tops, versions)?;
            }
            Message::Chunk(entries)
        }
        (Plant::LoseEntry, Message::Chunk(mut entries)) if entries.len() > 1 => {
            entries.pop();
            Message::Chunk(entries)
        }
        (Plant::PushWithoutSuperseded, Message::Push(mut entries)) => {
            for entry in &mut entries {
                entry.superseded.clear();
            }
            Message::Push(entries)
        }
        _ => return None,
    };
    Some(Bytes::from(codec::encode(&tampered)))
}
