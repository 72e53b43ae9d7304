//! Two links of one peer: one process that has dialed again, or two that run as one life.
//!
//! Whoever gets a second link of a peer lets the two ends shake hands through itself before it believes the second
//! ([`rejoin_link::Introduction`]). One process tells its own nonce; two find each other out, doubt their life, and come back
//! under new identities. The documents of the second are not looked at before that.
//!
//! ```text
//! 30 . 1 . role      to an end: begin, as dialer (1) or listener (2)
//! 30 . 2 . message   to an end: what the other one said
//! 30 . 3 . message   from an end: carry this
//! 30 . 4 . outcome   from an end: one process (0), a twin (1), something else (2)
//! ```

use bytes::Bytes;
use rejoin_causal::Epoch;
use rejoin_link::{Acquaintance, Identity, Introduction, LinkReceiver, LinkSender};
use rejoin_replica::{DoubtReason, Input};
use tokio::sync::mpsc;

use crate::config::{
    INTRODUCTION_BYTES_MAX, INTRODUCTION_EARLY_FRAMES_MAX, INTRODUCTION_WAIT_MAX, INTRODUCTIONS_PER_LINK,
};
use crate::shared::Shared;

/// The type of these frames. They are the shell's: no replica sees one.
pub(crate) const FRAME_TYPE: u8 = 30;

/// What the two ends of a pair of links are to each other, as far as they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One process.
    Itself,
    /// Two that run as one life.
    Twins,
    /// Not known: an end is gone, or says nothing.
    Unknown,
}

/// A word of an introduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Begin { dialer: bool },
    Carried(Vec<u8>),
    Said(Vec<u8>),
    Over(Outcome),
}

impl Word {
    pub(crate) fn encode(&self) -> Bytes {
        let (kind, payload): (u8, &[u8]) = match self {
            Word::Begin { dialer: true } => (1, &[1]),
            Word::Begin { dialer: false } => (1, &[2]),
            Word::Carried(message) => (2, message),
            Word::Said(message) => (3, message),
            Word::Over(Outcome::Itself) => (4, &[0]),
            Word::Over(Outcome::Twins) => (4, &[1]),
            Word::Over(Outcome::Unknown) => (4, &[2]),
        };
        [&[FRAME_TYPE, kind], payload].concat().into()
    }

    pub(crate) fn decode(frame: &[u8]) -> Option<Word> {
        let [FRAME_TYPE, kind, payload @ ..] = frame else { return None };
        if payload.len() > INTRODUCTION_BYTES_MAX {
            return None;
        }
        match (kind, payload) {
            (1, [1]) => Some(Word::Begin { dialer: true }),
            (1, [2]) => Some(Word::Begin { dialer: false }),
            (2, message) => Some(Word::Carried(message.to_vec())),
            (3, message) => Some(Word::Said(message.to_vec())),
            (4, [0]) => Some(Word::Over(Outcome::Itself)),
            (4, [1]) => Some(Word::Over(Outcome::Twins)),
            (4, [2]) => Some(Word::Over(Outcome::Unknown)),
            _ => None,
        }
    }
}

/// One end of introductions over one link.
pub(crate) struct Guest<'a> {
    us: &'a Identity,
    open: Option<Introduction<'a>>,
    begun: u32,
}

