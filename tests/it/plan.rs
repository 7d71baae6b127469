//! A plan is one canonical text with one digest, and a stranger's plan is checked like one.

use std::collections::BTreeMap;

use pgproof::definitions::{Definitions, Toolchain};
use pgproof::digest::Digest;
use pgproof::lockfile::Source;
use pgproof::plan::{Plan, Step, postgresql};
use pgproof::target::{Cpu, Floor, Target, Triple, Version};
use serde_json::{Value, json};

fn toolchain() -> Toolchain {
    Toolchain {
        target: Triple::X86_64UnknownLinuxGnu,
        sysroot: "bookworm-amd64".parse().unwrap(),
        floor: Floor { glibc: "2.36".parse().unwrap(), kernel: "3.2.0".parse().unwrap(), cpu: Cpu::X86_64 },
        environment: BTreeMap::from(
            [("PATH", "/usr/bin"), ("LDFLAGS", "-Wl,-z,now")].map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
    }
}

fn source(version: Version) -> Source {
    Source {
        version,
        digest: Digest::of(b"tarball"),
        size: 7,
        tar_digest: Digest::of(b"tar"),
        tar_size: 3,
        released: "2026-08-10T20:54:00Z".parse().unwrap(),
        origins: vec!["https://ftp.postgresql.org/pub/source/x.tar.bz2".parse().unwrap()],
        index: "trixie".parse().unwrap(),
    }
}

fn postgresql(version: &str) -> Plan {
    let version: Version = version.parse().unwrap();
    let target = Target { version, triple: Triple::X86_64UnknownLinuxGnu };
    postgresql::plan(target, &source(version), &toolchain(), Digest::of(b"manifest")).unwrap()
}

/// A small valid plan as JSON, for tests that spoil it.
fn small() -> Value {
    json!({
        "version": 1,
        "name": "hello-1.0",
        "sourceDateEpoch": 1_000_000_000,
        "sysroot": {"name": "tiny", "manifest": Digest::of(b"manifest")},
        "inputs": [
            {"name": "a.tar", "digest": Digest::of(b"a"), "size": 1, "unpack": {"compression": "none", "into": "a"}},
            {"name": "b", "digest": Digest::of(b"b"), "size": 1}
        ],
        "environment": {"PATH": "/bin"},
        "steps": [{"name": "build", "argv": ["make"], "directory": "a"}],
        "output": "."
    })
}

fn refusal(spoil: impl FnOnce(&mut Value)) -> String {
    use std::error::Error as _;
    let mut plan = small();
    spoil(&mut plan);
    let error = Plan::parse(plan.to_string().as_bytes()).unwrap_err();
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn the_identity_does_not_depend_on_the_text_or_the_origins() {
    let plan = postgresql("17.11");
    let pretty = serde_json::to_string_pretty(&plan).unwrap();
    let read_back = Plan::parse(pretty.as_bytes()).unwrap();
    assert_eq!(read_back, plan);
    assert_eq!(Digest::of(&plan.canonical()), plan.digest());

    let mut elsewhere = plan.clone();
    elsewhere.inputs[0].origins.clear();
    assert_ne!(elsewhere.canonical_with_origins(), plan.canonical_with_origins());
    assert_eq!(elsewhere.digest(), plan.digest());
}

#[test]
fn every_field_that_decides_bytes_is_in_the_identity() {
    let plan = Plan::parse(small().to_string().as_bytes()).unwrap();
    for (pointer, value) in [
        ("/name", json!("hello-1.1")),
        ("/sourceDateEpoch", json!(1)),
        ("/sysroot/manifest", json!(Digest::of(b"other"))),
        ("/inputs/0/digest", json!(Digest::of(b"other"))),
        ("/inputs/0/unpack/strip", json!(1)),
        ("/environment/PATH", json!("/usr/bin")),
        ("/steps/0/argv", json!(["make", "all"])),
        ("/steps/0/directory", json!(".")),
        ("/output", json!("usr")),
        ("/parts", json!({"debug": "debug"})),
    ] {
        let mut changed = small();
        match changed.pointer_mut(pointer) {
            Some(field) => *field = value,
            None if pointer == "/parts" => changed["parts"] = value,
            None => changed["inputs"][0]["unpack"]["strip"] = value,
        }
        let changed = Plan::parse(changed.to_string().as_bytes()).unwrap();
        assert_ne!(changed.digest(), plan.digest(), "{pointer}");
    }
}

#[test]
fn the_plan_format_is_pinned() {
    let plan = Plan::parse(small().to_string().as_bytes()).unwrap();
    insta::assert_snapshot!(plan.digest(), @"sha256:4b483141075d80d6ccd28dd37a7a7b0ee19ceaf8f40bd7bf5f599471b41f0c70");
    insta::assert_snapshot!(String::from_utf8(plan.canonical()).unwrap(), @r#"{"environment":{"PATH":"/bin"},"inputs":[{"digest":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","name":"a.tar","size":1,"unpack":{"compression":"none","into":"a","strip":0}},{"digest":"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","name":"b","size":1}],"name":"hello-1.0","output":".","sourceDateEpoch":1000000000,"steps":[{"argv":["make"],"directory":"a","name":"build"}],"sysroot":{"manifest":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f","name":"tiny"},"version":1}"#);
}

#[test]
fn the_recipe_knows_what_each_release_knows() {
    // What runs in the box to make archives is a program of many lines.
    let shown = |word: &String| if word.contains('\n') { "…" } else { word }.to_owned();
    let line = |step: &Step| step.argv.iter().map(shown).collect::<Vec<_>>().join(" ");
    let words = |version: &str| postgresql(version).steps.iter().map(line).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(words("17.11"), @r"
    ./configure --enable-nls --prefix=/usr/local/pgsql --with-gssapi --with-icu --with-ldap --with-libedit-preferred --with-libxml --with-libxslt --with-lz4 --with-openssl --with-pam --with-perl --with-python --with-tcl --with-uuid=e2fs --with-zstd
    make world-bin rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    make install-world-bin DESTDIR=/pgproof/out/installed rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    sed -i -E s/^(abs_top_(builddir|srcdir)) = .*/\1 =/ /pgproof/out/installed/usr/local/pgsql/lib/pgxs/src/Makefile.global
    sed -i s|/usr/local/pgsql|${pcfiledir}/../..|g /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libecpg.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libecpg_compat.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libpgtypes.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libpq.pc
    python3 -I -c … /pgproof/out/installed/usr/local/pgsql /pgproof/out postgresql-17.11 postgresql-17.11.0-x86_64-unknown-linux-gnu
    ");
    insta::assert_snapshot!(words("13.16"), @r"
    ./configure --enable-nls --prefix=/usr/local/pgsql --with-gssapi --with-icu --with-ldap --with-libedit-preferred --with-libxml --with-libxslt --with-openssl --with-pam --with-perl --with-python --with-tcl --with-uuid=e2fs
    make all rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    make all rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    make install DESTDIR=/pgproof/out/installed rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    make install DESTDIR=/pgproof/out/installed rpathdir=$$ORIGIN/../lib STD_LDFLAGS=-Wl,-z,now
    sed -i -E s/^(abs_top_(builddir|srcdir)) = .*/\1 =/ /pgproof/out/installed/usr/local/pgsql/lib/pgxs/src/Makefile.global
    sed -i s|/usr/local/pgsql|${pcfiledir}/../..|g /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libecpg.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libecpg_compat.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libpgtypes.pc /pgproof/out/installed/usr/local/pgsql/lib/pkgconfig/libpq.pc
    python3 -I -c … /pgproof/out/installed/usr/local/pgsql /pgproof/out postgresql-13.16 postgresql-13.16.0-x86_64-unknown-linux-gnu
    ");
    assert!(words("14.0").contains("--with-lz4") && !words("14.0").contains("--with-zstd"));
    assert!(words("15.18").contains("--with-zstd"));
}

#[test]
fn a_release_without_a_recipe_is_refused() {
    let version: Version = "12.20".parse().unwrap();
    let target = Target { version, triple: Triple::X86_64UnknownLinuxGnu };
    let error = postgresql::plan(target, &source(version), &toolchain(), Digest::of(b"")).unwrap_err();
    insta::assert_snapshot!(error, @"there is no recipe for PostgreSQL 12.20: the oldest is for 13");
    let other = Target { version: "17.11".parse().unwrap(), triple: Triple::Aarch64UnknownLinuxGnu };
    let error = postgresql::plan(other, &source(version), &toolchain(), Digest::of(b"")).unwrap_err();
    insta::assert_snapshot!(error, @"the toolchain builds for x86_64-unknown-linux-gnu, not for aarch64-unknown-linux-gnu");
}

#[test]
fn a_strangers_plan_is_checked() {
    insta::assert_snapshot!(refusal(|plan| plan["version"] = json!(2)), @"the plan has format version 2, this pgproof reads 1");
    insta::assert_snapshot!(refusal(|plan| plan["privileged"] = json!(true)), @"the plan is malformed: unknown field `privileged`, expected one of `version`, `name`, `sourceDateEpoch`, `sysroot`, `inputs`, `environment`, `steps`, `output`, `parts` at line 1 column 343");
    insta::assert_snapshot!(refusal(|plan| plan["name"] = json!("../../etc/passwd")), @r#"the plan is malformed: "../../etc/passwd" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit at line 1 column 324"#);
    insta::assert_snapshot!(refusal(|plan| plan["name"] = json!("a".repeat(201))), @"the plan's name has more than 200 bytes");
    insta::assert_snapshot!(refusal(|plan| plan["output"] = json!("/etc")), @r#"the plan is malformed: "/etc" is not a plain relative path at line 1 column 333"#);
    insta::assert_snapshot!(refusal(|plan| plan["output"] = json!("usr/../..")), @r#"the plan is malformed: "usr/../.." is not a plain relative path at line 1 column 338"#);
    insta::assert_snapshot!(refusal(|plan| plan["parts"] = json!({"debug": "../../etc"})), @r#"the plan is malformed: "../../etc" is not a plain relative path at line 1 column 360"#);
    insta::assert_snapshot!(refusal(|plan| plan["parts"] = json!({"../debug": "debug"})), @r#"the plan is malformed: "../debug" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit at line 1 column 350"#);
    insta::assert_snapshot!(refusal(|plan| plan["parts"] = json!({"a".repeat(191): "debug"})), @"the plan's name has more than 200 bytes");
    insta::assert_snapshot!(refusal(|plan| plan["parts"] = (0..17).map(|n| (n.to_string(), json!("."))).collect::<serde_json::Map<_, _>>().into()), @"the plan has 17 parts; 1 to 16 are allowed");
    insta::assert_snapshot!(refusal(|plan| plan["steps"] = json!([])), @"the plan has 0 steps; 1 to 1024 are allowed");
    insta::assert_snapshot!(refusal(|plan| plan["steps"][0]["argv"] = json!([])), @"step build: it names no program");
    insta::assert_snapshot!(refusal(|plan| plan["steps"][0]["argv"] = json!(["make", "a\0b"])), @"step build: an argument has a NUL");
    insta::assert_snapshot!(refusal(|plan| plan["steps"][0]["directory"] = json!("..")), @r#"the plan is malformed: ".." is not a plain relative path at line 1 column 402"#);
    insta::assert_snapshot!(refusal(|plan| plan["environment"] = json!({})), @"step build: its program has no / and the plan sets no PATH");
    insta::assert_snapshot!(refusal(|plan| plan["environment"]["A=B"] = json!("c")), @r#""A=B" is not the name of an environment variable, or its value has a NUL"#);
    insta::assert_snapshot!(refusal(|plan| plan["inputs"][0]["digest"] = json!("sha256:00")), @r#"the plan is malformed: digest "00" is not 64 lower-case hexadecimal digits at line 1 column 62"#);
    insta::assert_snapshot!(refusal(|plan| plan["inputs"][0]["unpack"]["into"] = json!("a/../../b")), @r#"the plan is malformed: "a/../../b" is not a plain relative path at line 1 column 199"#);
    insta::assert_snapshot!(refusal(|plan| plan["inputs"][1]["unpack"] = json!({"compression": "gzip", "into": "a/b"})), @"the inputs a.tar and b are unpacked into one directory");
    insta::assert_snapshot!(refusal(|plan| plan["inputs"][1]["name"] = json!("a.tar")), @r#"the plan's input "a.tar" is there twice or out of order"#);
    insta::assert_snapshot!(refusal(|plan| plan["inputs"][0]["origins"] = json!(["file:///etc/shadow"])), @r#"the plan is malformed: "file:///etc/shadow" is not an origin: it starts with neither debian:, https:// nor http:// at line 1 column 172"#);
}

#[test]
fn a_version_is_two_numbers_and_nothing_else() {
    for text in ["17.11; rm -rf /", "17", "17.11.0", "17.011", "+17.1", "17.-1", "", "17.99999", "17.11\n"] {
        assert!(text.parse::<Version>().is_err(), "{text:?}");
    }
    insta::assert_snapshot!("17.11; rm -rf /".parse::<Version>().unwrap_err(), @r#""17.11; rm -rf /" is not a PostgreSQL version: write it as MAJOR.MINOR, for example 17.11"#);
}

#[test]
fn a_definition_that_is_not_there_is_named_with_those_that_are() {
    let name = "trixie-clang".parse().unwrap();
    let error = Definitions::BuiltIn.toolchain(&name).unwrap_err();
    insta::assert_snapshot!(error, @"there is no toolchains/trixie-clang.toml; there are bookworm-gcc");
    let definitions = Definitions::Directory(env!("CARGO_MANIFEST_DIR").into());
    let error = definitions.toolchain(&name).unwrap_err();
    let told = error.to_string().replace(env!("CARGO_MANIFEST_DIR"), "[DIR]");
    insta::assert_snapshot!(told, @"there is no [DIR]/toolchains/trixie-clang.toml; there are bookworm-gcc");
}
