//! What an archive has, as far as finding one file from another needs it.

use std::collections::{BTreeMap, VecDeque};

use super::elf::Elf;

/// How many links are followed to one file: as many as Linux does.
const HOPS: usize = 40;

/// The entries of an archive, by their path below its top-level directory.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
}

/// An entry.
#[derive(Debug)]
pub(super) enum Node {
    Directory,
    /// A regular file, with what it says of itself if it is a sound ELF file.
    File(Option<Box<Elf>>),
    /// Its target.
    Symlink(Vec<u8>),
    /// Another name of the file at this path.
    HardLink(Vec<u8>),
}

/// Archives unpacked over each other, the last one first.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) upper: &'a Contents,
    pub(super) lower: Option<&'a Contents>,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Reached<'a> {
    /// To this file or directory.
    There(&'a Node),
    /// Nowhere.
    Nothing,
    /// Out of the archive.
    Outside,
}

impl Contents {
    /// Adds an entry, and the directories that it is in.
    pub(super) fn insert(&mut self, path: Vec<u8>, node: Node) {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            self.nodes.entry(path[..at].to_vec()).or_insert(Node::Directory);
        }
        self.nodes.insert(path, node);
    }

    /// Every sound ELF file.
    pub(super) fn elfs(&self) -> impl Iterator<Item = (&[u8], &Elf)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::File(Some(elf)) => Some((path.as_slice(), &**elf)),
            Node::File(None) | Node::Directory | Node::Symlink(_) | Node::HardLink(_) => None,
        })
    }
}

impl<'a> View<'a> {
    fn node(&self, path: &[u8]) -> Option<&'a Node> {
        self.upper.nodes.get(path).or_else(|| self.lower?.nodes.get(path))
    }

    /// Goes from the directory at `from` along `path`, through symbolic links as the system does.
    pub(super) fn reach(&self, from: &[u8], path: &[u8]) -> Reached<'a> {
        let split = |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<VecDeque<_>>();
        let mut todo = split(from);
        todo.extend(split(path));
        let mut here: Vec<Vec<u8>> = Vec::new();
        let mut node = &Node::Directory;
        let mut hops = 0;
        while let Some(component) = todo.pop_front() {
            if component.is_empty() || component == b"." {
                continue;
            }
            if !matches!(node, Node::Directory) {
                return Reached::Nothing;
            }
            if component == b".." {
                if here.pop().is_none() {
                    return Reached::Outside;
                }
                continue;
            }
            here.push(component);
            let Some(next) = self.node(&here.join(&b'/')) else { return Reached::Nothing };
            node = next;
            let target = match next {
                Node::Directory | Node::File(_) => continue,
                Node::Symlink(target) if target.starts_with(b"/") => return Reached::Outside,
                Node::Symlink(target) => {
                    here.pop();
                    target
                }
                Node::HardLink(target) => {
                    here.clear();
                    target
                }
            };
            hops += 1;
            if hops > HOPS {
                return Reached::Nothing;
            }
            node = &Node::Directory;
            for component in split(target).into_iter().rev() {
                todo.push_front(component);
            }
        }
        Reached::There(node)
    }

    /// The sound ELF file that a path leads to.
    pub(super) fn elf(&self, from: &[u8], path: &[u8]) -> Option<&'a Elf> {
        match self.reach(from, path) {
            Reached::There(Node::File(elf)) => elf.as_deref(),
            Reached::There(_) | Reached::Nothing | Reached::Outside => None,
        }
    }
}

/// The directory that a file is in, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
