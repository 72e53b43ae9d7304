//! A disk that remembers what was synced, and what a power cut may leave of it.
//!
//! The rules are those that POSIX gives: a sync of a file makes its contents and length durable, a sync of a directory its
//! entries; nothing else is. Entries of one directory reach the disk in order, as file systems with a journal have it.
//! Writes to a file reach it in any order and in part.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::Random;
use crate::record::{Call, Event};

/// What of the writes that were not synced is on the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    /// Some of them, by this seed.
    Some(u64),
}

/// A moment at which the power may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) line: usize,
    pub(crate) what: &'static str,
    /// Something was ordered here, or changed in a directory.
    pub(crate) matters: bool,
    /// The last batch whose commit had returned, synced.
    pub(crate) synced: usize,
    /// The last batch that may be there.
    pub(crate) begun: usize,
}

#[derive(Debug)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// The directory above the data directory: node 0.
    name: String,
    points: Vec<Point>,
    operations: usize,
}

#[derive(Debug, Default)]
struct Node {
    is_directory: bool,
    changes: Vec<(usize, Change)>,
    /// The lines at which syncs returned, with those at which they began: these cover what returned before.
    syncs: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Change {
    Write { at: u64, data: Vec<u8> },
    Truncate(u64),
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Copy, Debug)]
struct Handle {
    node: usize,
    position: u64,
    append: bool,
    opened: usize,
}

