//! Builds and their verdicts.

use std::process::Command;

use super::scene::{HELLO, Scene};
use crate::gate::{self, Need};

const REBUILD: [&str; 4] = ["rebuild", "--compare", "--plan", "plan.json"];

#[test]
fn a_reproducible_project_is_reproduced_and_published() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let ran = scene.run(&REBUILD);
    insta::assert_snapshot!(ran.stdout, @"
    reproduced: hello-1.0
      built twice from inputs pinned by digest, in a box without network, under different conditions;
      what both made has the same SHA-256
      archive   sha256:cc2fe34ab6830aa9cddbe328e06cdeeb22dedc6578e91afd403e86ae75afd974
      tar       sha256:[DIGEST]
      file list sha256:[DIGEST]
      different 18 of 19 conditions
                not clock: the root file system has no libfaketime
      in        dist/hello-1.0.tar.gz (386 B)
      stated    dist/hello-1.0.provenance.json (unsigned)
      stated    dist/hello-1.0.rebuild.json (unsigned)
    ");
    // Both builds talk at once.
    let mut progress: Vec<_> = ran.stderr.lines().collect();
    progress.sort_unstable();
    insta::assert_snapshot!(progress.join("\n"), @"
      fetch inputs: 2 to fetch, [SIZE] MiB
      fetch inputs: fetched ([TIME] s)
      plain [1/3] configure
      plain [2/3] build
      plain [3/3] install
      plain build took [TIME] s
      plain configure took [TIME] s
      plain install took [TIME] s
      plain packing
      plain root file system and inputs verified
      plain sha256:cc2fe34ab6830aa9cddbe328e06cdeeb22dedc6578e91afd403e86ae75afd974 386 B ([TIME] s)
     shaken [1/3] configure
     shaken [2/3] build
     shaken [3/3] install
     shaken build took [TIME] s
     shaken configure took [TIME] s
     shaken install took [TIME] s
     shaken packing
     shaken root file system and inputs verified
     shaken sha256:cc2fe34ab6830aa9cddbe328e06cdeeb22dedc6578e91afd403e86ae75afd974 386 B ([TIME] s)
    compose root file system [BOX] ([TIME] s)
    compose the root file system
    ");
    assert_eq!((ran.code, scene.published().as_str()), (Some(0), HELLO));
    insta::assert_snapshot!(scene.names("dist").join("\n"), @"
    SHA256SUMS
    SHA512SUMS
    build-info.json
    hello-1.0.files
    hello-1.0.plan.json
    hello-1.0.provenance.json
    hello-1.0.rebuild.json
    hello-1.0.report.json
    hello-1.0.tar.gz
    hello-1.0.tar.gz.sha256
    ");
    insta::assert_snapshot!(std::fs::read_to_string(scene.path("dist/hello-1.0.files")).unwrap(), @"
    #mtree
    . type=dir
    ./hello-1.0 type=dir mode=0755
    ./hello-1.0/bin type=dir mode=0755
    ./hello-1.0/bin/hello type=file mode=0755 size=88 sha256digest=65d0e570774fb189f477577fe935270eb02352df652f4d6aab1f552f6e34e108
    ./hello-1.0/bin/hi type=link mode=0777 link=hello
    ./hello-1.0/share type=dir mode=0755
    ./hello-1.0/share/hello type=dir mode=0755
    ./hello-1.0/share/hello/README type=file mode=0644 size=87 sha256digest=383d7141f042159051c9e90cd398585666fd47edafdb77e054f63556ec1b413c
    ./hello-1.0/share/hello/greetings.list type=file mode=0644 size=36 sha256digest=f9e192e1e4cd2ed96bc8ec416700e8edb45de4b06b1a8f10f720db94da61fb54
    ");
    let check = |program: &str, sums: &str| {
        let checked =
            Command::new(program).args(["-c", "--strict", sums]).current_dir(scene.path("dist")).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
        String::from_utf8(checked.stdout).unwrap()
    };
    check("sha256sum", "hello-1.0.tar.gz.sha256");
    let checked = check("sha256sum", "SHA256SUMS");
    assert_eq!(checked.lines().count(), 5, "{checked}");
    assert_eq!(check("sha512sum", "SHA512SUMS"), checked);
    let report = scene.report();
    assert_eq!(report["verdict"], serde_json::json!({"reproduced": true}));
    assert_eq!(report["builds"][1]["variation"]["label"], "shaken");
    assert_eq!(report["builds"][0]["walls"].as_array().unwrap().len(), 19);
    scene.nothing_is_left();
}

#[test]
fn the_plan_that_is_printed_builds_the_same() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]).fine();
    let plan = std::fs::read(scene.path("dist/hello-1.0.plan.json")).unwrap();
    let digest = pgproof::digest::Digest::of(&plan).to_string();
    assert_eq!(scene.report()["plan"], digest);
    let printed = scene.command(&["plan", "--plan", "plan.json"]).output().unwrap();
    assert_eq!(printed.stdout, plan);
    assert_eq!(String::from_utf8(printed.stderr).unwrap(), format!("the plan's digest is {digest}\n"));
    // Somewhere else, with nothing but the plan and its origins.
    let elsewhere = Scene::new();
    let printed = scene.command(&["plan", "--plan", "plan.json", "--origins"]).output().unwrap();
    std::fs::write(elsewhere.path("printed.json"), printed.stdout).unwrap();
    elsewhere.run(&["build", "--plan", "printed.json", "--cpus", "1", "--out", "dist"]).fine();
    assert_eq!(elsewhere.published(), HELLO);
    assert_eq!(elsewhere.report()["plan"], digest);
    // And here without a network device, let alone a network.
    let again = Scene::around(scene, &["unshare", "-rn"]);
    again.run(&["build", "--offline", "--plan", "dist/hello-1.0.plan.json"]).fine();
    assert_eq!(again.published(), HELLO);
}

