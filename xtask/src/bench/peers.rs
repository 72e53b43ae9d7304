//! The other systems: fetched from Debian and npm into a folder of ours, without installing anything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's packages, and the libraries that theirs need beyond a small system.
const DEBIAN: [(&str, &[&str]); 3] = [
    ("Redis", &["redis-server", "redis-tools", "libjemalloc2", "liblzf1"]),
    ("etcd", &["etcd-server"]),
    ("NATS", &["nats-server"]),
];

const NPM: &str = "pouchdb-server";

/// Fetches what is not there yet. What cannot be fetched is written down with the reason, and not measured.
pub(super) fn fetch(folder: &Path) -> Result<PathBuf, String> {
    let failed = |error| format!("cannot make {}: {error}", folder.display());
    let (root, npm) = (folder.join("root"), folder.join("npm"));
    for folder in [&root, &npm] {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut missing = String::new();
    for (name, packages) in DEBIAN {
        let marker = folder.join(format!("{name}.fetched"));
        if marker.exists() {
            continue;
        }
        match packages.iter().try_for_each(|package| unpack(folder, &root, package)) {
            Ok(()) => fs::write(marker, "").map_err(failed)?,
            Err(error) => {
                writeln!(missing, "{name}: {error}").ok();
            }
        }
    }
    if !npm.join("node_modules").join(NPM).exists() {
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", NPM]).current_dir(&npm);
        if let Err(error) = quietly(install) {
            writeln!(missing, "PouchDB Server: {error}").ok();
        }
    }
    print!("{missing}");
    fs::write(folder.join("missing"), missing).map_err(failed)?;
    Ok(folder.to_owned())
}

/// Fetches a package of Debian and unpacks its files; its scripts do not run.
fn unpack(folder: &Path, root: &Path, package: &str) -> Result<(), String> {
    let packages = folder.join(package);
    fs::create_dir_all(&packages).map_err(|error| format!("cannot make {}: {error}", packages.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["download", package]).current_dir(&packages);
    quietly(download)?;
    let entries = fs::read_dir(&packages).map_err(|error| error.to_string())?;
    let file = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"));
    let file = file.ok_or_else(|| format!("apt-get has left no package {package}"))?;
    let mut extract = Command::new("dpkg");
    extract.arg("-x").arg(file).arg(root);
    quietly(extract)
}

/// Runs a command; says what it said only when it fails.
fn quietly(mut command: Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("{name} failed: {last}"))
}
