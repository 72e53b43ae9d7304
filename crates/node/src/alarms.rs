//! What an operator must hear of: logged once, and standing in the status until it is over or old.
//!
//! A log line alone is missed. So an alarm also stands in `GET /api/status`, in the metrics and in `/readyz?verbose`, with
//! since when, when last and how often. An alarm that is raised again counts and does not log more than once a minute.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rejoin_replica::Alarm;

use crate::shared::lock;

/// Alarms that stand at once. 256: more than a person reads; beyond it the one that was heard of longest ago gives way.
const ALARMS_MAX: usize = 256;

/// Time between two log lines about the same thing.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How long an alarm stands after it was last raised, unless something ends it before: a day, so that whoever looks once a day
/// sees it.
const STANDS_FOR: Duration = Duration::from_secs(24 * 3600);

/// An alarm that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingAlarm {
    /// What kind of alarm, as a stable word: `clone`, `removals-stopped`, ….
    pub kind: &'static str,
    /// What it is about: a path, a node, a link.
    pub subject: String,
    /// What is the matter, as a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
    /// When it was first raised.
    pub since: SystemTime,
    /// When it was last raised.
    pub last: SystemTime,
    /// How often it was raised.
    pub count: u64,
}

/// The alarms of a node.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    standing: Mutex<BTreeMap<(&'static str, String), Entry>>,
}

#[derive(Debug)]
struct Entry {
    alarm: StandingAlarm,
    raised: Instant,
    logged: Instant,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
}

/// An alarm in words.
struct Told {
    kind: &'static str,
    subject: String,
    level: Level,
    message: String,
    hint: &'static str,
}

impl Alarms {
    /// Raises an alarm, or notes that one which stands was raised again.
    pub(crate) fn raise(&self, alarm: &Alarm) {
        if self.end(alarm) {
            return;
        }
        let Told { kind, subject, level, message, hint } = tell(alarm);
        let now = Instant::now();
        let mut standing = lock(&self.standing);
        let key = (kind, subject);
        let log = match standing.get_mut(&key) {
            Some(entry) => {
                entry.alarm.last = SystemTime::now();
                entry.alarm.count += 1;
                entry.alarm.message.clone_from(&message);
                entry.raised = now;
                let log = now.duration_since(entry.logged) >= LOG_AGAIN_AFTER;
                if log {
                    entry.logged = now;
                }
                log
            }
            None => {
                make_room(&mut standing, now);
                let wall = SystemTime::now();
                let subject = key.1.clone();
                let message = message.clone();
                let alarm = StandingAlarm { kind, subject, message, hint, since: wall, last: wall, count: 1 };
                standing.insert(key.clone(), Entry { alarm, raised: now, logged: now });
                true
            }
        };
        drop(standing);
        let subject = key.1;
        match level {
            _ if !log => {}
            Level::Error => tracing::error!(kind, subject, hint, "{message}"),
            Level::Warn => tracing::warn!(kind, subject, hint, "{message}"),
        }
    }

    /// Ends the alarm that this one says is over; false when it says no such thing.
    fn end(&self, alarm: &Alarm) -> bool {
        let (kind, subject) = match alarm {
            Alarm::ClockRecovered { restamped } => {
                tracing::info!(restamped, "the stamps follow the wall clock again");
                ("clock-ahead", "this node".to_owned())
            }
            Alarm::ClockAgrees => {
                tracing::info!("most peers have the same time as this node again");
                ("clock-differs", "this node".to_owned())
            }
            Alarm::PeerClockAgrees { peer } => {
                tracing::info!(%peer, "the peer has the same time as this node again");
                ("peer-clock", peer.to_string())
            }
            _ => return false,
        };
        lock(&self.standing).remove(&(kind, subject));
        true
    }

    /// The alarms that stand, by kind and subject.
    pub(crate) fn standing(&self) -> Vec<StandingAlarm> {
        let mut standing = lock(&self.standing);
        forget_old(&mut standing, Instant::now());
        standing.values().map(|entry| entry.alarm.clone()).collect()
    }
}

