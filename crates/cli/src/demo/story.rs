//! What happens: write here, read there; part, disagree, come together.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rejoin::Hlc;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Narrator;
use super::narrator::rounded;
use super::stage::{Actor, Cast, arrival, failed};
use crate::Ended;
use crate::failure::Failure;

/// Ruled by last-write-wins, the default.
const MOTD: &str = "motd";
/// Ruled by merge-fields.
const ALICE: &str = "users/alice";
/// Deleted on one side.
const DRAFT: &str = "notes/draft";
/// Written on one side only.
const NEWS: &str = "news/1";

/// Before the nodes are there.
pub(super) fn open(narrator: &mut Narrator) -> Ended {
    narrator.title("rejoin demo: three nodes that sync along a chain    a ─── b ─── c")?;
    narrator.step("Start")
}

/// All that happens, from the first link to the last word.
pub(super) async fn tell(narrator: &mut Narrator, cast: &Cast, opened: Duration) -> Ended {
    start(narrator, cast, opened).await?;
    write_here_read_there(narrator, cast).await?;
    part_and_disagree(narrator, cast).await?;
    come_together(narrator, cast).await?;
    your_turn(narrator, cast)
}

async fn start(narrator: &mut Narrator, cast: &Cast, opened: Duration) -> Ended {
    let started = Instant::now();
    cast.linked().await?;
    let linked = started.elapsed();
    for actor in cast.all() {
        let id = actor.node.info().id.to_string();
        let peers = match actor.letter {
            'a' => "linked to b        ",
            'b' => "linked to a and c  ",
            _ => "linked to b        ",
        };
        narrator.tell(format_args!("{}  {}  {peers}{}", actor.letter, actor.url, narrator.dim(id)))?;
    }
    narrator.done("three stores opened on disk in", opened)?;
    narrator.done("two links up in", linked)?;
    narrator.tell("a and c never talk to each other: all that they share goes through b")?;
    let nodes = cast.all().map(
        |actor| json!({ "name": actor.letter, "url": actor.url, "id": actor.node.info().id.to_string() }),
    );
    narrator
        .facts("start", json!({ "nodes": nodes, "openedMs": rounded(opened), "linkedMs": rounded(linked) }))
}

