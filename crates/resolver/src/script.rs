//! A file that is a resolver.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::engine;
use crate::limits::SOURCE_BYTES_MAX;

/// What the names of all scripts begin with. The number rises when the same source may come to other results: with the
/// engine's own rules, or with what a resolver is given.
const NAME: &str = "javascript/1";

/// A resolver's source, found to be one.
#[derive(Clone, Debug)]
pub struct Script {
    file: Arc<str>,
    source: Arc<str>,
    name: Arc<str>,
}

/// The file is no resolver.
#[derive(Debug)]
pub enum ScriptError {
    /// It cannot be read.
    Unreadable(std::io::Error),
    /// It has too many bytes.
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// It does not run, or gives no function.
    Wrong(String),
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScriptError::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            ScriptError::TooLarge { bytes } => {
                write!(f, "it has {bytes} bytes, more than {SOURCE_BYTES_MAX}")
            }
            ScriptError::Wrong(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ScriptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ScriptError::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is larger than [`SOURCE_BYTES_MAX`], or gives no function when it is run.
    pub fn read(path: &Path) -> Result<Script, ScriptError> {
        let bytes = std::fs::metadata(path).map_err(ScriptError::Unreadable)?.len();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > SOURCE_BYTES_MAX {
            return Err(ScriptError::TooLarge { bytes });
        }
        let source = std::fs::read_to_string(path).map_err(ScriptError::Unreadable)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Script::new(&file, source)
    }

    /// Takes source text; `file` is only shown.
    ///
    /// # Errors
    /// As [`Script::read`].
    pub fn new(file: &str, source: impl Into<Arc<str>>) -> Result<Script, ScriptError> {
        let source = source.into();
        if source.len() > SOURCE_BYTES_MAX {
            return Err(ScriptError::TooLarge { bytes: source.len() });
        }
        let name = format!("{NAME} {}", blake3::hash(source.as_bytes()).to_hex());
        let script = Script { file: file.into(), source, name: name.into() };
        engine::check(&script).map_err(|fault| ScriptError::Wrong(fault.to_string()))?;
        Ok(script)
    }

    /// The name of the file, for people.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The name of the code: two scripts have the same only if their source is the same, byte by byte. It does not
    /// tell where the file was.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}
