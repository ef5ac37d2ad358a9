//! `nexmdm partitions`: the life of daily partitions by the real binary.

use chaos::harness::TempDir;
use serde_json::Value;

use crate::common::{Bench, eventually, nexmdm, options};

/// Runs a subcommand, and reads what it prints.
fn partitions(bench: &Bench, arguments: &[&str]) -> (bool, Value, String) {
    let all = [&["partitions"], arguments, &["--output", "json"]].concat();
    let (ok, out, err) = nexmdm(&bench.node, &all, "");
    let printed =
        if out.trim().is_empty() { Value::Null } else { serde_json::from_str(out.trim()).unwrap_or_else(|_| panic!("{out}{err}")) };
    (ok, printed, err)
}

/// Waits until the node has done what was due at its start.
async fn until_first_run(bench: &Bench) {
    eventually("the first run", async || {
        let cluster = bench.client.get_json("/v1/cluster", &bench.admin).await.ok()?;
        let mut runs = cluster["reconcilers"].as_array()?.iter().filter(|row| row["name"] == "partitions");
        runs.any(|row| row["runs"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

fn days_with(done: &Value, action: &str) -> Vec<String> {
    let of = |step: &&Value| step["action"] == action;
    done.as_array().into_iter().flatten().filter(of).map(|step| step["day"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_oldest_of_95_days_are_archived_and_dropped_and_come_back() {
    let mut bench = Bench::start().await;
    let device = bench.enroll("kiosk-1").await.device_id;
    until_first_run(&bench).await;
    bench.sql(
        "DO $$ BEGIN FOR n IN 1..95 LOOP
             EXECUTE format('CREATE TABLE IF NOT EXISTS heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
                 to_char(current_date - n, 'YYYYMMDD'), (current_date - n) || ' 00:00Z', (current_date - n + 1) || ' 00:00Z');
         END LOOP; END $$",
    );
    bench.sql(&format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, battery_temperature_c, transport, seq)
         SELECT '{device}', t, t, t, false, (extract(hour FROM t) * 4)::smallint, 31.4, 'wifi', extract(epoch FROM t)::bigint
         FROM generate_series((current_date - 95) AT TIME ZONE 'UTC', current_date AT TIME ZONE 'UTC' - interval '10 s', interval '10 min') t"
    ));
    let content = |day: &str| {
        format!(
            "SELECT count(*) || ' ' || md5(string_agg(h::text, '|' ORDER BY device_id, bucket_at)) FROM heartbeats h \
             WHERE bucket_at >= '{day} 00:00Z' AND bucket_at < '{day} 00:00Z'::timestamptz + interval '1 day'"
        )
    };
    let oldest = |n: i64| bench.sql(&format!("SELECT current_date - {n}"));
    let expired: Vec<String> = [95, 94, 93, 92, 91].map(oldest).to_vec();
    let before = bench.sql(&content(&expired[0]));

    let (ok, planned, _) = partitions(&bench, &["run", "--dry-run"]);
    assert!(ok && planned["planned"][0]["day"] == expired[0], "{planned}");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeat_partition WHERE state = 'dropped'"), "0", "a dry run does nothing");
    // Beside the node, whose private database it shares.
    let (ok, run, err) = partitions(&bench, &["run"]);
    assert!(ok, "{run} {err}");
    for action in ["archive", "verify", "drop"] {
        assert_eq!(days_with(&run["done"], action), expired, "{action}");
    }
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats WHERE bucket_at < (current_date - 90) AT TIME ZONE 'UTC'"), "0");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats WHERE bucket_at < current_date AT TIME ZONE 'UTC'"), (90 * 144).to_string());
    let (ok, again, _) = partitions(&bench, &["run"]);
    assert!(ok && again["done"] == Value::Array(vec![]), "{again}");

    let (ok, verified, err) = partitions(&bench, &["verify"]);
    assert!(ok && verified.as_array().unwrap().iter().all(|day| day["is_intact"] == true && day["rows"] == 144), "{verified} {err}");
    let file = bench.node.data_dir().join("archive/heartbeats").join(format!("{}.parquet", expired[2]));
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let (ok, verified, err) = partitions(&bench, &["verify"]);
    assert!(!ok && err.contains(&format!("heartbeats/{}.parquet", expired[2])), "{err}");
    let damaged = verified.as_array().unwrap().iter().filter(|day| day["is_intact"] == false);
    assert_eq!(damaged.map(|day| day["day"].clone()).collect::<Vec<_>>(), [Value::from(expired[2].as_str())]);

    let (ok, restored, err) = partitions(&bench, &["restore", &expired[0]]);
    assert!(ok && restored["state"] == "restored", "{restored} {err}");
    assert_eq!(bench.sql(&content(&expired[0])), before, "the same rows");
    let (ok, _, err) = partitions(&bench, &["restore", &expired[0]]);
    assert!(!ok && err.contains(&expired[0]) && err.contains("the day is there"), "{err}");
    let (ok, out, err) = nexmdm(&bench.node, &["partitions", "export", &expired[1], &device], "");
    assert!(ok && out.lines().count() == 145 && out.lines().nth(1).unwrap().contains(&device), "{out}{err}");

    // As of another day, beside a live node only when forced.
    let tomorrow = bench.sql("SELECT current_date + 1");
    let (ok, _, err) = partitions(&bench, &["run", "--today", &tomorrow]);
    assert!(!ok && err.contains("--force"), "{err}");
    let (ok, run, err) = partitions(&bench, &["run", "--today", &tomorrow, "--force"]);
    assert!(ok && days_with(&run["done"], "drop") == [oldest(90)], "{run} {err}");
    // Without a node as well.
    let after = bench.sql("SELECT current_date + 2");
    let next = oldest(89);
    bench.node.terminate().await.unwrap();
    let (ok, run, err) = partitions(&bench, &["run", "--today", &after]);
    assert!(ok && days_with(&run["done"], "drop") == [next], "{run} {err}");
    let (ok, out, _) = nexmdm(&bench.node, &["partitions", "list"], "");
    assert!(ok && out.contains("restored") && out.contains("dropped") && out.contains("settled"), "{out}");
}

/// The process ends at each point as `kill -9` ends it, and the next one goes on.
#[tokio::test]
async fn a_command_that_is_killed_anywhere_is_continued() {
    use std::process::Command;
    let bench = Bench::start().await;
    until_first_run(&bench).await;
    for (n, point) in
        ["archive_written", "archive_recorded", "verify_read", "verify_recorded", "drop_detached", "drop_compared", "drop_done"]
            .iter()
            .enumerate()
    {
        let ago = 100 + n;
        let day = bench.sql(&format!("SELECT current_date - {ago}"));
        bench.sql(&format!(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
                 to_char(current_date - {ago}, 'YYYYMMDD'), (current_date - {ago}) || ' 00:00Z', (current_date - {ago} + 1) || ' 00:00Z'); END $$"
        ));
        bench.sql(&format!(
            "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected)
             SELECT gen_random_uuid(), '{day} 00:00Z'::timestamptz + n * interval '10 s', now(), false FROM generate_series(1, 100) n"
        ));
        let killed = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .args(["partitions", "run"])
            .env("NEXMDM__DATA_DIR", bench.node.data_dir())
            .env("NEXMDM_FAULT_PARTITIONS", point)
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point}: it was ended by a signal: {killed:?}");
        // The lock of a killed process is free once the database sees its end.
        eventually("the next run goes on", async || {
            let (ok, run, err) = partitions(&bench, &["run"]);
            assert!(ok || err.contains("another node or command"), "{point}: {run} {err}");
            ok.then_some(())
        })
        .await;
        assert_eq!(bench.sql(&format!("SELECT state || ' ' || archive_rows FROM heartbeat_partition WHERE day = '{day}'")), "dropped 100");
        let (ok, verified, err) = partitions(&bench, &["verify", &day]);
        assert!(ok && verified[0]["rows"] == 100, "{point}: {verified} {err}");
    }
}

/// The same for a restore, and for the table of a day that has settled.
#[tokio::test]
async fn a_restore_and_an_analysis_that_are_killed_anywhere_are_continued() {
    let bench = Bench::start().await;
    until_first_run(&bench).await;
    let kill_at = |point: &str, words: &[&str]| {
        let killed = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .args(words)
            .env("NEXMDM__DATA_DIR", bench.node.data_dir())
            .env("NEXMDM_FAULT_PARTITIONS", point)
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point}: it was ended by a signal: {killed:?}");
    };
    let goes_on = async |point: &str| {
        eventually("the next run goes on", async || {
            let (ok, run, err) = partitions(&bench, &["run"]);
            assert!(ok || err.contains("another node or command"), "{point}: {run} {err}");
            ok.then_some(())
        })
        .await;
    };
    let (gone, settled) = (bench.sql("SELECT current_date - 100"), bench.sql("SELECT current_date - 60"));
    for day in [&gone, &settled] {
        bench.sql(&format!(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
                 to_char(date '{day}', 'YYYYMMDD'), '{day} 00:00Z', (date '{day}' + 1) || ' 00:00Z'); END $$;
             INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected)
             SELECT gen_random_uuid(), '{day} 00:00Z'::timestamptz + n * interval '10 s', now(), false FROM generate_series(1, 100) n"
        ));
    }
    kill_at("analyzed", &["partitions", "run"]);
    goes_on("analyzed").await;
    let states = |day: &str| bench.sql(&format!("SELECT state FROM heartbeat_partition WHERE day = '{day}'"));
    assert_eq!((states(&settled), states(&gone)), ("settled".into(), "dropped".into()));
    let rows = format!(
        "SELECT count(*) FROM heartbeats WHERE bucket_at >= '{gone} 00:00Z' AND bucket_at < '{gone} 00:00Z'::timestamptz + interval '1 day'"
    );
    for point in ["restore_begun", "restore_filled", "restore_attached"] {
        kill_at(point, &["partitions", "restore", &gone]);
        goes_on(point).await;
        assert_eq!((states(&gone), bench.sql(&rows)), ("restored".into(), "100".into()), "{point}");
        let (ok, forgotten, err) = partitions(&bench, &["forget", &gone]);
        assert!(ok && forgotten["state"] == "dropped" && bench.sql(&rows) == "0", "{point}: {forgotten} {err}");
    }
}

