//! Telling a torn journal from a damaged one, before fjall opens it, and cutting the torn end off.
//!
//! fjall replays its journal up to the first record it cannot read and truncates the file there. That is right for the
//! remains of a commit the process died in, and silent loss when the record lies in the middle and whole commits follow
//! it. A last batch that has both its ends, but not all of what lies between, is an error to it, though a power cut leaves
//! just that behind: the pages of a commit reach the disk in any order. This module reads the structure of a journal (fjall
//! format 3) and the checksum of its last batch; checksums of earlier ones are left to fjall, which reports them as errors.
//!
//! A journal is a row of batches, then zeros or nothing:
//!
//! ```text
//! batch := 1 count:u32 seqno:u64  entry{count}  3 checksum:u64 "FJL" 3         (integers little endian)
//! entry := 2 type:u8 compression:u8 keyspace:u64 key_bytes:u16 value_bytes:u32 stored_bytes:u32 key stored
//!        | 4 keyspace:u64
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::EngineError;

const OPERATION: &str = "open the store";

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";

/// Bytes of an end record before its magic: the tag and the checksum.
const END_BYTES_BEFORE_MAGIC: usize = 9;

/// Bytes read ahead. Values are skipped within the buffer where they fit.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes of a batch before and behind its entries.
const START_BYTES: u64 = 13;
const END_BYTES: u64 = 13;

/// The end of the last journal that holds no whole batch: remains of a commit that had not returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TornEnd {
    journal: PathBuf,
    at: u64,
    /// Its length, less the zeros at its end.
    pub(super) bytes: u64,
}

impl TornEnd {
    /// Cuts it off: fjall takes some of these for damage.
    pub(super) fn cut(&self) -> Result<(), EngineError> {
        let cut = File::options().write(true).open(&self.journal).and_then(|file| {
            file.set_len(self.at)?;
            file.sync_all()
        });
        cut.map_err(|error| EngineError::io(OPERATION, error))
    }
}

/// Checks journals, oldest first, and answers with the torn end of the last one, if there is any.
pub(super) fn check(journals: &[PathBuf]) -> Result<Option<TornEnd>, EngineError> {
    let mut seqno = None;
    let mut torn = None;
    for (index, path) in journals.iter().enumerate() {
        let found = examine(path, &mut seqno).map_err(|error| EngineError::io(OPERATION, error))?;
        let is_active = index + 1 == journals.len();
        match found {
            Journal::Whole => {}
            Journal::Torn { at, bytes } if is_active => {
                torn = Some(TornEnd { journal: path.clone(), at, bytes });
            }
            // A sealed journal was synced as a whole before its successor was created.
            Journal::Torn { .. } => {
                return Err(EngineError::corrupt(
                    OPERATION,
                    format!("the end of {} is lost", path.display()),
                ));
            }
            Journal::Damaged { at } => {
                return Err(EngineError::corrupt(
                    OPERATION,
                    format!("{} is unreadable at byte {at}, and more commits follow there", path.display()),
                ));
            }
        }
    }
    Ok(torn)
}

#[derive(Debug, PartialEq, Eq)]
enum Journal {
    /// Batches, then zeros or the end of the file.
    Whole,
    /// Batches, then a piece that is no batch, and no batch after that.
    Torn { at: u64, bytes: u64 },
    /// A piece that is no batch, or is out of order, with whole batches behind it.
    Damaged { at: u64 },
}

/// Reads one journal. `seqno` is the last sequence number of the journals before it, and moves on.
fn examine(path: &Path, seqno: &mut Option<u64>) -> io::Result<Journal> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut reader = Reader { file: BufReader::with_capacity(BUFFER_BYTES, file), at: 0, file_bytes };
    let mut last = None;
    loop {
        let start = reader.at;
        match reader.batch()? {
            // The checksum of a batch does not cover its sequence number; its order gives a damaged one away. In the last
            // batch it may be one of the pages that a power cut kept from the disk.
            Some(next) if seqno.is_some_and(|last| next <= last) => {
                let end = reader.at;
                if reader.batch()?.is_some() {
                    return Ok(Journal::Damaged { at: start });
                }
                return Ok(match judge_rest(&mut reader.file.into_inner(), end)? {
                    Journal::Whole => Journal::Torn { at: start, bytes: end - start },
                    Journal::Torn { bytes, .. } => Journal::Torn { at: start, bytes: end - start + bytes },
                    Journal::Damaged { .. } => Journal::Damaged { at: start },
                });
            }
            Some(next) => {
                *seqno = Some(next);
                last = Some(start);
            }
            None => {
                let mut file = reader.file.into_inner();
                let rest = judge_rest(&mut file, start)?;
                let behind = match &rest {
                    Journal::Whole => 0,
                    Journal::Torn { bytes, .. } => *bytes,
                    Journal::Damaged { .. } => return Ok(rest),
                };
                return match last {
                    Some(last) if !is_intact(&mut file, last, start)? => {
                        Ok(Journal::Torn { at: last, bytes: start - last + behind })
                    }
                    _ => Ok(rest),
                };
            }
        }
    }
}

