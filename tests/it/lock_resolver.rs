//! The resolver chooses as apt does.

#![expect(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test says what went wrong by panicking, and makes small files by hand"
)]

use pgproof::lock::packages::Universe;
use pgproof::lock::resolve::{ResolveError, resolve};

/// `name version; Field: value; …`, one package a line.
fn universe(packages: &str) -> Universe {
    let mut index = String::new();
    for line in packages.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let fields: String = parts.map(|field| format!("{field}\n")).collect();
        index.push_str(&format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\n\
             SHA256: {:064x}\n{fields}\n",
            version.len()
        ));
    }
    let mut universe = Universe::new("amd64".parse().unwrap());
    universe.read(index.as_bytes()).unwrap();
    universe.link();
    universe
}

fn chosen(packages: &str, request: &str) -> Result<String, ResolveError> {
    let request = request.split(' ').map(|name| name.parse().unwrap()).collect();
    let universe = universe(packages);
    let chosen = resolve(&universe, &request)?;
    Ok(chosen.iter().map(|package| format!("{}={}", package.name, package.version)).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_is_needed_comes_along_and_what_is_recommended_does_not() {
    let packages = "
        a 1; Pre-Depends: b; Depends: c; Recommends: d; Suggests: e
        b 1
        c 1; Depends: f
        d 1
        e 1
        f 1; Depends: a";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 b=1 c=1 f=1");
}

#[test]
fn the_newest_version_counts_and_has_to_fit() {
    let packages = "
        a 1; Depends: b (>= 1.10)
        b 1.9
        b 1.10
        c 1; Depends: b (<< 1.10)";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 b=1.10");
    let error = chosen(packages, "c").unwrap_err();
    insta::assert_snapshot!(error, @"c needs b (<< 1.10), which cannot be installed");
}

#[test]
fn the_first_alternative_wins_unless_another_is_there() {
    let packages = "
        a 1; Depends: x | y
        b 1; Depends: y
        x 1
        y 1";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 x=1");
    assert_eq!(chosen(packages, "a y").unwrap(), "a=1 y=1");
    assert_eq!(chosen(packages, "a b").unwrap(), "a=1 b=1 x=1 y=1");
}

#[test]
fn an_alternative_that_cannot_be_had_is_passed_over_without_traces() {
    let packages = "
        a 1; Depends: x | y
        x 1; Depends: helper, gone
        helper 1
        deep 1; Depends: x2 | y
        x2 1; Depends: helper, x
        y 1";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 y=1");
    assert_eq!(chosen(packages, "deep").unwrap(), "deep=1 y=1");
}

#[test]
fn providers_are_ordered_as_apt_orders_them() {
    // A package of the name itself, then essential ones, then by priority, then what was mentioned last.
    let itself = "
        a 1; Depends: v
        p 1; Provides: v; Priority: required
        v 1; Priority: extra";
    assert_eq!(chosen(itself, "a").unwrap(), "a=1 v=1");
    let essential = "
        a 1; Depends: v
        p 1; Provides: v; Priority: required
        q 1; Provides: v; Essential: yes; Priority: optional";
    assert_eq!(chosen(essential, "a").unwrap(), "a=1 q=1");
    let priority = "
        a 1; Depends: v
        p 1; Provides: v; Priority: standard
        q 1; Provides: v; Priority: optional";
    assert_eq!(chosen(priority, "a").unwrap(), "a=1 p=1");
    let order = "
        z 1; Suggests: q
        a 1; Depends: v
        p 1; Provides: v
        q 1; Provides: v";
    assert_eq!(chosen(order, "a").unwrap(), "a=1 p=1");
}

#[test]
fn provided_versions_count() {
    let packages = "
        a 1; Depends: v (>= 2)
        plain 9; Provides: v
        old 9; Provides: v (= 1)
        new 1; Provides: v (= 2.1)
        range 9; Provides: v (>= 3)";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 new=1");
}

#[test]
fn any_is_met_only_by_what_allows_it() {
    let packages = "
        a 1; Depends: p:any
        p 1; Multi-Arch: allowed
        b 1; Depends: q:any
        q 1; Multi-Arch: foreign
        c 1; Depends: q:amd64
        d 1; Depends: q:i386";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 p=1");
    assert_eq!(chosen(packages, "c").unwrap(), "c=1 q=1");
    assert!(matches!(chosen(packages, "b"), Err(ResolveError::Unsatisfied { .. })));
    assert!(matches!(chosen(packages, "d"), Err(ResolveError::Unsatisfied { .. })));
}

#[test]
fn packages_that_refuse_each_other_are_an_error_that_names_both() {
    let packages = "
        a 1; Conflicts: v
        b 1; Provides: v
        c 1; Breaks: d (<< 2)
        d 1
        e 1; Provides: v; Conflicts: v
        f 1; Depends: a, b";
    insta::assert_snapshot!(chosen(packages, "a b").unwrap_err(), @"a and b cannot be installed together: a refuses v");
    insta::assert_snapshot!(chosen(packages, "c d").unwrap_err(), @"c and d cannot be installed together: c refuses d (<< 2)");
    // Nobody refuses itself: this is how exactly one provider is asked for.
    assert_eq!(chosen(packages, "e").unwrap(), "e=1");
    assert!(chosen(packages, "f").is_err());
}

#[test]
fn a_provider_that_the_request_refuses_is_not_chosen() {
    let packages = "
        a 1; Conflicts: p; Depends: v
        p 1; Provides: v; Priority: required
        q 1; Provides: v";
    assert_eq!(chosen(packages, "a").unwrap(), "a=1 q=1");
}

#[test]
fn names_that_nobody_has_are_an_error() {
    let packages = "
        a 1; Provides: v
        b 1; Provides: v";
    insta::assert_snapshot!(chosen(packages, "nothing").unwrap_err(), @"there is no package nothing in the index");
    insta::assert_snapshot!(chosen(packages, "v").unwrap_err(), @"there is no package v in the index; ask for one that provides it: a, b");
}

#[test]
fn a_chain_without_end_is_given_up() {
    let packages: String = (0..3000).map(|number| format!("p{number} 1; Depends: p{}\n", number + 1)).collect();
    assert!(matches!(chosen(&packages, "p0"), Err(ResolveError::Unsatisfied { .. })));
}
