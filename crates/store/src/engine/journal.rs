//! Telling a torn journal from a damaged one, before fjall opens it.
//!
//! fjall replays its journal up to the first record it cannot read and truncates the file there. That is right for the
//! remains of a commit the process died in, and silent loss when the record lies in the middle and whole commits follow
//! it. This module reads the structure of a journal (fjall format 3) and never changes it. Checksums of records are
//! left to fjall, which reports them as errors.
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

/// Checks journals, oldest first, and answers with the number of bytes of the last one that hold an unfinished batch
/// fjall will drop.
pub(super) fn check(journals: &[PathBuf]) -> Result<u64, EngineError> {
    let mut seqno = None;
    let mut torn_bytes = 0;
    for (index, path) in journals.iter().enumerate() {
        let found = examine(path, &mut seqno).map_err(|error| EngineError::io(OPERATION, error))?;
        let is_active = index + 1 == journals.len();
        match found {
            Journal::Whole => {}
            Journal::Torn { bytes } if is_active => torn_bytes = bytes,
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
    Ok(torn_bytes)
}

#[derive(Debug, PartialEq, Eq)]
enum Journal {
    /// Batches, then zeros or the end of the file.
    Whole,
    /// Batches, then a piece that is no batch, and no batch after that.
    Torn { bytes: u64 },
    /// A piece that is no batch, or is out of order, with whole batches behind it.
    Damaged { at: u64 },
}

/// Reads one journal. `seqno` is the last sequence number of the journals before it, and moves on.
fn examine(path: &Path, seqno: &mut Option<u64>) -> io::Result<Journal> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut reader = Reader { file: BufReader::with_capacity(BUFFER_BYTES, file), at: 0, file_bytes };
    loop {
        let start = reader.at;
        match reader.batch()? {
            // The checksum of a batch does not cover its sequence number; its order gives a damaged one away.
            Some(next) if seqno.is_some_and(|last| next <= last) => {
                return Ok(Journal::Damaged { at: start });
            }
            Some(next) => *seqno = Some(next),
            None => return judge_rest(reader.file.into_inner(), start),
        }
    }
}

/// Sorts what follows the last readable batch.
fn judge_rest(mut file: File, start: u64) -> io::Result<Journal> {
    // The usual rest is up to 64 MiB of zeros that fjall allocated ahead: look without keeping it.
    if is_zero(&mut file, start)? {
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
    Ok(if is_damaged { Journal::Damaged { at: start } } else { Journal::Torn { bytes } })
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