async fn write_here_read_there(narrator: &mut Narrator, cast: &Cast) -> Ended {
    narrator.step("Write at one end, read at the other")?;
    // Listening at c begins before the write at a.
    let mut at_c = cast.c.node.subscribe("")?;
    let mut arrivals = Vec::new();
    for (path, text) in [
        (MOTD, r#""hello""#),
        (ALICE, r#"{"name":"Alice","city":"Rome","age":41}"#),
        (DRAFT, r#""to be deleted""#),
    ] {
        // As text: members keep the order in which they are written.
        let value: &RawValue = serde_json::from_str(text).map_err(std::io::Error::other)?;
        let started = Instant::now();
        cast.a.node.put(path, value).await?;
        let durable = started.elapsed();
        arrival(&mut at_c, path).await?;
        let arrived = started.elapsed();
        narrator.tell(format_args!("a: put {path} = {text}"))?;
        narrator.done(format_args!("c, two hops away, tells its subscriber after"), arrived)?;
        arrivals.push(json!({
            "path": path, "value": value, "durableAtAMs": rounded(durable), "arrivedAtCMs": rounded(arrived),
        }));
    }
    narrator.facts("write", json!({ "writes": arrivals }))
}

async fn part_and_disagree(narrator: &mut Narrator, cast: &Cast) -> Ended {
    narrator.step("Cut the link between b and c, and write on both sides    a ─── b ─╳─ c")?;
    let started = Instant::now();
    cast.cut().await?;
    narrator.done("cut; both sides go on by themselves", started.elapsed())?;
    let mut at_b = cast.b.node.subscribe("")?;
    let (a, c) = (&cast.a.node, &cast.c.node);

    let morning = a.put(MOTD, "good morning from a").await?;
    // Clocks count milliseconds; within one of them the node ids would decide which write is the later.
    a_moment_after(morning.hlc).await;
    c.put(MOTD, "good evening from c").await?;
    a.patch(ALICE, &json!({ "age": 42 })).await?;
    c.patch(ALICE, &json!({ "city": "Paris" })).await?;
    c.put(NEWS, "written while c was alone").await?;
    a.delete(DRAFT).await?;
    arrival(&mut at_b, DRAFT).await?;

    table(narrator, cast)?;
    narrator.facts("part", json!({ "cutMs": rounded(started.elapsed()), "values": values(cast)? }))
}

async fn come_together(narrator: &mut Narrator, cast: &Cast) -> Ended {
    narrator.step("Heal the link    a ─── b ─── c")?;
    let (took, digest) = cast.heal().await?;
    narrator.done("the digests of all three nodes are equal after", took)?;
    narrator.tell(narrator.dim(format_args!("  digest {digest}")))?;
    table(narrator, cast)?;

    let expected = [
        (MOTD, Some("\"good evening from c\"".to_owned())),
        (ALICE, Some(json!({ "name": "Alice", "city": "Paris", "age": 42 }).to_string())),
        (DRAFT, None),
        (NEWS, Some("\"written while c was alone\"".to_owned())),
    ];
    for actor in cast.all() {
        for (path, value) in &expected {
            expect(actor, path, value.as_deref())?;
        }
    }
    let lost = loser(cast)?;
    let history = cast.c.node.history(DRAFT).await?;
    let deleted = history.iter().find_map(|version| version.value.as_ref());
    let deleted =
        deleted.ok_or_else(|| failed(format!("Node c has no history of {DRAFT}.")))?.as_str().to_owned();
    narrator.blank()?;
    for (path, said) in [
        (MOTD, format!("last-write-wins: the later write shows; the loser is kept on every node: {lost}")),
        (ALICE, "merge-fields: a's new age and c's new city are both there".to_owned()),
        (DRAFT, format!("deleted on every node; its history still has {deleted}")),
        (NEWS, "written while c was alone, and now everywhere".to_owned()),
    ] {
        narrator.tell(format_args!("{path:<12} {said}"))?;
    }
    narrator.tell("Nothing was lost.")?;
    narrator.facts(
        "heal",
        json!({
            "convergedMs": rounded(took), "digest": digest, "values": values(cast)?,
            "losing": { "path": MOTD, "value": json_of(&lost) },
            "history": { "path": DRAFT, "value": json_of(&deleted) },
        }),
    )
}

fn your_turn(narrator: &mut Narrator, cast: &Cast) -> Ended {
    narrator.step("Your turn")?;
    let (a, c) = (&cast.a.url, &cast.c.url);
    let commands = [
        format!(
            "curl -X PUT {a}/api/users/bob -H 'Content-Type: application/json' -d '{{\"name\":\"Bob\"}}'"
        ),
        format!("curl {c}/api/users/bob"),
        format!("curl {c}/api/scan/users/"),
        format!("curl {c}/api/_explain/{MOTD}"),
        format!("curl {c}/api/history/{DRAFT}"),
        format!("curl -N '{c}/api/_changes?since=0&feed=eventsource'"),
        format!("curl {}/api/status", cast.b.url),
    ];
    for command in &commands {
        narrator.tell(command)?;
    }
    narrator.facts("your-turn", json!({ "try": commands }))
}

/// Who shows what.
fn table(narrator: &Narrator, cast: &Cast) -> Ended {
    narrator.blank()?;
    for path in [MOTD, ALICE, DRAFT, NEWS] {
        let mut groups: Vec<(String, String)> = Vec::new();
        for actor in cast.all() {
            let value = actor.value(path)?.unwrap_or_else(|| "—".to_owned());
            match groups.last_mut() {
                Some((letters, shown)) if *shown == value => {
                    letters.push(' ');
                    letters.push(actor.letter);
                }
                _ => groups.push((actor.letter.to_string(), value)),
            }
        }
        for (number, (letters, value)) in groups.iter().enumerate() {
            let path = if number == 0 { path } else { "" };
            narrator
                .tell(format_args!("{path:<12} {}  {value}", narrator.dim(format_args!("{letters:<5}"))))?;
        }
    }
    Ok(())
}

fn values(cast: &Cast) -> Result<Value, Failure> {
    let mut values = serde_json::Map::new();
    for actor in cast.all() {
        let mut shown = serde_json::Map::new();
        for path in [MOTD, ALICE, DRAFT, NEWS] {
            if let Some(value) = actor.value(path)? {
                shown.insert(path.to_owned(), json_of(&value));
            }
        }
        values.insert(actor.letter.to_string(), Value::Object(shown));
    }
    Ok(Value::Object(values))
}

/// The losing write of the message, which every node must still have.
fn loser(cast: &Cast) -> Result<String, Failure> {
    let mut found = None;
    for actor in cast.all() {
        let entry = actor.entry(MOTD)?;
        let loser =
            entry.siblings.iter().find(|sibling| !sibling.wins).and_then(|sibling| sibling.value.clone());
        let loser =
            loser.ok_or_else(|| failed(format!("Node {} has lost the losing write.", actor.letter)))?;
        found = Some(loser.as_str().to_owned());
    }
    found.ok_or_else(|| failed("Nobody is on stage.".to_owned()))
}

async fn a_moment_after(stamp: Hlc) {
    let unix_ms =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(u128::MAX, |since| since.as_millis());
    while unix_ms() <= u128::from(stamp.unix_ms()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn expect(actor: &Actor, path: &str, expected: Option<&str>) -> Ended {
    let shown = actor.value(path)?;
    // Members may come in any order: what counts is the value.
    if shown.as_deref().map(json_of) == expected.map(json_of) {
        return Ok(());
    }
    let text = |value: Option<&str>| value.unwrap_or("nothing").to_owned();
    Err(failed(format!(
        "Node {} shows {} at {path}, not {}.",
        actor.letter,
        text(shown.as_deref()),
        text(expected)
    )))
}

/// Text that is JSON, as a value.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