type Standing = BTreeMap<(&'static str, String), Entry>;

fn forget_old(standing: &mut Standing, now: Instant) {
    standing.retain(|_, entry| now.duration_since(entry.raised) < STANDS_FOR);
}

fn make_room(standing: &mut Standing, now: Instant) {
    forget_old(standing, now);
    if standing.len() >= ALARMS_MAX {
        let oldest = standing.iter().min_by_key(|(_, entry)| entry.raised).map(|(key, _)| key.clone());
        oldest.map(|key| standing.remove(&key));
    }
}

/// A time in the largest unit that makes it no less than two, for people.
fn shown(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    let units = [(365 * 86_400_000, "years"), (86_400_000, "days"), (3_600_000, "h"), (60_000, "min")];
    let (unit_ms, name) = units.into_iter().find(|(unit_ms, _)| ms >= 2 * unit_ms).unwrap_or((1000, "s"));
    format!("{} {name}", ms / unit_ms)
}

/// On which side a clock is.
fn side(ahead_ms: i64) -> String {
    format!("{} {}", shown(ahead_ms), if ahead_ms < 0 { "behind that" } else { "ahead of that" })
}

/// The words for an alarm.
fn tell(alarm: &Alarm) -> Told {
    let told =
        |kind, subject: String, level, message: String, hint| Told { kind, subject, level, message, hint };
    match alarm {
        Alarm::Clone { epoch } => told(
            "clone",
            format!("{:016x}", epoch.0),
            Level::Error,
            "another process runs under this node's identity; this one takes a new identity".to_owned(),
            "Find the copy of this data directory that runs elsewhere, and stop it or start it from an empty directory.",
        ),
        Alarm::OlderClone { epoch } => told(
            "clone",
            format!("{:016x}", epoch.0),
            Level::Error,
            "another process runs under this node's identity, and was started before; it takes a new identity".to_owned(),
            "Find the original of this data directory, or the copy of it, that runs elsewhere, and stop the one that is not to \
             be.",
        ),
        Alarm::RemovalsStopped { peer, removed } => told(
            "removals-stopped",
            peer.to_string(),
            Level::Error,
            format!("node {peer} would remove too many documents here ({removed}) and was stopped"),
            "If the documents are to go, set sync.allow_removals on this node until the two are equal.",
        ),
        Alarm::RemovalsHeld { peer, versions } => told(
            "removals-held",
            peer.to_string(),
            Level::Warn,
            format!(
                "{versions} documents that node {peer} says are deleted stay for now: the budget of removals is used up"
            ),
            "See who was stopped for removing too much. If the documents are to go, set sync.allow_removals.",
        ),
        Alarm::OwnWriteRemoved { path, dot, word, link } => told(
            "own-write-removed",
            path.as_str().to_owned(),
            Level::Warn,
            format!(
                "write {dot} of this node was removed because node {} says (by {}, over link {}) that it is gone",
                word.peer,
                word.reason.name(),
                link.0
            ),
            "Right if it was deleted elsewhere long ago. If not, `rejoin undo-removals` brings it back from history.",
        ),
        Alarm::Unasked { link, peer, what } => told(
            "unasked",
            peer.to_string(),
            Level::Warn,
            format!(
                "node {peer} sends what nobody asked it for, over link {}: {what}; it was ignored",
                link.0
            ),
            "A peer of this version does not do that. See what runs there.",
        ),
        Alarm::UnmadeWrite { link, peer, dot } => told(
            "unmade-write",
            peer.to_string(),
            Level::Error,
            format!(
                "node {peer} names, over link {}, write {dot} of this node, which this node never made",
                link.0
            ),
            "Look for a copy of this node's data directory or machine that runs elsewhere; or a peer made it up.",
        ),
        Alarm::UnsignedReceipts { link, peer, count } => told(
            "unsigned-receipts",
            peer.to_string(),
            Level::Error,
            format!(
                "node {peer} passed on {count} receipts over link {} that their nodes have not signed; they do not count",
                link.0
            ),
            "A peer of this version does not do that. See what runs there.",
        ),
        Alarm::UnexplainedRows { peer, rows } => told(
            "unexplained-rows",
            peer.to_string(),
            Level::Warn,
            format!("{rows} rows of what node {peer} claims are left out: too many unknown lives, or pieces"),
            "In a cluster with a history of very many restarts, link to another peer as well, or restart this node.",
        ),
        Alarm::Quarantined { author, peer, documents, path, ahead_ms } => told(
            "quarantine",
            author.to_string(),
            Level::Warn,
            format!(
                "{documents} documents that node {author} wrote wait in quarantine, one of them {path}: their stamps are up to \
                 {} ahead of this clock; the last came from node {peer}",
                shown(ahead_ms.cast_signed())
            ),
            "Correct the clock of that node: it then mints them again by itself. `rejoin quarantine release` takes them as they are.",
        ),
        Alarm::ClockAhead { ahead_ms } => told(
            "clock-ahead",
            "this node".to_owned(),
            Level::Error,
            format!(
                "the stamps of this node are {} ahead of its wall clock, which was wrong or is now; peers hold such writes in \
                 quarantine",
                shown(ahead_ms.cast_signed())
            ),
            "Keep the clock right with NTP. Once most peers have the same time, the node recovers by itself.",
        ),
        Alarm::ClockDiffers { ahead_ms } => told(
            "clock-differs",
            "this node".to_owned(),
            Level::Error,
            format!("the clock of this node is {} of most of its peers", side(*ahead_ms)),
            "Set the clock of this node, or theirs, and keep it right with NTP.",
        ),
        Alarm::PeerClock { peer, ahead_ms } => told(
            "peer-clock",
            peer.to_string(),
            Level::Warn,
            format!("the clock of node {peer} is {} of this one", side(*ahead_ms)),
            "Set the clock of that node, or of this one, and keep it right with NTP.",
        ),
        Alarm::ClockRecovered { .. } | Alarm::ClockAgrees | Alarm::PeerClockAgrees { .. } => told(
            "clock-right",
            "a clock".to_owned(),
            Level::Warn,
            "a clock is right again".to_owned(),
            "There is nothing to do.",
        ),
        Alarm::LifeDoubted { life: (node, epoch), reason, own } => {
            let whose = if *own { "this node" } else { "another node" };
            told(
                "life-doubted",
                format!("{node}.{:016x}", epoch.0),
                Level::Error,
                format!(
                    "two processes may have gone on in one life of {whose} ({}): its writes from before may have pushed \
                     each other out, and what rests on them is no longer removed here",
                    reason.name()
                ),
                "Find out which machine was copied or set back with its memory and stop all but one; compare what it wrote \
                 since with what is here. The node goes on under a new identity by itself.",
            )
        }
        Alarm::SameDotTwice { peer, dot, ours, theirs } => told(
            "same-dot-twice",
            format!("{}.{:016x}", dot.node, dot.epoch.0),
            Level::Error,
            format!(
                "node {peer} sent version {dot} at {} with another content than the one known here at {}",
                theirs.as_str(),
                ours.as_str()
            ),
            "Either the machine of that version's node was copied or set back with its memory, or the peer lies. Compare the \
             two paths on both nodes. Removals that rest on it are held back here for a day.",
        ),
        Alarm::Undeliverable { path, bytes, versions, peer } => told(
            "undeliverable",
            path.as_str().to_owned(),
            Level::Error,
            match bytes {
                0 => format!("node {peer} has a document here that is too large to be sent"),
                _ => format!("{bytes} bytes in {versions} versions are too large to be sent to node {peer}"),
            },
            "Read the path on the node that has it and merge its versions into one that is small. Everything else is sent.",
        ),
        Alarm::Siblings { path, versions, bytes } => told(
            "siblings",
            path.as_str().to_owned(),
            Level::Warn,
            format!("{versions} versions with {bytes} bytes are live beside each other"),
            "Settle the conflict, or have writers read and merge before they write: at twice as much writes are refused.",
        ),
        Alarm::Resolver(path) => told(
            "resolver-failed",
            path.as_str().to_owned(),
            Level::Warn,
            "the conflict resolver failed; readers see the newest version".to_owned(),
            "Run `rejoin resolver test` with the versions that `rejoin explain` shows.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(path: &str) -> Alarm {
        Alarm::Resolver(rejoin_replica::path::Path::parse(path).expect("a path"))
    }

    #[test]
    fn an_alarm_that_is_raised_again_counts_and_stands_once() {
        let alarms = Alarms::default();
        alarms.raise(&resolver("a"));
        alarms.raise(&resolver("a"));
        alarms.raise(&resolver("b"));
        let counts: Vec<(String, u64)> =
            alarms.standing().into_iter().map(|alarm| (alarm.subject, alarm.count)).collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    }

    #[test]
    fn a_flood_of_alarms_pushes_out_the_one_heard_of_longest_ago() {
        let alarms = Alarms::default();
        for number in 0..=ALARMS_MAX {
            alarms.raise(&resolver(&format!("path{number}")));
        }
        let standing = alarms.standing();
        assert_eq!(standing.len(), ALARMS_MAX);
        assert!(!standing.iter().any(|alarm| alarm.subject == "path0"));
    }
}
