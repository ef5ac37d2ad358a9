//! The page of a verdict in a browser: sound in both themes, on a phone and on paper; and its picture for the documentation.

use std::path::{Path, PathBuf};

use chaos::harness::TempDir;
use chaos::oracle::{Check, Evidence, Violation};
use chaos::scenario::{RunArgs, run};
use chaos::verdict::{
    Comparison, Event, Findings, LoadWindow, Machine, RecordLimits, Run, RunRecorder, SteadyState, Threshold, VERDICT_HTML, Version, What,
    When, conclude,
};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use serde_json::json;
use tokio::sync::watch;

use super::chromium::Chromium;

/// A name that a device may choose.
const HOSTILE: &str = "kiosk \"><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>\u{202e}";

fn started() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_275_377, 0).unwrap()
}

/// A run with everything that a page shows, and names that are markup.
fn recorded(dir: &Path) {
    let started_us = started().timestamp_micros();
    let run = Run {
        name: format!("kill-node {HOSTILE}"),
        description: "A node is killed under load, and its devices go on with the others.".into(),
        scenario: format!("name = \"kill-node\"\n# {HOSTILE}\nseed = 7\n\n[cluster]\nnodes = 3\n"),
        seed: 7,
        versions: vec![Version { program: "nexmdm".into(), version: "0.1.0".into() }],
        machine: Machine::this(),
        started_at: started(),
        ended_at: Some(started() + TimeDelta::seconds(120)),
        repeat: vec!["chaos run config/chaos/kill-node.toml --seed 7".into()],
    };
    let recorder = RunRecorder::open(dir, &run, RecordLimits::default()).unwrap();
    let record = |second: i64, what: What| recorder.record(Event::new(started() + TimeDelta::seconds(second), what));
    for second in 0..120_u32 {
        let down = (40..46).contains(&second);
        let errors = if down {
            [("connect".to_owned(), 30), ("http_503".to_owned(), 12), ("timeout".to_owned(), 7)].into()
        } else {
            Default::default()
        };
        let acknowledged = if down { 90 + second % 11 } else { 190 + second * 7 % 23 };
        let p99_us = if down { 380_000 + second * 1_000 } else { 9_000 + second * 97 % 6_000 };
        record(
            i64::from(second),
            What::Load(LoadWindow { acknowledged, p50_us: Some(2_400 + second * 13 % 700), p99_us: Some(p99_us), errors }),
        );
    }
    for (second, node, shards) in [
        (0, "node-1", 86),
        (0, "node-2", 85),
        (0, "node-3", 85),
        (46, "node-2", 0),
        (46, "node-1", 128),
        (46, "node-3", 128),
        (62, "node-2", 85),
        (62, "node-1", 86),
        (62, "node-3", 85),
    ] {
        record(second, What::Shards { node: node.into(), shards });
    }
    for (second, firing) in [(50, 3), (58, 1), (66, 0)] {
        record(second, What::Alerts { rule: "node_lost".into(), firing });
    }
    record(40, What::FaultBegan { fault: "kill".into(), text: "kill -9 node-2".into() });
    record(55, What::FaultEnded { fault: "kill".into() });
    record(50, What::FaultBegan { fault: "slow".into(), text: format!("slow the link of {HOSTILE}") });
    record(90, What::FaultEnded { fault: "slow".into() });
    let lost = Violation::new(
        "P1",
        HOSTILE,
        "has 0 rows of the bucket 15:36:50.000000 that http://127.0.0.1:8080 acknowledged at 15:36:58.234000",
    )
    .with(
        Evidence::of_request("0190b2c4-0000-7000-8000-000000000042")
            .and_at("sent", started_us + 41_200_000)
            .and_at("acknowledged", started_us + 41_234_000)
            .and_row("heartbeats", 0, &[("device_id", HOSTILE), ("bucket_at", "2026-11-21 15:36:50.000000 UTC")]),
    );
    let check =
        |promise, looked_at: &str, violations| Check { promise, looked_at: looked_at.into(), violations, notes: vec!["a remark".into()] };
    let limit = |name: &str, value, limit| Threshold {
        name: name.into(),
        value: Some(value),
        unit: "ms".into(),
        comparison: Comparison::AtMost,
        limit,
    };
    let findings = Findings {
        checks: vec![
            check("P1", "24,310 acknowledgements of 24,000 buckets", vec![lost]),
            check("P2", "480 commands accepted of 480 requested", Vec::new()),
            check("P11", "nothing to check: PostgreSQL was never stopped", Vec::new()),
            check("P12", "1 times a node was gone", Vec::new()),
        ],
        thresholds: vec![limit("p95_ms", 118.0, 150.0), limit("p99_ms", 412.0, 300.0)],
        steady_states: vec![
            SteadyState { when: When::Before, conditions: vec![limit("p99_ms", 14.0, 100.0)] },
            SteadyState { when: When::After, conditions: vec![limit("p99_ms", 13.0, 100.0)] },
        ],
        ..Findings::default()
    };
    conclude(recorder, &run, findings).unwrap();
}

