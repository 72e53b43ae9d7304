//! Frames of a link: decoding is total, bounded and exact.

use rejoin_replica::Message;
use rejoin_replica::codec::{allowance, decode, decode_counted, encode};
use rejoin_replica::path::Path;

use crate::meter;

/// Bytes that decoding may take beside what is counted: an error, and the names of one small object while it is checked.
const BYTES_FIXED: usize = 2_048;

/// The frame decoder of the replica.
pub fn frame(data: &[u8]) {
    let (decoded, peak) = meter::peak_of(|| decode_counted(data));
    // Proportional to the frame for what is small, and no more than a fixed amount beyond its text for what is not.
    let allowed = BYTES_FIXED + allowance(data.len()).memory;
    assert!(peak <= allowed, "{} bytes took {peak} bytes to decode, {allowed} are allowed", data.len());
    let Ok((message, counted)) = decoded else { return };
    assert!(peak <= BYTES_FIXED + counted, "{peak} bytes were taken, and {counted} counted");

    let frame = encode(&message);
    let again = decode(&frame);
    assert_eq!(again.as_ref(), Ok(&message), "a message does not survive the wire");
    assert_eq!(encode(&message), frame, "a message has two encodings");
    assert!(decode(&frame[..frame.len() - 1]).is_err(), "a frame cut short is taken");
    assert!(decode(&[&frame[..], &[0]].concat()).is_err(), "a byte behind a frame is taken");
    promises(&message);
}

/// What everybody behind the decoder relies on.
fn promises(message: &Message) {
    match message {
        Message::Push(entries) | Message::Chunk(entries) => {
            for entry in entries {
                legal(&entry.path);
                assert!(!entry.document.is_empty(), "an entry without versions");
                let covered = entry.claims().all(|dot| entry.document.vv().covers(dot));
                assert!(covered, "an entry claims what its state does not cover");
            }
        }
        Message::Exchange(states) | Message::Exchanged { states, .. } => {
            for (path, document) in states {
                legal(path);
                let Some(document) = document else { continue };
                assert!(
                    !document.is_empty(),
                    "a state without versions: it would remove all, and show nothing"
                );
                let covered = document.versions().iter().all(|version| document.vv().covers(version.dot));
                assert!(covered, "a state does not cover its versions");
            }
        }
        Message::Compare(ranges) | Message::Differences { splits: ranges, .. } => {
            for range in ranges {
                assert!(
                    range.upper.as_ref().is_none_or(|upper| range.lower < *upper),
                    "a range that is empty"
                );
            }
        }
        _ => {}
    }
}

fn legal(path: &Path) {
    assert_eq!(Path::parse(path.as_str()).as_ref(), Ok(path));
}
