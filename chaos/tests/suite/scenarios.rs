//! Scenario files as people run them: short ones pass, a promise that is broken on purpose is found, and what a run breaks is healed even when
//! it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{FakeNode, PASSWORD, folder, scheduling};

const LOOK_EVERY: Duration = Duration::from_millis(20);

fn chaos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.stdin(Stdio::null());
    command
}

/// Files of `config/chaos`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/chaos").join(name)
}

/// A scenario file with a text.
fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("scenario.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Runs a scenario file; what it said, and its verdict if there is one.
fn run(file: &Path, dir: &Path, arguments: &[&str]) -> (Output, Value) {
    let output = chaos().arg("run").arg(file).arg("--out").arg(dir).args(arguments).output().unwrap();
    let verdict = fs::read(dir.join("verdict.json")).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output, verdict)
}

/// All that a command said.
fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        sleep(LOOK_EVERY);
    }
}

/// A short scenario passes and leaves its verdict in every form, and nothing to heal.
fn passes(name: &str) {
    scheduling::exclusive();
    let folder = folder();
    let dir = folder.path().join("run");
    let (output, verdict) = run(&file("short").join(name), &dir, &[]);
    assert_eq!(output.status.code(), Some(0), "{}\n{verdict:#}", said(&output));
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}");
    assert!(verdict["promises"].as_array().unwrap().len() > 8, "{verdict:#}");
    assert_eq!(verdict["steady_states"].as_array().unwrap().len(), 2, "{verdict:#}");
    for form in ["verdict.html", "verdict.xml", "verdict.txt"] {
        assert!(fs::metadata(dir.join(form)).unwrap().len() > 0, "{form}");
    }
    let events = fs::read_to_string(dir.join("events.jsonl")).unwrap();
    assert!(events.contains("fault_began") && events.contains("fault_ended"), "{events}");
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    assert_eq!(journal.lines().last(), Some(r#"{"what":"over"}"#), "{journal}");
}

#[test]
fn a_node_is_killed() {
    passes("kill-node.toml");
}

#[test]
fn bad_heartbeats_are_sent() {
    passes("poison-heartbeats.toml");
}

#[test]
fn the_disk_is_slow() {
    passes("slow-disk.toml");
}

#[test]
fn all_devices_reconnect_at_once() {
    passes("thundering-herd.toml");
}

#[test]
fn a_promise_that_is_broken_on_purpose_is_found_with_its_device() {
    scheduling::exclusive();
    let folder = folder();
    let text = "name = \"calm\"\n[cluster]\nnodes = 1\n[fleet]\ndevices = 5\ninterval = \"1s\"\n";
    let (output, verdict) = run(&written(folder.path(), text), &folder.path().join("run"), &["--sabotage", "P1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let broken: Vec<_> = verdict["promises"].as_array().unwrap().iter().filter(|promise| promise["kept"] == false).collect();
    assert_eq!(broken.len(), 1, "{verdict:#}");
    assert_eq!(broken[0]["id"], "P1");
    let device = broken[0]["counterexamples"][0]["device"].as_str().unwrap();
    assert!(said(&output).contains(&format!("sabotage: deleted the heartbeat of device {device}")), "{}", said(&output));
}

/// Processes that name a folder on their command line or in their environment.
fn processes_of(folder: &str) -> Vec<u32> {
    let names = |path: String| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(folder));
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| names(format!("/proc/{pid}/cmdline")) || names(format!("/proc/{pid}/environ"))).collect()
}

/// Kills a run without a chance to heal.
fn kill_9(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_second_run_heals_what_a_killed_one_has_left() {
    scheduling::exclusive();
    let folder = folder();
    let (mark, dir) = (folder.path().join("mark"), folder.path().join("run"));
    let text = format!(
        "name = \"cut-off\"\n[cluster]\nnodes = 1\n[fleet]\ndevices = 2\ninterval = \"1s\"\n\
         [hooks.mark]\nbegin = [\"touch\", \"{0}\"]\nheal = [\"rm\", \"{0}\"]\n\
         [[step]]\nname = \"mark\"\nat = \"0s\"\nlasts = \"1h\"\nfault = {{ kind = \"hook\", hook = \"mark\" }}\n",
        mark.display()
    );
    let file = written(folder.path(), &text);
    let mut first = chaos().arg("run").arg(&file).arg("--out").arg(&dir).stdout(Stdio::null()).spawn().unwrap();
    until("the fault is in force", Duration::from_secs(120), || mark.exists());
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let cluster: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let cluster = cluster["folder"].as_str().unwrap().to_owned();
    assert!(!processes_of(&cluster).is_empty(), "{journal}");

    let heal = chaos().arg("heal").arg(&dir).output().unwrap();
    assert!(!heal.status.success() && said(&heal).contains("still going on"), "{}", said(&heal));
    assert!(mark.exists());

    kill_9(&mut first);
    assert!(mark.exists() && !processes_of(&cluster).is_empty(), "there is something to heal");
    // It heals before anything else, and then has no node to start.
    let (second, verdict) = run(&file, &dir, &["--nexmdm", "/bin/false"]);
    assert_eq!(second.status.code(), Some(2), "{}", said(&second));
    assert!(said(&second).contains("an earlier run was cut off: healed mark: rm "), "{}", said(&second));
    assert_eq!(verdict["outcome"], "not_run", "{verdict:#}");
    assert!(!mark.exists());
    assert_eq!(processes_of(&cluster), [0; 0]);
    let again = chaos().arg("heal").arg(&dir).output().unwrap();
    assert!(again.status.success() && said(&again).contains("nothing is left"), "{}", said(&again));
}

/// A scenario for a cluster that is there already.
fn for_target(url: &str, mark: &Path, destructive: bool) -> String {
    format!(
        "name = \"foreign\"\n[target]\nurls = [\"{url}\"]\ncredentials_env = \"TARGET_CREDENTIALS\"\nallow = [\"127.0.0.1\"]\n\
         [fleet]\ndevices = 4\ninterval = \"1s\"\ntransport = \"http\"\n\
         [hooks.mark]\nbegin = [\"touch\", \"{0}\"]\nheal = [\"rm\", \"{0}\"]\ndestructive = {destructive}\n\
         [[step]]\nname = \"ready\"\nwhen = {{ responds = {{ path = \"/readyz\" }} }}\n\
         [[step]]\nname = \"mark\"\nafter = \"ready\"\nlasts = \"1s\"\nfault = {{ kind = \"hook\", hook = \"mark\" }}\n\
         [before]\nover = \"2s\"\nonline_share_pct = 100\n[after]\nover = \"2s\"\nwithin = \"1s\"\nonline_share_pct = 100\n\
         [thresholds]\nerror_share_pct = 0\n",
        mark.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_there_already_is_disturbed_by_hooks() {
    let (node, folder) = (FakeNode::start().await, folder());
    let mark = folder.path().join("mark");
    let run_with = |destructive, name: &str, arguments: &[&str]| {
        let file = written(folder.path(), &for_target(&node.url, &mark, destructive));
        let dir = folder.path().join(name);
        let mut command = chaos();
        command.arg("run").arg(file).arg("--out").arg(&dir).args(arguments).env("TARGET_CREDENTIALS", PASSWORD);
        (tokio::task::spawn_blocking(move || command.output().unwrap()), dir)
    };

    let (refused, _) = run_with(true, "refused", &[]);
    let refused = refused.await.unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("the hook mark destroys something: say --i-mean-it"), "{}", said(&refused));
    let (refused, _) = run_with(false, "sabotaged", &["--sabotage", "P1"]);
    let refused = refused.await.unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("only a cluster that was started for the run is sabotaged"), "{}", said(&refused));
    assert!(node.state().calls.is_empty() && !mark.exists(), "nothing was done");

    let (done, dir) = run_with(true, "meant", &["--i-mean-it"]);
    let done = done.await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(!mark.exists() && !said(&done).contains("correct-horse"), "{}", said(&done));
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    assert!(journal.contains(r#""step":"mark","undo":[["rm","#) && journal.ends_with("{\"what\":\"over\"}\n"), "{journal}");
    let verdict: Value = serde_json::from_slice(&fs::read(dir.join("verdict.json")).unwrap()).unwrap();
    assert_eq!(verdict["thresholds"][0]["name"], "error_share_pct", "{verdict:#}");
    assert_eq!(node.state().devices.len(), 4);
}

#[test]
fn what_is_wrong_with_a_file_is_told_and_nothing_is_started() {
    scheduling::shared();
    let folder = folder();
    let bad = written(folder.path(), "name = \"bad\"\n[cluster]\nnodse = 3\n[[step]]\nat = \"1s\"\nfault = { kind = \"flood\" }\n");
    let check = chaos().arg("check").arg(&bad).output().unwrap();
    let (run, verdict) = run(&bad, &folder.path().join("run"), &[]);
    for output in [&check, &run] {
        assert_eq!(output.status.code(), Some(2), "{}", said(output));
        assert!(said(output).contains("scenario.toml: line 3: nodse: unknown field"), "{}", said(output));
        assert!(said(output).contains("scenario.toml: line 6: fault: unknown kind `flood`"), "{}", said(output));
    }
    assert!(verdict.is_null() && !folder.path().join("run").exists());
    let list = chaos().arg("run").arg("--list").arg(file("")).output().unwrap();
    assert!(list.status.success() && said(&list).contains("kill-node.toml"), "{}", said(&list));
}