/// While the store is away nothing is dropped and people are told; once it is back, all of it is made up for.
#[tokio::test]
async fn a_store_that_is_away_raises_an_alert_and_costs_nothing() {
    let folder = TempDir::new("archive").unwrap();
    let store = folder.path().join("store");
    let started = options().env("NEXMDM__ARCHIVE__URL", store.to_str().unwrap()).env("NEXMDM__PARTITION__INTERVAL_SECONDS", "1");
    let bench = Bench::with(started).await;
    until_first_run(&bench).await;
    // As a disk that was taken away: nothing can be read or written below.
    if store.exists() {
        std::fs::remove_dir_all(&store).unwrap();
    }
    std::fs::write(&store, b"").unwrap();
    bench.sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
             to_char(current_date - 100, 'YYYYMMDD'), (current_date - 100) || ' 00:00Z', (current_date - 99) || ' 00:00Z'); END $$;
         INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected)
         SELECT gen_random_uuid(), (current_date - 100) AT TIME ZONE 'UTC' + n * interval '10 s', now(), false FROM generate_series(1, 100) n",
    );
    let alerts = async |state: &str| {
        let path = format!("/v1/alerts?rule=archive_failed&state={state}");
        bench.client.get_json(&path, &bench.admin).await.unwrap()["items"].as_array().unwrap().clone()
    };
    let raised = eventually("the alert", async || alerts("firing").await.pop()).await;
    assert!(raised["reason"].as_str().unwrap().contains("times in a row"), "{raised}");
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats WHERE bucket_at < (current_date - 90) AT TIME ZONE 'UTC'"), "100");
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    eventually("its end", async || alerts("resolved").await.pop()).await;
    assert_eq!(bench.sql("SELECT state || ' ' || archive_rows FROM heartbeat_partition WHERE day = current_date - 100"), "dropped 100");
}
