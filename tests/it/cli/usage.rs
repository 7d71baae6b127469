//! What can be asked for, and what is said to who asks for something that there is not.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use pgproof::digest::Digest;

use super::scene::Scene;

#[test]
fn help_tells_the_commands_and_the_exit_codes() {
    let scene = Scene::new();
    insta::assert_snapshot!(scene.bare(&["--help"]).seen(), @"
    Builds PostgreSQL in a sealed box from inputs pinned by digest, twice, under different conditions,
    and shows that both came out the same byte for byte

    Usage: pgproof [OPTIONS] <COMMAND>

    Commands:
      rebuild      Build twice under different conditions and compare
      build        Build once
      fetch        Bring every input into the store; the network ends here
      plan         Print the canonical plan; its SHA-256 is the build's identity
      pack         Pack an installed tree as a build's output: what another runtime left in an exported
                   bundle
      check        Say what is wrong with a release's archives, without running anything of them
      verify       Tell whether an archive is what somebody signed, and what was said of it
      sign         Sign statements, releases or files: with a key, or with a certificate for the
                   identity that this machine shows
      test         Test an archive as PostgreSQL in the sealed box, beside a C library and a shell only
      sbom         Say what a release consists of, as a bill of materials in SPDX and CycloneDX
      report       Show what runs came to: a page to look at, a comment for a pull request, or JSON
      shell        Open a prompt in the sealed box, sources unpacked
      log          Show what earlier builds and tests printed
      lock         Resolve sysroots/*.toml into lockfiles/*.lock
      store        Look after the store
      doctor       Tell whether this machine can close the sandbox, and if not, what to do
      completions  Print a completion script
      help         Print this message or the help of the given subcommand(s)

    Options:
          --store <DIR>        Where fetched and built bytes are kept [default: pgproof in the user's
                               cache directory] [env: PGPROOF_STORE=]
          --definitions <DIR>  A directory with sysroots/, toolchains/ and lockfiles/ that takes the
                               place of those built into pgproof [env: PGPROOF_DEFINITIONS=]
          --offline            Never open a socket: everything must be in the store
          --mirror <URL>       A mirror of Debian's archive to try before those this host's apt is
                               configured with; repeatable [env: PGPROOF_MIRROR=]
          --json               Print the result as JSON on standard output, and nothing else
      -q, --quiet              Print no progress
      -h, --help               Print help
      -V, --version            Print version

    Exit codes:
      0  reproduced, or done as asked
      1  not reproduced, or a test or check failed: an answer, not an error
      2  wrong use
      3  an input failed verification
      4  the sandbox cannot be closed here
      5  the build itself failed, or what it made fails its check
      6  network or disk trouble: nothing was decided, try again
      130  stopped by Ctrl-C
    exit 0
    ");
    insta::assert_snapshot!(scene.bare(&["rebuild", "--help"]).seen(), @"
    Build twice under different conditions and compare

    Usage: pgproof rebuild [OPTIONS] --compare [<PUBLISHED>] [VERSION]

    Arguments:
      [VERSION]  The PostgreSQL version [default: 17.11]

    Options:
          --store <DIR>            Where fetched and built bytes are kept [default: pgproof in the
                                   user's cache directory] [env: PGPROOF_STORE=]
          --target <TRIPLE>        The platform [default: this machine's]
          --definitions <DIR>      A directory with sysroots/, toolchains/ and lockfiles/ that takes the
                                   place of those built into pgproof [env: PGPROOF_DEFINITIONS=]
          --toolchain <NAME>       The toolchain under toolchains/ [default: the one for the target]
          --offline                Never open a socket: everything must be in the store
          --plan <FILE>            Build this plan instead of PostgreSQL
          --mirror <URL>           A mirror of Debian's archive to try before those this host's apt is
                                   configured with; repeatable [env: PGPROOF_MIRROR=]
          --timeout <SECONDS>      Stop a build that takes longer [default: 7200]
          --disk <GIB>             Let a build write this much [default: 8, or a third of the free
                                   memory where that is less]
          --json                   Print the result as JSON on standard output, and nothing else
          --memory <GIB>           Let a build use this much memory, its files in memory included
                                   [default: nine tenths of what is free, shared by the builds]
      -q, --quiet                  Print no progress
          --cpus <COUNT>           Use at most this many processors [default: all]
          --builder-id <URI>       The URI that statements call this builder [default: on GitHub Actions
                                   the workflow's, urn:pgproof:builder:unnamed elsewhere] [env:
                                   PGPROOF_BUILDER_ID=]
          --compare [<PUBLISHED>]  Compare the two builds' outputs; and, if it is named, with what
                                   somebody published: an archive, a signed statement, a directory with
                                   a release, or a URL of one of them. Plan and locks are those of its
                                   statement then
          --out <DIR>              Where archives, digests, statements and the report go [default: dist;
                                   rebuilt, beside what was published]
          --vary <AXIS,…>          Let only these conditions differ in the second build
          --no-vary <AXIS,…>       Let all conditions but these differ in the second build
          --keep <DIR>             Leave both builds' trees here: plain/build, plain/out, shaken/build
                                   and shaken/out. Empty, or not there yet
          --sequential             Run one build after the other even if memory allows both at once
          --no-check               Do not check the archives
          --sign                   Sign what is stated: with --key, or keyless
      -h, --help                   Print help

    Signing:
          --key <FILE|env://VARIABLE>
              A private key to sign with: P-256, P-384 or Ed25519, in PKCS#8 or SEC 1, or env://VARIABLE
              with one in it. Its password is read from PGPROOF_KEY_PASSWORD or COSIGN_PASSWORD
          --key-password-file <FILE>
              A file with the key's password in its first line
          --log
              With --key: have a log and a timestamp authority as witnesses too
          --identity-token <TOKEN|@FILE>
              The identity to sign as: a JSON Web Token, or @FILE with one [default: SIGSTORE_ID_TOKEN,
              or what the CI service offers]
          --signing-config <FILE>
              The services to sign with, as a file [default: from the same place as the trust root]
          --openpgp-key <FILE|env://VARIABLE>
              Sign SHA256SUMS with this secret OpenPGP key too: SHA256SUMS.asc. Its password is read
              from PGPROOF_OPENPGP_PASSWORD
          --trusted-root <FILE>
              The trust root, as a file [default: that of the public-good instance, fetched by TUF]
          --tuf-url <URL>
              The TUF repository of a private instance, to fetch the trust root from
          --tuf-root <FILE>
              That repository's root.json, which is believed

    Who must have signed:
          --published-key <FILE>
              A public key that may have signed what was published; repeatable
          --certificate-identity <IDENTITY>
              The identity in the signing certificate, exactly: an e-mail address, or a URI as of a
              workflow
          --certificate-identity-regexp <EXPRESSION>
              The same as a regular expression, which must match the whole identity
          --certificate-oidc-issuer <URL>
              Who attested the identity, exactly: the issuer's URL
          --certificate-oidc-issuer-regexp <EXPRESSION>
              The same as a regular expression, which must match the whole URL
          --certificate-github-workflow-repository <OWNER/NAME>
              The repository of the GitHub workflow that signed: OWNER/NAME
          --certificate-github-workflow-ref <REF>
              The branch or tag of the GitHub workflow that signed: refs/…
          --certificate-github-workflow-name <NAME>
              The name of the GitHub workflow that signed
          --certificate-github-workflow-sha <COMMIT>
              The commit of the GitHub workflow that signed
          --certificate-github-workflow-trigger <EVENT>
              The event that started the GitHub workflow that signed
          --certificate-claim <CLAIM=VALUE>
              Any other claim of the signing certificate, exactly, such as source-repository-uri=URL;
              repeatable
    exit 0
    ");
    let version = format!("pgproof {} (commit {})\nexit 0", env!("CARGO_PKG_VERSION"), env!("PGPROOF_COMMIT"));
    assert_eq!(scene.run(&["--version"]).seen(), version);
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = scene.run(&["completions", shell]).fine();
        assert!(script.stdout.contains("rebuild") && script.stderr.is_empty(), "{shell}");
    }
    let script = scene.run(&["completions", "bash"]).stdout;
    assert!(Command::new("bash").args(["-n", "-c", &script]).status().unwrap().success());
    assert_eq!(scene.run(&["completions", "csh"]).code, Some(2));
}

#[test]
fn wrong_use_is_told_with_what_there_is() {
    let scene = Scene::new();
    let built_in = |words: &[&str]| {
        let ran = scene.bare(words);
        assert!(ran.stdout.is_empty(), "{}", ran.seen());
        format!("$ pgproof {}\n{}\n", words.join(" "), ran.seen())
    };
    let seen: String = [
        &["rebuild", "--compare", "17.11; rm -rf /"][..],
        &["rebuild", "--compare", "17"],
        &["rebuild", "--compare", "17.4"],
        &["rebuild", "--compare", "--target", "m68k-unknown-linux-gnu"],
        &["rebuild", "--compare", "--target", "aarch64-unknown-linux-gnu"],
        &["rebuild", "--compare", "--toolchain", "tcc"],
        &["rebuild", "--compare", "--toolchain", "../../etc/passwd"],
        &["rebuild", "--compare", "--vary", "weather"],
        &["rebuild", "--compare", "--vary", "clock", "--no-vary", "user"],
        &["rebuild"],
        &["rebuild", "--compare", "--plan", "plan.json", "17.11"],
        &["rebuild", "--compare", "--cpus", "0"],
        &["plan", "--mirror", "ftp://example.org/debian"],
        &["shell"],
        &["lock", "--offline"],
        &["log", "no-such-build"],
        &["fetch", "--plan", "no-such-plan.json"],
    ]
    .map(built_in)
    .concat();
    insta::assert_snapshot!(seen, @r#"
    $ pgproof rebuild --compare 17.11; rm -rf /
    error: cannot use what was published
      because 17.11; rm -rf / cannot be read
      because No such file or directory (os error 2)
    exit 6
    $ pgproof rebuild --compare 17
    error: cannot use what was published
      because 17 cannot be read
      because No such file or directory (os error 2)
    exit 6
    $ pgproof rebuild --compare 17.4
    error: cannot use the lockfile
      because PostgreSQL 17.4 for x86_64-unknown-linux-gnu is not locked; locked are 13.16, 15.18, 17.11, 18.6
    exit 2
    $ pgproof rebuild --compare --target m68k-unknown-linux-gnu
    error: invalid value 'm68k-unknown-linux-gnu' for '--target <TRIPLE>': "m68k-unknown-linux-gnu" is not a known target: one of x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild --compare --target aarch64-unknown-linux-gnu
    error: cannot use the definitions
      because no toolchain under toolchains/ builds for aarch64-unknown-linux-gnu; there are bookworm-gcc for x86_64-unknown-linux-gnu
    exit 2
    $ pgproof rebuild --compare --toolchain tcc
    error: cannot use the definitions
      because there is no toolchains/tcc.toml; there are bookworm-gcc
    exit 2
    $ pgproof rebuild --compare --toolchain ../../etc/passwd
    error: invalid value '../../etc/passwd' for '--toolchain <NAME>': "../../etc/passwd" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild --compare --vary weather
    error: invalid value 'weather' for '--vary <AXIS,…>': "weather" is not an axis: one of host-name, user, home, build-path, umask, time-zone, locale, terminal, environment, cpu-count, jobs, boot-time, clock, kernel, address-space, directory-order, source-times, process-ids, file-system

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild --compare --vary clock --no-vary user
    error: the argument '--vary <AXIS,…>' cannot be used with '--no-vary <AXIS,…>'

    Usage: pgproof rebuild --compare [<PUBLISHED>] --vary <AXIS,…> [VERSION]

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild
    error: the following required arguments were not provided:
      --compare [<PUBLISHED>]

    Usage: pgproof rebuild --compare [<PUBLISHED>] [VERSION]

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild --compare --plan plan.json 17.11
    error: the argument '--plan <FILE>' cannot be used with '[VERSION]'

    Usage: pgproof rebuild --compare [<PUBLISHED>] --plan <FILE> [VERSION]

    For more information, try '--help'.
    exit 2
    $ pgproof rebuild --compare --cpus 0
    error: invalid value '0' for '--cpus <COUNT>': 0 is not in 1..=65535

    For more information, try '--help'.
    exit 2
    $ pgproof plan --mirror ftp://example.org/debian
    error: invalid value 'ftp://example.org/debian' for '--mirror <URL>': "ftp://example.org/debian" is not a mirror: it must start with http:// or https:// and have neither ? nor #

    For more information, try '--help'.
    exit 2
    $ pgproof shell
    error: a prompt needs a terminal on standard input and output
    exit 2
    $ pgproof lock --offline
    error: locking reads today's indices: it cannot be done with --offline
    exit 2
    $ pgproof log no-such-build
    error: there is no build "no-such-build": `pgproof log` lists them
    exit 2
    $ pgproof fetch --plan no-such-plan.json
    error: cannot use the plan
      because plan no-such-plan.json cannot be read
      because No such file or directory (os error 2)
    exit 2
    "#);
    assert!(scene.mirror.requests().is_empty());
}

#[test]
fn hostile_plans_are_wrong_use() {
    let scene = Scene::new();
    let spoilt = |spoil: &dyn Fn(&mut serde_json::Value)| {
        let mut plan = scene.plan();
        spoil(&mut plan);
        plan.to_string()
    };
    let plans = [
        "{".to_owned(),
        spoilt(&|plan| plan["inputs"][0]["unpack"]["into"] = "../../etc".into()),
        spoilt(&|plan| plan["steps"][0]["directory"] = "/etc".into()),
        spoilt(&|plan| plan["name"] = "../hello".into()),
        spoilt(&|plan| plan["inputs"][0]["name"] = "a/b".into()),
        spoilt(&|plan| plan["inputs"][0]["origins"][0] = "file:///etc/shadow".into()),
        spoilt(&|plan| plan["inputs"][0]["digest"] = "sha256:12".into()),
        spoilt(&|plan| plan["output"] = "usr/../..".into()),
        spoilt(&|plan| plan["network"] = true.into()),
        spoilt(&|plan| plan["environment"]["A=B"] = "c".into()),
        spoilt(&|plan| plan["steps"][0]["argv"] = serde_json::json!([])),
        spoilt(&|plan| {
            plan["sysroot"]["name"] = "no-such-sysroot".into();
            plan["sysroot"]["manifest"] = Digest::of(b"another").to_string().into();
        }),
        spoilt(&|plan| plan["sysroot"]["manifest"] = Digest::of(b"another").to_string().into()),
    ];
    let mut seen = String::new();
    for plan in plans {
        std::fs::write(scene.path("plan.json"), plan).unwrap();
        let ran = scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]);
        writeln!(seen, "{}", ran.seen()).unwrap();
        assert_eq!(ran.code, Some(2), "{}", ran.seen());
    }
    insta::assert_snapshot!(seen, @r#"
    error: cannot use the plan
      because the plan is malformed
      because EOF while parsing an object at line 1 column 1
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "../../etc" is not a plain relative path at line 1 column 265
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "/etc" is not a plain relative path at line 1 column 417
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "../hello" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit at line 1 column 292
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "a/b" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit at line 1 column 141
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "file:///etc/shadow" is not an origin: it starts with neither debian:, https:// nor http:// at line 1 column 184
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because digest "12" is not 64 lower-case hexadecimal digits at line 1 column 66
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because "usr/../.." is not a plain relative path at line 1 column 314
    exit 2
    error: cannot use the plan
      because the plan is malformed
      because unknown field `network`, expected one of `version`, `name`, `sourceDateEpoch`, `sysroot`, `inputs`, `environment`, `steps`, `output`, `parts` at line 1 column 303
    exit 2
    error: cannot use the plan
      because "A=B" is not the name of an environment variable, or its value has a NUL
    exit 2
    error: cannot use the plan
      because step configure: it names no program
    exit 2
    error: cannot use the definitions
      because there is no [DIR]/definitions/sysroots/no-such-sysroot.toml; there are box
    exit 2
    error: the plan's sysroot box has the manifest sha256:[DIGEST], which is not in the store, and sysroots/box.toml pins [BOX]
    exit 2
    "#);
    let endless = scene.run(&["rebuild", "--compare", "--plan", "/dev/zero"]);
    insta::assert_snapshot!(endless.seen(), @"
    error: cannot use the plan
      because plan /dev/zero is larger than 4194304 bytes
    exit 2
    ");
    scene.nothing_is_left();
}

#[test]
fn hostile_definitions_are_wrong_use() {
    let scene = Scene::new();
    let lockfile = std::fs::read_to_string(scene.path("definitions/lockfiles/box.lock")).unwrap();
    let mut seen = String::new();
    for (from, to) in [
        ("version = 1\n", "version = 2\n"),
        ("name = \"busybox\"", "name = \"busybox\"\npostinst = \"rm -rf /\""),
        ("debian:pool/busybox.deb", "debian:pool/../../busybox.deb"),
        ("name = \"busybox\"", "name = \"../busybox\""),
        ("digest = \"sha256:", "digest = \"md5:"),
        ("[[package]]", "[[package"),
    ] {
        assert!(lockfile.contains(from));
        std::fs::write(scene.path("definitions/lockfiles/box.lock"), lockfile.replacen(from, to, 1)).unwrap();
        let ran = scene.run(&["build", "--quiet", "--plan", "plan.json"]);
        writeln!(seen, "{}", ran.seen()).unwrap();
        assert_eq!(ran.code, Some(2), "{}", ran.seen());
    }
    std::fs::write(scene.path("definitions/lockfiles/box.lock"), &lockfile).unwrap();
    std::fs::write(scene.path("definitions/sysroots/box.toml"), "index = []\nscript = \"rm -rf /\"\n").unwrap();
    writeln!(seen, "{}", scene.run(&["build", "--quiet", "--plan", "plan.json"]).seen()).unwrap();
    seen += &scene.run(&["fetch", "--quiet", "--definitions", "no-such-directory"]).seen();
    insta::assert_snapshot!(seen, @r#"
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock has format version 2, this pgproof reads 1
    exit 2
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock is malformed
      because TOML parse error at line 14, column 1
       |
    14 | postinst = "rm -rf /"
       | ^^^^^^^^
    unknown field `postinst`, expected one of `name`, `version`, `architecture`, `source`, `source-version`, `digest`, `size`, `origins`, `index`

    exit 2
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock is malformed
      because TOML parse error at line 20, column 11
       |
    20 | origins = ["debian:pool/../../busybox.deb"]
       |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "pool/../../busybox.deb" is not a plain relative path

    exit 2
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock is malformed
      because TOML parse error at line 13, column 8
       |
    13 | name = "../busybox"
       |        ^^^^^^^^^^^^
    "../busybox" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit

    exit 2
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock is malformed
      because TOML parse error at line 18, column 10
       |
    18 | digest = "md5:724c3930a2afb9389382c7aa36350a119ede6b0d28290d8790ed89bfa1586f67"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    digest "md5:724c3930a2afb9389382c7aa36350a119ede6b0d28290d8790ed89bfa1586f67" does not start with "sha256:"

    exit 2
    error: cannot use the definitions
      because lockfile [DIR]/definitions/lockfiles/box.lock is malformed
      because TOML parse error at line 12, column 10
       |
    12 | [[package
       |          ^
    unclosed array table, expected `]]`

    exit 2
    error: cannot use the definitions
      because [DIR]/definitions/sysroots/box.toml is malformed
      because TOML parse error at line 2, column 1
      |
    2 | script = "rm -rf /"
      | ^^^^^^
    unknown field `script`, expected one of `index`, `compose`, `source`

    exit 2
    error: cannot use the definitions
      because no-such-directory/toolchains cannot be read
      because No such file or directory (os error 2)
    exit 2
    "#);
    scene.nothing_is_left();
}

#[test]
fn another_box_than_the_pinned_one_is_refused() {
    let scene = Scene::new();
    let path = scene.path("definitions/sysroots/box.toml");
    let more = std::fs::read_to_string(&path).unwrap() + "links = { \"usr/bin/cc\" = \"/tmp/evil\" }\n";
    std::fs::write(path, more).unwrap();
    insta::assert_snapshot!(scene.run(&["build", "--quiet", "--plan", "plan.json"]).seen(), @"
    error: cannot compose the root file system
      because the sysroot box is pinned as [BOX], but its packages compose to sha256:[DIGEST]: if the definition or the lockfile was changed on purpose, `pgproof lock box` writes the new pin
    exit 3
    ");
    scene.nothing_is_left();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new();
    let mut child = scene.command(&["--json", "completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
