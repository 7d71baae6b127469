//! The tree of what both builds made: which entries are equal, and which are not.

use std::collections::BTreeMap;

use super::list::{Entry, Kind};
use super::report::{Change, Difference};
use super::said::Said;

/// How deep directories are told apart; what lies deeper is shown with its whole path.
const DEPTH: usize = 40;

/// An entry, and what is below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) state: State,
    pub(super) children: BTreeMap<Said, Node>,
    /// How many entries at and below this one are equal.
    pub(super) equal: usize,
    /// How many are not.
    pub(super) different: usize,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Nobody told of it, but of something below it.
    #[default]
    Implied,
    /// It is the same in both builds; a file has a size.
    Equal(Option<u64>),
    /// It is not: the index of the difference.
    Changed(usize),
    /// The same.
    OnlyInFirst(usize),
    /// The same.
    OnlyInSecond(usize),
}

impl Node {
    /// The tree of these entries, all of the first build's, or none where nobody knows them, and of what differs.
    pub(super) fn of(entries: &[Entry], differences: &[Difference]) -> Self {
        let mut root = Self::default();
        for entry in entries {
            let size = match entry.kind {
                Kind::File { size } => Some(size),
                Kind::Directory | Kind::Link => None,
            };
            root.place(&entry.path, State::Equal(size));
        }
        for (index, difference) in differences.iter().enumerate() {
            let state = match difference.change {
                Change::Changed { .. } => State::Changed(index),
                Change::OnlyInFirst(_) => State::OnlyInFirst(index),
                Change::OnlyInSecond(_) => State::OnlyInSecond(index),
            };
            root.place(&difference.path, state);
        }
        root.count();
        root
    }

    fn place(&mut self, path: &Said, state: State) {
        let mut node = self;
        let mut components = path.components();
        for component in components.by_ref().take(DEPTH) {
            node = node.children.entry(component).or_default();
        }
        let rest: Vec<_> = components.collect();
        if !rest.is_empty() {
            node = node.children.entry(Said::joined(&rest, "/")).or_default();
        }
        node.state = state;
    }

    fn count(&mut self) {
        for child in self.children.values_mut() {
            child.count();
            self.equal += child.equal;
            self.different += child.different;
        }
        match self.state {
            State::Implied => {}
            State::Equal(_) => self.equal += 1,
            State::Changed(_) | State::OnlyInFirst(_) | State::OnlyInSecond(_) => self.different += 1,
        }
    }
}