#[test]
fn an_ordinary_user_builds_the_same() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new().by_ordinary_user();
    scene.run(&REBUILD).fine();
    assert_eq!(scene.published(), HELLO);
    scene.run(&["doctor"]).fine();
    scene.nothing_is_left();
}

/// A project that writes down where and when it was built.
const LEAKS: &str = "mkdir -p /pgproof/out/etc && cd /pgproof/out/etc && hostname > host && pwd -P > same && \
                     (cd /; cd - > /dev/null; echo $HOME) > home && echo $$ > process && stat -c %Y / > /dev/null && \
                     echo $PGPROOF_CANARY > environment && uname -r > kernel && date +%Z > zone";

#[test]
fn a_leak_is_an_answer_that_names_the_files() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script(LEAKS);
    let ran = scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]);
    insta::assert_snapshot!(ran.seen(), @"
    not reproduced: hello-1.0
    6 of 9 entries differ:
      etc/environment: text, 1 → 29 bytes
      etc/home: text, 12 → 28 bytes
      etc/host: text, 10 → 27 bytes
      etc/kernel: text, 16 → 15 bytes
      etc/process: text, 2 → 5 bytes
      etc/zone: text, 4 → 27 bytes
      stated    dist/hello-1.0.rebuild.json (unsigned)

    exit 1
    ");
    // Only what is told of them: bytes that were not reproduced are nobody's release.
    assert_eq!(scene.names("dist"), ["hello-1.0.rebuild.json", "hello-1.0.report.json"]);
    let verdict = &scene.report()["verdict"];
    assert_eq!(verdict["reproduced"], false);
    assert!(verdict["differences"].to_string().contains("hello-1.0/etc/host"), "{verdict}");
    let json = scene.run(&["rebuild", "--compare", "--json", "--plan", "plan.json"]);
    assert_eq!((json.code, &json.json()["verdict"], json.stderr.as_str()), (Some(1), verdict, ""));
    scene.nothing_is_left();
}

#[test]
fn chosen_conditions_differ_and_no_others() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script("hostname > /pgproof/out/host");
    let run = |words: &[&str]| scene.run(&[&["rebuild", "--compare", "--json", "--plan", "plan.json"], words].concat());
    let all_but = run(&["--no-vary", "host-name"]).fine().json();
    assert_eq!(all_but["builds"][1]["axes"].as_object().unwrap().len(), 18);
    let others = run(&["--vary", "user,home"]).fine().json();
    assert_eq!(others["builds"][1]["axes"], serde_json::json!({"home": "held", "user": "held"}));
    let only = run(&["--vary", "host-name", "--sequential"]);
    assert_eq!((only.code, &only.json()["order"]), (Some(1), &"in-turn".into()));
    let canary = format!("pgproof-host-name-{}", &only.json()["plan"].as_str().unwrap()[7..15]);
    assert_eq!(only.json()["builds"][1]["variation"]["hostName"], canary);
}

