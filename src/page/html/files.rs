//! The tree of files: which are equal, and which are not.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::page::Run;
use crate::page::outline::{Node, State};
use crate::page::said::Said;
use crate::page::words::{bytes, count};

/// How many equal entries the tree has; the others are counted.
const EQUAL: usize = 8_000;

/// How many entries that differ the tree has; the others are counted.
const DIFFERENT: usize = 3_000;

/// What is still to be shown.
struct Budget {
    equal: usize,
    different: usize,
}

/// What the tree is about.
pub(super) fn about(run: &Run) -> Markup {
    let listed = !run.files.is_empty();
    html! {
        @match (&run.report.verdict, listed) {
            (Some(verdict), true) if verdict.reproduced => "Everything in the archives. All of it is equal in both builds.",
            (Some(_), true) => "Everything in the archives.",
            (Some(_), false) => "What differs. The lists of what is equal were not beside the report.",
            (None, _) => "Everything in the archives.",
        }
    }
}

/// The tree, if there is anything to show. `prefix` is that of the ids of differences.
pub(super) fn tree(run: &Run, prefix: &str, different: bool) -> Option<Markup> {
    let differences = run.report.verdict.as_ref().map_or(&[][..], |verdict| &verdict.differences);
    let root = Node::of(&run.files, differences);
    if root.children.is_empty() {
        return None;
    }
    let compared = run.report.verdict.is_some();
    let mut budget = Budget { equal: EQUAL, different: DIFFERENT };
    Some(html! {
        div.tree-tools {
            @if different && !run.files.is_empty() {
                label { input.only type="checkbox"; " Only what differs" }
            }
        }
        ul.tree { (children(&root.children, &mut budget, &View { prefix, compared, depth: 0 })) }
    })
}

#[derive(Clone, Copy)]
struct View<'a> {
    prefix: &'a str,
    compared: bool,
    depth: usize,
}

fn children(nodes: &BTreeMap<Said, Node>, budget: &mut Budget, view: &View<'_>) -> Markup {
    let mut left_out = (0, 0);
    let mut shown = Vec::with_capacity(nodes.len());
    for (name, node) in nodes {
        let room = if node.different > 0 { &mut budget.different } else { &mut budget.equal };
        if *room == 0 {
            left_out.0 += node.equal;
            left_out.1 += node.different;
        } else {
            *room -= 1;
            shown.push(entry(name, node, budget, view));
        }
    }
    html! {
        @for entry in &shown { (entry) }
        @if left_out.1 > 0 { li.more { "and " (count(left_out.1 as u64)) " more that differ" } }
        @if left_out.0 > 0 { li.more.same { "and " (count(left_out.0 as u64)) " more that are equal" } }
    }
}

fn entry(name: &Said, node: &Node, budget: &mut Budget, view: &View<'_>) -> Markup {
    let below = View { depth: view.depth + 1, ..*view };
    let same = node.different == 0;
    // What differs is in sight from the start, and so is the top level.
    let open = view.depth == 0 || node.different > 0;
    html! {
        li.same[same] {
            @if node.children.is_empty() {
                span.leaf { span.name { (name) } " " (state(node.state, view)) }
            } @else {
                details open[open] {
                    summary { span.name { (name) "/" } " " (tally(node, view)) " " @if !matches!(node.state, State::Equal(_)) { (state(node.state, view)) } }
                    ul { (children(&node.children, budget, &below)) }
                }
            }
        }
    }
}

fn tally(node: &Node, view: &View<'_>) -> Markup {
    html! {
        span.tally {
            @if node.different > 0 { span.bad { (count(node.different as u64)) " differ" } }
            @if node.different > 0 && node.equal > 0 { ", " }
            @if node.equal > 0 { (count(node.equal as u64)) @if view.compared { " equal" } }
        }
    }
}

fn state(state: State, view: &View<'_>) -> Markup {
    let link = |index: usize, text: &str| html! { a.bad href={ "#" (view.prefix) "difference-" (index) } { (text) } };
    match state {
        State::Implied | State::Equal(None) => html! {},
        State::Equal(Some(size)) => html! { span.tally { (bytes(size)) } },
        State::Changed(index) => link(index, "differs"),
        State::OnlyInFirst(index) => link(index, "only in the first build"),
        State::OnlyInSecond(index) => link(index, "only in the second build"),
    }
}
