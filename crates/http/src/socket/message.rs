//! What a client sends over a socket, and what it is answered.

use hyper::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::answer;
use crate::config::SOCKET_ID_BYTES_MAX;
use crate::object;
use crate::problem::Problem;

/// What a message asks for.
#[derive(Debug)]
pub(super) enum Asked {
    Subscribe {
        prefixes: Vec<String>,
        since: Option<String>,
        snapshot: bool,
    },
    Unsubscribe {
        subscription: Box<RawValue>,
    },
    /// Whether the server is there: browsers show their pages no sign of life of a socket.
    Ping,
    Data(Data),
}

/// A read or a write.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) path: String,
    pub(super) op: Op,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// Which one.
#[derive(Debug)]
pub(super) enum Op {
    Get,
    Put(Box<RawValue>),
    Delete,
}

/// The members that a message may have; which of them belong to which `op` is checked afterwards.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    op: String,
    path: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    ttl: Option<String>,
    idempotency_key: Option<String>,
    prefixes: Option<Vec<String>>,
    since: Option<String>,
    snapshot: Option<bool>,
    #[serde(borrow)]
    subscription: Option<&'a RawValue>,
}

/// `null` is a value, and not its absence.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads a message; or gives the answer that refuses it.
pub(super) fn parse(text: &str) -> Result<(Box<RawValue>, Asked), Reply> {
    let members: Members<'_> = object::from_str(text).map_err(|error| {
        let problem = malformed(&format!("The message cannot be read: {error}."));
        Reply::refused(id_of(text).as_deref(), problem)
    })?;
    let id = match members.id {
        Some(id) if is_id(id) => id.to_owned(),
        _ => {
            let problem =
                malformed("The message has no `id` that is a string or a number of at most 64 bytes.");
            return Err(Reply::refused(None, problem));
        }
    };
    match members.asked() {
        Ok(asked) => Ok((id, asked)),
        Err(message) => Err(Reply::refused(Some(&id), malformed(&message))),
    }
}

impl Members<'_> {
    fn asked(self) -> Result<Asked, String> {
        let Members {
            op,
            path,
            value,
            if_match,
            if_none_match,
            ttl,
            idempotency_key,
            prefixes,
            since,
            snapshot,
            subscription,
            ..
        } = self;
        let given = [
            ("path", path.is_some()),
            ("value", value.is_some()),
            ("ifMatch", if_match.is_some()),
            ("ifNoneMatch", if_none_match.is_some()),
            ("ttl", ttl.is_some()),
            ("idempotencyKey", idempotency_key.is_some()),
            ("prefixes", prefixes.is_some()),
            ("since", since.is_some()),
            ("snapshot", snapshot.is_some()),
            ("subscription", subscription.is_some()),
        ];
        let allowed: &[&str] = match op.as_str() {
            "subscribe" => &["prefixes", "since", "snapshot"],
            "unsubscribe" => &["subscription"],
            "ping" => &[],
            "get" => &["path"],
            "put" => &["path", "value", "ifMatch", "ifNoneMatch", "ttl", "idempotencyKey"],
            "delete" => &["path", "ifMatch", "ifNoneMatch", "idempotencyKey"],
            _ => return Err(format!("The `op` is `{}`.", crate::query::excerpt(&op))),
        };
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
            return Err(format!("A message with `op` `{op}` has no member `{name}`."));
        }
        let missing = |name: &str| format!("A message with `op` `{op}` needs the member `{name}`.");
        let data = match op.as_str() {
            "subscribe" => {
                let (prefixes, snapshot) = (prefixes.unwrap_or_default(), snapshot.unwrap_or(false));
                return Ok(Asked::Subscribe { prefixes, since, snapshot });
            }
            "unsubscribe" => {
                let subscription = subscription.ok_or_else(|| missing("subscription"))?.to_owned();
                return Ok(Asked::Unsubscribe { subscription });
            }
            "ping" => return Ok(Asked::Ping),
            "get" => Op::Get,
            "put" => Op::Put(value.ok_or_else(|| missing("value"))?.to_owned()),
            _ => Op::Delete,
        };
        let path = path.ok_or_else(|| missing("path"))?;
        Ok(Asked::Data(Data { path, op: data, if_match, if_none_match, ttl, idempotency_key }))
    }
}

