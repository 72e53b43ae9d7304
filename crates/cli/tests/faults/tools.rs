//! What the tests need of the machine: small file systems, and `strace`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Set to any value, it lets tests that cannot mount a file system pass without having tested anything.
const SKIP_MOUNTS: &str = "REJOIN_TEST_SKIP_MOUNTS";

/// The same for tests that need `strace`.
const SKIP_STRACE: &str = "REJOIN_TEST_SKIP_STRACE";

fn allowed_to_skip(name: &str, why: &str) -> bool {
    let allowed = std::env::var_os(name).is_some();
    assert!(allowed, "{why}; run the tests as root, or set {name}=1 to do without");
    println!("SKIPPED, NOTHING WAS TESTED: {why}");
    true
}

/// A small file system in memory, gone when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB over a directory; nothing when the machine does not allow it and that was said to be
    /// fine.
    pub(crate) fn mount(at: &Path, mib: u64) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "rejoin-test"])
            .arg(at)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk { at: at.to_owned() }),
            failed => {
                allowed_to_skip(SKIP_MOUNTS, &format!("a small file system cannot be mounted: {failed:?}"));
                None
            }
        }
    }

    /// Bytes left.
    pub(crate) fn free(&self) -> u64 {
        let output = Command::new("df").args(["-B1", "--output=avail"]).arg(&self.at).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().nth(1).unwrap().trim().parse().unwrap()
    }

    /// Takes space as another program would, until so many bytes are left.
    pub(crate) fn fill(&self, leave: u64) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let bytes = self.free().saturating_sub(leave);
        let block = vec![0xb1; 64 << 10];
        let mut left = usize::try_from(bytes).unwrap();
        while left > 0 {
            let piece = left.min(block.len());
            ballast.write_all(&block[..piece]).unwrap();
            left -= piece;
        }
    }

    /// Gives that space back.
    pub(crate) fn relieve(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast-of-another-program")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// `strace` on a running process, making some of its system calls fail.
#[derive(Debug)]
pub(crate) struct Strace {
    child: Child,
}

impl Strace {
    /// Attaches to a process and all of its threads; returns once that is done. `files` limits the fault to calls on
    /// these.
    pub(crate) fn attach(process: u32, fault: &str, files: &[PathBuf]) -> Strace {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &process.to_string(), "-o", "/dev/null"]);
        let calls = fault.split(':').next().unwrap();
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={fault}")]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "strace ended instead of attaching");
            assert!(
                !line.contains("Operation not permitted"),
                "strace may not attach: run the tests as root"
            );
        }
        // Whoever writes into a full or closed pipe stops.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Strace { child }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A library for `LD_PRELOAD` that holds clock and randomness of a process still while the file `STILL_WHILE` is
/// there. Needs a C compiler, as the program itself does.
pub(crate) fn stillness() -> PathBuf {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("still.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/still.c");
        let built = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .expect("this test needs gcc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (directory, library)
    });
    library.clone()
}

/// Whether there is `strace`; installs it where that is possible. Without it the test fails, unless it may be skipped.
pub(crate) fn has_strace() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let runs = || Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
        if runs() {
            return true;
        }
        let install = |arguments: &[&str]| Command::new("apt-get").args(arguments).output();
        let _ = install(&["update", "-q"]);
        let _ = install(&["install", "-y", "-q", "--no-install-recommends", "strace"]);
        runs()
    });
    found
        || !allowed_to_skip(SKIP_STRACE, "there is no strace, and `apt-get install strace` does not bring it")
}