#[test]
fn a_plan_has_parts_that_are_compared_and_published_too() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let with_parts = |script: &str| {
        scene.write_script(script);
        let mut plan: serde_json::Value =
            serde_json::from_slice(&std::fs::read(scene.path("plan.json")).unwrap()).unwrap();
        plan["output"] = "main".into();
        plan["parts"] = serde_json::json!({"debug": "symbols", "doc": "doc"});
        scene.write_plan(&plan);
    };
    with_parts("cd /pgproof/out && mkdir main doc symbols && echo a > main/a && echo b > doc/b && echo c > symbols/c");
    let ran = scene.run(&REBUILD);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for part in ["", "-debug", "-doc"] {
        assert!(scene.names("dist").contains(&format!("hello-1.0{part}.tar.gz")), "{part}");
    }
    let archives = &scene.report()["builds"][1]["archives"];
    assert_eq!(archives[1]["name"], "hello-1.0-debug");
    let sums = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(scene.path("dist")).output().unwrap();
    assert_eq!((sums.status.code(), String::from_utf8(sums.stdout).unwrap().lines().count()), (Some(0), 11));

    // A leak into a part is one, and is told where.
    with_parts("cd /pgproof/out && mkdir main doc symbols && hostname > doc/host && hostname > main/host");
    let ran = scene.run(&REBUILD);
    insta::assert_snapshot!(ran.stdout, @"
    not reproduced: hello-1.0
    2 of 5 entries differ:
      host: text, 10 → 27 bytes
      hello-1.0-doc/host: text, 10 → 27 bytes
      stated    dist/hello-1.0.rebuild.json (unsigned)
    ");
    assert_eq!(ran.code, Some(1));

    // Somebody who says where a part is has to make it.
    with_parts("cd /pgproof/out && mkdir main doc");
    let ran = scene.run(&REBUILD);
    assert_eq!(ran.code, Some(5));
    assert!(ran.stderr.contains("the build's output /pgproof/out/symbols cannot be used"), "{}", ran.stderr);
}

#[test]
fn a_check_that_is_not_made_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    for (words, why) in
        [(&[][..], "the plan is not of the recipe for PostgreSQL"), (&["--no-check"], "--no-check was given")]
    {
        let ran = scene.run(&[&["build", "--plan", "plan.json"], words].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(scene.report()["check"], serde_json::json!({"skipped": why}));
        assert_eq!(ran.stdout.contains("check     skipped"), !words.is_empty());
    }
}

#[test]
fn trees_are_kept_on_request() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let rebuild = ["rebuild", "--compare", "--quiet", "--plan", "plan.json", "--keep", "kept"];
    scene.run(&rebuild).fine();
    for label in ["plain", "shaken"] {
        let kept = scene.path("kept").join(label);
        let list = Command::new("find").current_dir(&kept).arg("out").arg("-type").arg("f").output().unwrap().stdout;
        let mut list: Vec<_> = String::from_utf8(list).unwrap().lines().map(str::to_owned).collect();
        list.sort();
        insta::allow_duplicates! {
            insta::assert_snapshot!(list.join("\n"), @"
            out/hello-1.0/bin/hello
            out/hello-1.0/share/hello/README
            out/hello-1.0/share/hello/greetings.list
            ");
        }
        assert_eq!(scene.names(&format!("kept/{label}/build/hello-1.0/hello")).len(), 10);
    }
    insta::assert_snapshot!(scene.run(&rebuild).seen(), @"
    error: kept is not empty: name another directory, or remove it
    exit 2
    ");
}

#[test]
fn a_failing_step_is_told_and_its_log_kept() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let script =
        "seq 1000; printf 'red \\033[31m\\007\\ttab\\342\\200\\256\\n'; echo no rule to make target >&2; exit 7";
    scene.write_steps(&[("configure", "echo configured"), ("make", script), ("install", "true")]);
    let ran = scene.run(&["build", "--quiet", "--plan", "plan.json"]);
    assert_eq!(ran.code, Some(5));
    let shown: Vec<_> = ran.stderr.lines().filter(|line| line.parse::<u32>().is_err()).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    error: there is no plain build
      because step make exited with status 7
    red �[31m� tab�
    no rule to make target
    all that it printed: pgproof log [BUILD]
    ");
    let listed = scene.run(&["log"]).fine().stdout;
    let (id, rest) = listed.split_once("  ").unwrap();
    insta::assert_snapshot!(rest, @"hello-1.0  failed: step make exited with status 7");
    let log = scene.run(&["log", id]).fine().stdout;
    assert!(log.starts_with("configured\n1\n2\n3\n"), "{log}");
    insta::assert_snapshot!(log.lines().skip(1000).collect::<Vec<_>>().join("\n"), @"
    1000
    red �[31m�	tab�
    no rule to make target
    (3.85 KiB of output)
    ");
    let json = scene.run(&["build", "--json", "--plan", "plan.json"]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(5), ""));
    assert_eq!(json.json()["error"]["exitCode"], 5);
    let listed = scene.run(&["log", "--json"]).fine().json();
    assert_eq!(listed["builds"][0]["id"], id);
    assert_eq!(listed["builds"].as_array().unwrap().len(), 2);
    assert_eq!(scene.names("dist"), Vec::<String>::new());
    // Of two builds that fail one is told.
    let twice = scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]);
    assert!(twice.code == Some(5) && twice.stderr.contains("step make exited with status 7"), "{}", twice.seen());
    scene.nothing_is_left();
}