/// A message that is none.
pub(super) fn malformed(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_message", message).hint(
        "Send one JSON object per text message: `id`, `op` (`subscribe`, `unsubscribe`, `get`, `put`, \
         `delete` or `ping`) and the members of that op; see docs/changes.md.",
    )
}

/// The id of a message that is not one otherwise.
fn id_of(text: &str) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let named: Named<'_> = serde_json::from_str(text).ok()?;
    is_id(named.id).then(|| named.id.to_owned())
}

fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    text.len() <= SOCKET_ID_BYTES_MAX
        && text.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
}

/// The answer to one message.
#[derive(Debug)]
pub(super) struct Reply(String);

impl Reply {
    /// It was done.
    pub(super) fn done(id: &RawValue, result: &impl Serialize) -> Reply {
        Reply(answer::json_text(&Done { id, ok: true, result }))
    }

    /// It was not. The members of every error follow.
    pub(super) fn refused(id: Option<&RawValue>, problem: Problem) -> Reply {
        let (status, json) = (problem.status().as_u16(), problem.json());
        let (id, members) = (id.map_or("null", RawValue::get), json.trim_start_matches('{'));
        Reply(format!("{{\"id\":{id},\"ok\":false,\"status\":{status},{members}"))
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

#[derive(Serialize)]
struct Done<'a, T> {
    id: &'a RawValue,
    ok: bool,
    result: &'a T,
}

/// The result of subscribing.
#[derive(Serialize)]
pub(super) struct Subscribed {
    /// Where the subscription begins.
    pub(super) token: String,
}

/// A result without members.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).map(|(_, asked)| panic!("{asked:?}")).unwrap_err().text()
    }

    #[test]
    fn messages_are_read() {
        let (id, asked) = parse(r#"{"id":"a","op":"put","path":"x","value":null}"#).unwrap();
        assert_eq!(id.get(), "\"a\"");
        let Asked::Data(Data { op: Op::Put(value), .. }) = asked else { panic!("{asked:?}") };
        assert_eq!(value.get(), "null", "null is a value");
        let (id, asked) =
            parse(r#"{"id":-1.5e3,"op":"subscribe","prefixes":["a"],"snapshot":true}"#).unwrap();
        assert_eq!(id.get(), "-1.5e3");
        assert!(matches!(asked, Asked::Subscribe { snapshot: true, .. }), "{asked:?}");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id_when_there_is_one() {
        for (text, id, said) in [
            ("{", "null", "cannot be read"),
            ("[]", "null", "cannot be read"),
            (r#"{"op":"get","path":"x"}"#, "null", "no `id`"),
            (r#"{"id":null,"op":"get","path":"x"}"#, "null", "no `id`"),
            (r#"{"id":[1],"op":"get","path":"x"}"#, "null", "no `id`"),
            (r#"{"id":1,"op":"get"}"#, "1", "needs the member `path`"),
            (r#"{"id":1,"op":"put","path":"x"}"#, "1", "needs the member `value`"),
            (r#"{"id":1,"op":"get","path":"x","value":1}"#, "1", "no member `value`"),
            (r#"{"id":1,"op":"jump"}"#, "1", "`jump`"),
            (r#"{"id":1,"op":"get","path":"x","extra":1}"#, "1", "extra"),
            (r#"{"id":1,"op":"subscribe","prefixes":"a"}"#, "1", "cannot be read"),
        ] {
            let reply: serde_json::Value = serde_json::from_str(&refused(text)).unwrap();
            assert_eq!(reply["id"].to_string(), id, "{text}");
            assert_eq!((&reply["ok"], &reply["error"]), (&false.into(), &"invalid_message".into()), "{text}");
            assert!(reply["message"].as_str().unwrap().contains(said), "{text}: {reply}");
        }
        assert!(refused(&format!(r#"{{"id":"{}","op":"get"}}"#, "x".repeat(80))).contains("no `id`"));
    }
}