fn url_of(dir: &Path) -> String {
    format!("file://{}", dir.canonicalize().unwrap().join(VERDICT_HTML).display())
}

/// Gives the page its whole height.
async fn whole(chromium: &Chromium, width: u32) {
    chromium.size(width, 800).await;
    let height = chromium.script("return document.documentElement.scrollHeight").await.as_u64().unwrap();
    chromium.size(width, u32::try_from(height.min(12_000)).unwrap()).await;
}

#[tokio::test]
async fn a_verdict_is_sound_in_both_themes_on_a_phone_and_on_paper() {
    let folder = TempDir::new("verdict").unwrap();
    let dir = folder.path().join("run");
    recorded(&dir);
    let chromium = Chromium::start().await;
    for theme in ["light", "dark"] {
        chromium.emulate(json!({"media": "", "features": [{"name": "prefers-color-scheme", "value": theme}]})).await;
        for width in [1_280, 390] {
            whole(&chromium, width).await;
            chromium.goto(&url_of(&dir)).await;
            whole(&chromium, width).await;
            chromium.assert_sound(&format!("verdict {theme} {width}")).await;
            chromium.picture(&format!("verdict-{theme}-{width}")).await;
        }
    }
    // On paper it is light, whatever the screen is.
    chromium.emulate(json!({"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})).await;
    chromium.goto(&url_of(&dir)).await;
    whole(&chromium, 720).await;
    chromium.assert_sound("verdict on paper").await;
    chromium.picture("verdict-print").await;
    let background = chromium.script("return getComputedStyle(document.body).backgroundColor").await;
    assert_eq!(background, "rgb(255, 255, 255)");

    // What a device is called does nothing.
    assert!(chromium.script("return document.title").await.as_str().unwrap().starts_with("kill-node kiosk \"><img src=x"));
    let found = chromium.script("return document.querySelectorAll('script, img, link, iframe').length").await;
    assert_eq!(found, 0);
    // The parts that a person looks for.
    let headings = chromium.script("return [...document.querySelectorAll('h2')].map((heading) => heading.textContent)").await;
    let wanted =
        ["Broken promises", "Thresholds and steady states", "Timeline", "Other promises", "Repeat this run", "The run", "The scenario"];
    assert_eq!(headings, json!(wanted));
    let drawn = chromium
        .script("return [...document.querySelectorAll('svg[role=img]')].every((svg) => svg.getBoundingClientRect().width > 200)")
        .await;
    assert_eq!(drawn, true);
}

#[derive(Parser)]
struct RunCommandLine {
    #[command(flatten)]
    args: RunArgs,
}

/// The picture of the documentation, of a run that breaks a promise on purpose: `make screenshots`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes into docs/"]
async fn screenshots_of_the_documentation_of_a_verdict() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = TempDir::new("verdict").unwrap();
    let dir = folder.path().join("run");
    let scenario = root.join("config/chaos/kill-node.toml");
    let (scenario, out) = (scenario.display().to_string(), dir.display().to_string());
    let words = ["run", &scenario, "--out", &out, "--sabotage", "P1", "--nexmdm", env!("CARGO_BIN_EXE_nexmdm")];
    let (_running, stop) = watch::channel(false);
    let code = Box::pin(run(RunCommandLine::try_parse_from(words).unwrap().args, stop)).await.unwrap();
    assert_eq!(code, 1, "the sabotage is seen");
    let chromium = Chromium::start().await;
    chromium.emulate(json!({"media": "", "features": [{"name": "prefers-color-scheme", "value": "light"}]})).await;
    chromium.size(1_280, 1_700).await;
    chromium.goto(&url_of(&dir)).await;
    std::fs::write(root.join("docs/verdict.png"), chromium.browser.screenshot().await.unwrap()).unwrap();
}