impl<'a> Guest<'a> {
    /// `us` is what this node said of itself on the link.
    pub(crate) fn new(us: &'a Identity) -> Guest<'a> {
        Guest { us, open: None, begun: 0 }
    }

    /// Takes a word; what to answer, and what was found out.
    fn hear(&mut self, word: Word) -> (Option<Word>, Option<Input>) {
        let message = match word {
            // Each costs a signature: a peer that asks for more is not answered.
            Word::Begin { dialer } if self.begun < INTRODUCTIONS_PER_LINK => {
                self.begun += 1;
                self.open = None;
                let Ok((introduction, hello)) = Introduction::begin(self.us, dialer) else {
                    return (Some(Word::Over(Outcome::Unknown)), None);
                };
                self.open = Some(introduction);
                return (Some(Word::Said(hello)), None);
            }
            Word::Carried(message) => message,
            Word::Begin { .. } | Word::Said(_) | Word::Over(_) => return (None, None),
        };
        let Some(open) = &mut self.open else { return (None, None) };
        let (outcome, found) = match open.hear(&message) {
            Acquaintance::Say(message) => return (Some(Word::Said(message)), None),
            Acquaintance::Itself => (Outcome::Itself, None),
            Acquaintance::Stranger => (Outcome::Unknown, None),
            Acquaintance::Clone { epoch } => {
                (Outcome::Unknown, Some(Input::CloneSeen { epoch: Epoch(epoch) }))
            }
            Acquaintance::Twin => {
                let doubt = Input::SelfDoubt { epoch: Epoch(self.us.epoch), reason: DoubtReason::Twin };
                (Outcome::Twins, Some(doubt))
            }
        };
        self.open = None;
        (Some(Word::Over(outcome)), found)
    }

    /// Takes a word that came over the link of this end, and does what comes of it.
    pub(crate) async fn take(&mut self, shared: &Shared, sender: &LinkSender, word: Word) {
        let (answer, found) = self.hear(word);
        if let Some(answer) = answer {
            // A link that has ended says so where it is read.
            let _ = sender.send(answer.encode()).await;
        }
        if let Some(found) = found {
            shared.tell(found).await;
        }
    }
}

/// Lets the other ends of two links shake hands. `rival` is the link that is up; the new one is read here, and what comes
/// over it that is not about this is put by.
pub(crate) async fn introduce(
    shared: &Shared,
    rival: &LinkSender,
    mut from_rival: mpsc::Receiver<Word>,
    sender: &LinkSender,
    receiver: &mut LinkReceiver,
    guest: &mut Guest<'_>,
    early: &mut Vec<Bytes>,
) -> Outcome {
    let carrying = async {
        let begin = |dialer| Word::Begin { dialer }.encode();
        if sender.send(begin(true)).await.is_err() || rival.send(begin(false)).await.is_err() {
            return Outcome::Unknown;
        }
        loop {
            let (word, to) = tokio::select! {
                word = from_rival.recv() => match word {
                    Some(word) => (word, sender),
                    None => return Outcome::Unknown,
                },
                received = receiver.recv() => match received {
                    Ok(Some(frame)) => match Word::decode(&frame) {
                        Some(word) => (word, rival),
                        None if early.len() < INTRODUCTION_EARLY_FRAMES_MAX => {
                            early.push(frame);
                            continue;
                        }
                        None => return Outcome::Unknown,
                    },
                    _ => return Outcome::Unknown,
                },
            };
            match word {
                Word::Said(message) => {
                    if to.send(Word::Carried(message).encode()).await.is_err() {
                        return Outcome::Unknown;
                    }
                }
                Word::Over(outcome) => return outcome,
                // The other side has two links of ours, too.
                word => guest.take(shared, sender, word).await,
            }
        }
    };
    tokio::time::timeout(INTRODUCTION_WAIT_MAX, carrying).await.unwrap_or(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rejoin_link::{ClusterId, NodeKey, OpenHandshakes};

    use super::*;

    fn identity() -> Identity {
        Identity {
            key: Arc::new(NodeKey::from_seed([7; 32])),
            cluster: ClusterId::of_name("default"),
            secret: None,
            name: "anna".to_owned(),
            epoch: 5,
            policy: [0; 16],
            handshakes: OpenHandshakes::default(),
        }
    }

    /// Carries everything that two ends say, to the end of both.
    fn carry(one: &Identity, other: &Identity) -> [(Outcome, Option<Input>); 2] {
        let mut guests = [Guest::new(one), Guest::new(other)];
        let mut said = vec![(0, Word::Begin { dialer: true }), (1, Word::Begin { dialer: false })];
        let mut over = [(Outcome::Unknown, None), (Outcome::Unknown, None)];
        while !said.is_empty() {
            let (to, word) = said.remove(0);
            match guests[to].hear(Word::decode(&word.encode()).expect("a word")) {
                (Some(Word::Said(message)), _) => said.push((1 - to, Word::Carried(message))),
                (Some(Word::Over(outcome)), found) => over[to] = (outcome, found),
                _ => {}
            }
        }
        over
    }

    #[test]
    fn one_process_with_two_links_is_itself_and_two_processes_are_twins() {
        let (anna, copy) = (identity(), identity());
        let itself = (Outcome::Itself, None);
        assert!(carry(&anna, &anna).contains(&itself));
        let doubt = Input::SelfDoubt { epoch: Epoch(5), reason: DoubtReason::Twin };
        let twin = (Outcome::Twins, Some(doubt));
        assert_eq!(carry(&anna, &copy), [twin.clone(), twin]);
    }

    #[test]
    fn a_peer_that_asks_for_signatures_without_end_gets_some() {
        let anna = identity();
        let mut guest = Guest::new(&anna);
        let answers = (0..100).filter(|_| guest.hear(Word::Begin { dialer: true }).0.is_some()).count();
        assert_eq!(answers, INTRODUCTIONS_PER_LINK as usize);
    }

    #[test]
    fn what_is_no_word_is_refused() {
        assert_eq!(Word::decode(&[]), None);
        assert_eq!(Word::decode(&[FRAME_TYPE]), None);
        assert_eq!(Word::decode(&[FRAME_TYPE, 1, 3]), None);
        assert_eq!(Word::decode(&[FRAME_TYPE, 5, 0]), None);
        assert_eq!(
            Word::decode(&[&[FRAME_TYPE, 2][..], &vec![0; INTRODUCTION_BYTES_MAX + 1]].concat()),
            None
        );
        let longest = Word::Carried(vec![0; INTRODUCTION_BYTES_MAX]);
        assert_eq!(Word::decode(&longest.encode()), Some(longest));
    }
}