impl Disk {
    /// The history of everything at and below `root`, whose parent exists.
    pub(crate) fn replay(events: &[Event], root: &Path) -> Disk {
        let above = root.parent().unwrap().to_str().unwrap().to_owned();
        let name = root.file_name().unwrap().to_str().unwrap().to_owned();
        let directory = || Node { is_directory: true, ..Node::default() };
        let mut disk = Disk { nodes: vec![directory()], name, points: Vec::new(), operations: 0 };
        let mut tree: BTreeMap<String, usize> = BTreeMap::from([(above.clone(), 0)]);
        let mut lengths: HashMap<usize, u64> = HashMap::new();
        let mut handles: HashMap<u64, Handle> = HashMap::new();
        let (mut synced, mut begun) = (0, 0);
        let ours = |path: &str| {
            path.strip_prefix(&above).is_some_and(|rest| rest.starts_with(&format!("/{}", disk_name(root))))
        };
        for Event { began, line, call, on } in events {
            let (began, line) = (*began, *line);
            let mut point = None;
            if let Call::Write { descriptor, .. }
            | Call::Truncate { descriptor, .. }
            | Call::Sync { descriptor } = call
            {
                let is_ours = on.as_deref().is_some_and(|on| on == above || ours(on));
                assert_eq!(
                    is_ours,
                    handles.contains_key(descriptor),
                    "line {line}: {on:?} is what {descriptor} means"
                );
            }
            match call {
                Call::Open { path, create, truncate, append, descriptor } => {
                    let known = tree.get(path).copied();
                    let node = match known {
                        Some(node) => node,
                        None if *create && ours(path) => {
                            disk.nodes.push(Node::default());
                            let node = disk.nodes.len() - 1;
                            disk.change_entry(&tree, path, line, |name| Change::Add(name, node));
                            tree.insert(path.clone(), node);
                            point = Some(("a file is made", true));
                            node
                        }
                        None => {
                            handles.remove(descriptor);
                            continue;
                        }
                    };
                    if *truncate && lengths.get(&node).is_some_and(|bytes| *bytes > 0) {
                        disk.nodes[node].changes.push((line, Change::Truncate(0)));
                        lengths.insert(node, 0);
                    }
                    handles.insert(*descriptor, Handle { node, position: 0, append: *append, opened: line });
                }
                Call::Close { descriptor } => {
                    // Its number may have been given to another file before this call returned.
                    if handles.get(descriptor).is_some_and(|handle| handle.opened < began) {
                        handles.remove(descriptor);
                    }
                }
                Call::Seek { descriptor, to } => {
                    if let Some(handle) = handles.get_mut(descriptor) {
                        handle.position = *to;
                    }
                }
                Call::Write { descriptor, at, data } => {
                    let Some(handle) = handles.get_mut(descriptor) else { continue };
                    let length = lengths.entry(handle.node).or_default();
                    let position = if handle.append { *length } else { at.unwrap_or(handle.position) };
                    let end = position + data.len() as u64;
                    *length = (*length).max(end);
                    if at.is_none() {
                        handle.position = end;
                    }
                    disk.nodes[handle.node]
                        .changes
                        .push((line, Change::Write { at: position, data: data.clone() }));
                    point = Some(("a write", false));
                }
                Call::Truncate { descriptor, bytes } => {
                    let Some(handle) = handles.get(descriptor) else { continue };
                    disk.nodes[handle.node].changes.push((line, Change::Truncate(*bytes)));
                    lengths.insert(handle.node, *bytes);
                    point = Some(("a truncation", true));
                }
                Call::Rename { from, to } if ours(from) => {
                    let new = to.rsplit('/').next().unwrap().to_owned();
                    assert_eq!(parent(from), parent(to), "renames stay in their directory");
                    disk.change_entry(&tree, from, line, |old| Change::Rename(old, new));
                    let below = format!("{from}/");
                    let moved: Vec<String> = tree
                        .keys()
                        .filter(|path| *path == from || path.starts_with(&below))
                        .cloned()
                        .collect();
                    for path in moved {
                        let node = tree.remove(&path).unwrap();
                        tree.insert(format!("{to}{}", &path[from.len()..]), node);
                    }
                    point = Some(("a rename", true));
                }
                Call::Remove { path } if ours(path) => {
                    disk.change_entry(&tree, path, line, Change::Remove);
                    tree.remove(path);
                    point = Some(("a removal", true));
                }
                Call::MakeDirectory { path } if ours(path) => {
                    disk.nodes.push(directory());
                    let node = disk.nodes.len() - 1;
                    disk.change_entry(&tree, path, line, |name| Change::Add(name, node));
                    tree.insert(path.clone(), node);
                    point = Some(("a directory is made", true));
                }
                Call::Sync { descriptor } => {
                    let Some(handle) = handles.get(descriptor) else { continue };
                    disk.nodes[handle.node].syncs.push((line, began));
                    // Just before it returns, nothing of it is certain; then all is.
                    disk.point(line - 1, "before a sync returns", true, synced, begun);
                    point = Some(("a sync", true));
                }
                Call::Said(text) => {
                    if let Some(number) = text.strip_prefix("begin ") {
                        begun = number.trim().parse().unwrap();
                    } else if let Some(number) = text.strip_prefix("synced ") {
                        synced = number.trim().parse().unwrap();
                        point = Some(("a commit has returned", true));
                    }
                }
                _ => continue,
            }
            if let Some((what, matters)) = point {
                disk.operations += 1;
                disk.point(line, what, matters, synced, begun);
            }
        }
        disk
    }

    fn point(&mut self, line: usize, what: &'static str, matters: bool, synced: usize, begun: usize) {
        self.points.push(Point { line, what, matters, synced, begun });
    }

    fn change_entry(
        &mut self,
        tree: &BTreeMap<String, usize>,
        path: &str,
        line: usize,
        change: impl FnOnce(String) -> Change,
    ) {
        let above =
            *tree.get(parent(path)).unwrap_or_else(|| panic!("nothing is known of what is above {path}"));
        let name = path.rsplit('/').next().unwrap().to_owned();
        self.nodes[above].changes.push((line, change(name)));
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        self.points.clone()
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations
    }

    /// What is on the disk after a cut at that line.
    pub(crate) fn image(&self, line: usize, kept: Kept) -> Image {
        let mut image = Image::default();
        let mut random = Random(if let Kept::Some(seed) = kept { seed } else { 0 });
        if let Some(root) = self.entries(0, line, kept, &mut random).get(&self.name) {
            self.add(*root, PathBuf::new(), line, kept, &mut random, &mut image);
        }
        image
    }