/// Whether the entries of the batch between two positions match its checksum.
fn is_intact(file: &mut File, start: u64, end: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start + START_BYTES))?;
    let entries_bytes = (end - start).saturating_sub(START_BYTES + END_BYTES);
    let mut entries = Vec::new();
    file.take(entries_bytes).read_to_end(&mut entries)?;
    let mut tag_and_checksum = [0; END_BYTES_BEFORE_MAGIC];
    file.read_exact(&mut tag_and_checksum)?;
    let [_tag, checksum @ ..] = tag_and_checksum;
    Ok(xxh3_64(&entries) == u64::from_le_bytes(checksum))
}

/// Sorts what follows the last readable batch.
fn judge_rest(file: &mut File, start: u64) -> io::Result<Journal> {
    // The usual rest is up to 64 MiB of zeros that fjall allocated ahead: look without keeping it.
    if is_zero(file, start)? {
        return Ok(Journal::Whole);
    }
    file.seek(SeekFrom::Start(start))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let Some(last) = rest.iter().rposition(|byte| *byte != 0) else {
        return Ok(Journal::Whole);
    };
    rest.truncate(last + 1);
    let is_damaged = rest.windows(MAGIC.len()).enumerate().any(|(at, window)| {
        window == MAGIC
            && at.checked_sub(END_BYTES_BEFORE_MAGIC).is_some_and(|end| rest.get(end) == Some(&TAG_END))
            && rest.get(at + MAGIC.len()..).is_some_and(starts_with_batch)
    });
    let bytes = rest.len() as u64;
    Ok(if is_damaged { Journal::Damaged { at: start } } else { Journal::Torn { at: start, bytes } })
}

fn is_zero(file: &mut File, start: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            bytes if buffer.iter().take(bytes).any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

fn starts_with_batch(bytes: &[u8]) -> bool {
    let mut reader = Reader { file: io::Cursor::new(bytes), at: 0, file_bytes: bytes.len() as u64 };
    matches!(reader.batch(), Ok(Some(_)))
}

struct Reader<R> {
    file: R,
    at: u64,
    file_bytes: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// The sequence number of the batch at the current position, if there is a whole one.
    fn batch(&mut self) -> io::Result<Option<u64>> {
        let Some([TAG_START]) = self.take()? else { return Ok(None) };
        let (Some(count), Some(seqno)) =
            (self.take()?.map(u32::from_le_bytes), self.take()?.map(u64::from_le_bytes))
        else {
            return Ok(None);
        };
        for _ in 0..count {
            if !self.entry()? {
                return Ok(None);
            }
        }
        let Some([TAG_END]) = self.take()? else { return Ok(None) };
        let (Some(_checksum), Some(magic)) = (self.take::<8>()?, self.take::<4>()?) else { return Ok(None) };
        Ok((magic == MAGIC && count > 0).then_some(seqno))
    }

    /// Whether a whole entry is at the current position.
    fn entry(&mut self) -> io::Result<bool> {
        match self.take()? {
            Some([TAG_ITEM]) => {}
            Some([TAG_CLEAR]) => return self.skip(8),
            _ => return Ok(false),
        }
        let Some([value_type, compression]) = self.take()? else { return Ok(false) };
        if !matches!((value_type, compression), (0 | 1 | 2 | 4, 0 | 1)) {
            return Ok(false);
        }
        let (Some(_keyspace), Some(key_bytes), Some(value_bytes), Some(stored_bytes)) = (
            self.take::<8>()?,
            self.take()?.map(u16::from_le_bytes),
            self.take()?.map(u32::from_le_bytes),
            self.take()?.map(u32::from_le_bytes),
        ) else {
            return Ok(false);
        };
        if compression == 0 && value_bytes != stored_bytes {
            return Ok(false);
        }
        self.skip(u64::from(key_bytes) + u64::from(stored_bytes))
    }

    /// The next `N` bytes, unless the file ends before.
    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.file_bytes - self.at < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(Some(bytes))
    }

    /// Passes over `bytes`, unless the file ends before.
    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        if self.file_bytes - self.at < bytes {
            return Ok(false);
        }
        self.file.seek_relative(i64::try_from(bytes).map_err(io::Error::other)?)?;
        self.at += bytes;
        Ok(true)
    }
}