#[test]
fn log_lists_the_newest_builds() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let record = |second: usize| pgproof::store::Record {
        started: jiff::Timestamp::from_second(second.try_into().unwrap()).unwrap(),
        name: format!("build-{second}").parse().unwrap(),
        plan: pgproof::digest::Digest::of(b"plan"),
        variation: "plain".parse().unwrap(),
        outcome: pgproof::store::Outcome::Cancelled,
        log: None,
        outputs: std::collections::BTreeMap::new(),
    };
    let store = scene.store();
    for second in 0..25 {
        store.record_run(&record(second)).unwrap();
    }
    drop(store);
    let listed = scene.run(&["log"]).fine().stdout;
    assert_eq!(listed.lines().count(), 20);
    assert!(listed.ends_with("build-24  stopped\n"), "{listed}");
    let id = listed.split(' ').next().unwrap();
    insta::assert_snapshot!(scene.run(&["log", id]).seen(), @"
    error: nothing that the build 19700101T000005.000000-64879f7d6b96-plain printed was kept: it was stopped, or its first step never began
    exit 2
    ");
}

#[test]
fn a_build_that_takes_too_long_is_stopped() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script("echo working; sleep 86389");
    let ran = scene.run(&["build", "--quiet", "--plan", "plan.json", "--timeout", "1"]);
    insta::assert_snapshot!(ran.seen(), @"
    error: there is no plain build
      because the build did not end within 1 s and was stopped: raise --timeout if it needs longer
    all that it printed: pgproof log [BUILD]
    exit 5
    ");
    scene.nothing_is_left();
}

#[test]
fn progress_and_results_do_not_mix() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let quiet = scene.run(&["build", "--plan", "plan.json", "--quiet"]).fine();
    assert_eq!(quiet.stderr, "");
    insta::assert_snapshot!(quiet.stdout, @"
    built once: hello-1.0 in [TIME] s
      archive   sha256:cc2fe34ab6830aa9cddbe328e06cdeeb22dedc6578e91afd403e86ae75afd974
      tar       sha256:[DIGEST]
      file list sha256:[DIGEST]
      in        dist/hello-1.0.tar.gz (386 B)
      stated    dist/hello-1.0.provenance.json (unsigned)
    ");
    let json = scene.run(&["build", "--plan", "plan.json", "--json"]).fine();
    assert_eq!((json.stderr.as_str(), &json.json()["name"]), ("", &"hello-1.0".into()));
}

#[test]
fn another_runtime_builds_the_same_from_a_bundle() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let said = scene.run(&["plan", "--plan", "plan.json", "--oci-bundle", "bundle", "--quiet"]);
    insta::assert_snapshot!(said.seen(), @"
    bundle is an OCI runtime bundle of the plan sha256:[DIGEST]; run it and pack what it made:
      runc run --bundle bundle pgproof-bundle
      pgproof pack --plan plan.json --tree bundle/out
    exit 0
    ");
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(scene.path(""), open).unwrap();
    let name = format!("pgproof-test-cli-{}", std::process::id());
    let runc = Command::new("runc")
        .args([
            "--root",
            scene.path("state").to_str().unwrap(),
            "run",
            "--bundle",
            scene.path("bundle").to_str().unwrap(),
            &name,
        ])
        .output()
        .unwrap();
    assert!(runc.status.success(), "{runc:?}");
    let packed = scene.run(&["pack", "--plan", "plan.json", "--tree", "bundle/out", "--json"]).fine().json();
    assert_eq!(packed["archives"][0]["archive"], HELLO);
    assert!(scene.path("dist/hello-1.0.tar.gz").exists());
    assert_eq!(scene.run(&["pack", "--plan", "plan.json", "--tree", "no-such-tree"]).code, Some(6));
}

#[test]
fn a_prompt_opens_where_the_steps_would_run() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let line = format!("{} shell --quiet --plan plan.json", scene.path("pgproof").display());
    let mut prompt = Command::new("script");
    prompt
        .args(["-qefc", &line, "/dev/null"])
        .current_dir(scene.path(""))
        .envs(scene.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let mut child = prompt.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut typing = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut typing, b"cat hello/VERSION; pwd; id -un; exit 0\n").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(typing);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("1.0\r\n/build\r\nbuild\r\n"), "{shown}");
    assert!(output.status.success(), "{shown}");
    scene.nothing_is_left();
}