    fn add(
        &self,
        node: usize,
        path: PathBuf,
        line: usize,
        kept: Kept,
        random: &mut Random,
        image: &mut Image,
    ) {
        if !self.nodes[node].is_directory {
            image.files.insert(path, self.contents(node, line, kept, random));
            return;
        }
        image.directories.push(path.clone());
        for (name, node) in self.entries(node, line, kept, random) {
            self.add(node, path.join(name), line, kept, random, image);
        }
    }

    /// The changes of a node up to a line, and how many of them are certain.
    fn changes(&self, node: usize, line: usize) -> (&[(usize, Change)], usize) {
        let node = &self.nodes[node];
        let covered =
            node.syncs.iter().filter(|(returned, _)| *returned <= line).map(|(_, began)| *began).max();
        let done = node.changes.partition_point(|(at, _)| *at <= line);
        let certain = covered.map_or(0, |covered| node.changes.partition_point(|(at, _)| *at < covered));
        (&node.changes[..done], certain)
    }

    fn entries(&self, node: usize, line: usize, kept: Kept, random: &mut Random) -> BTreeMap<String, usize> {
        let (changes, certain) = self.changes(node, line);
        let count = match kept {
            Kept::Nothing => certain,
            Kept::Everything => changes.len(),
            Kept::Some(_) => certain + random.below(changes.len() - certain + 1),
        };
        let mut entries = BTreeMap::new();
        for (_, change) in &changes[..count] {
            match change {
                Change::Add(name, node) => {
                    entries.insert(name.clone(), *node);
                }
                Change::Remove(name) => {
                    entries.remove(name);
                }
                Change::Rename(from, to) => {
                    if let Some(node) = entries.remove(from) {
                        entries.insert(to.clone(), node);
                    }
                }
                Change::Write { .. } | Change::Truncate(_) => {}
            }
        }
        entries
    }

    fn contents(&self, node: usize, line: usize, kept: Kept, random: &mut Random) -> Contents {
        const SECTOR_BYTES: usize = 512;
        let (changes, certain) = self.changes(node, line);
        let mut contents = Contents::default();
        for (index, (_, change)) in changes.iter().enumerate() {
            let keep = match kept {
                _ if index < certain => 0,
                Kept::Nothing => break,
                Kept::Everything => 0,
                Kept::Some(_) => random.below(6),
            };
            match (change, keep) {
                (Change::Truncate(bytes), 0..=3) => contents.truncate(*bytes),
                (Change::Write { at, data }, 0 | 1) => contents.write(*at, data),
                // Its first bytes.
                (Change::Write { at, data }, 2) => contents.write(*at, &data[..random.below(data.len())]),
                // Its length, and some of its sectors.
                (Change::Write { at, data }, 3 | 4) => {
                    contents.extend(*at + data.len() as u64);
                    let mut from = 0;
                    while from < data.len() {
                        let sector_end = SECTOR_BYTES - (*at as usize + from) % SECTOR_BYTES;
                        let to = data.len().min(from + sector_end);
                        if random.below(2) == 0 {
                            contents.write(*at + from as u64, &data[from..to]);
                        }
                        from = to;
                    }
                }
                _ => {}
            }
        }
        contents
    }
}

fn disk_name(root: &Path) -> String {
    root.file_name().unwrap().to_str().unwrap().to_owned()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

/// A file: its length, and what was written; the rest is zeros.
#[derive(Clone, Debug, Default, Hash)]
struct Contents {
    bytes: u64,
    written: Vec<u8>,
}

impl Contents {
    fn write(&mut self, at: u64, data: &[u8]) {
        let at = at as usize;
        if self.written.len() < at + data.len() {
            self.written.resize(at + data.len(), 0);
        }
        self.written[at..at + data.len()].copy_from_slice(data);
        self.extend((at + data.len()) as u64);
    }

    fn extend(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
    }

    fn truncate(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.written.truncate(bytes as usize);
    }
}

/// A data directory.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Image {
    directories: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Contents>,
}

impl Image {
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn write(&self, directory: &Path) {
        for below in &self.directories {
            fs::create_dir_all(directory.join(below)).unwrap();
        }
        for (path, contents) in &self.files {
            let mut file = File::create(directory.join(path)).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&contents.written).unwrap();
            file.set_len(contents.bytes).unwrap();
        }
    }
}
