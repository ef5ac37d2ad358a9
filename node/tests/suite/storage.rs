//! Days of heartbeats over the API: what is due, archives, plots and exports out of them, restoring, and who may do what.

use serde_json::{Value, json};

use crate::common::{Bench, options, within};

/// Longest time for work on a small day, with other tests beside.
const WORK_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// A heartbeat a minute on the day so many days before today, in a partition of its own. Answers the day.
pub(crate) fn day_of_heartbeats(bench: &Bench, device: &str, days_ago: i64) -> String {
    bench.sql(&format!(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE IF NOT EXISTS heartbeats_p%s PARTITION OF heartbeats FOR VALUES FROM (%L) TO (%L)',
             to_char(current_date - {days_ago}, 'YYYYMMDD'), (current_date - {days_ago}) || ' 00:00Z', (current_date - {days_ago} + 1) || ' 00:00Z');
         END $$"
    ));
    bench.sql(&format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected, battery_pct, charging, transport, ram_available_mb, boot_id)
         SELECT '{device}', t, t + interval '1 s', false, (extract(hour FROM t) * 4)::smallint, extract(hour FROM t) < 12, 'wifi', 1000, '=boot'
         FROM generate_series((current_date - {days_ago}) AT TIME ZONE 'UTC', (current_date - {days_ago} + 1) AT TIME ZONE 'UTC' - interval '1 min', interval '1 min') t"
    ));
    bench.sql(&format!("SELECT current_date - {days_ago}"))
}

/// Waits for the run that the node begins with, which would archive the days of a test before the test asks for it.
pub(crate) async fn first_run_over(bench: &Bench) {
    within(WORK_MAX, "the first run of the partition manager", async || {
        let storage = bench.client.get_json("/v1/storage", &bench.admin).await.unwrap();
        storage["manager"]["last_run_at"].is_string().then_some(())
    })
    .await;
}

async fn started(bench: &Bench, path: &str) -> Value {
    let answer = bench.client.post(path, Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(answer.status, 202, "{path}: {}", answer.detail());
    answer.json()
}

/// Waits for the end of work.
async fn ended(bench: &Bench, work: &Value) -> Value {
    let path = format!("/v1/partition-work/{}", work["id"].as_str().unwrap());
    within(WORK_MAX, "the work ends", async || {
        let work = bench.client.get_json(&path, &bench.admin).await.unwrap();
        (work["state"] != "running").then_some(work)
    })
    .await
}

async fn succeeded(bench: &Bench, work: &Value) -> Value {
    let ended = ended(bench, work).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert!(ended["ended_at"].is_string() && ended["summary"].is_string(), "{ended}");
    ended
}

/// Lines of an export without its head, and how many of them are from each source.
async fn exported(bench: &Bench, device: &str, query: &str) -> (Vec<String>, usize, usize) {
    let answer = bench.client.get(&format!("/v1/devices/{device}/heartbeats.csv?{query}"), Some(&bench.admin)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    assert!(lines.next().unwrap().starts_with("device_id,bucket_at,received_at,"));
    let lines: Vec<_> = lines.collect();
    let of = |source: &str| lines.iter().filter(|line| line.ends_with(source)).count();
    let (database, archive) = (of(",database"), of(",archive"));
    (lines, database, archive)
}

#[tokio::test]
async fn a_day_beyond_its_retention_is_plotted_and_exported_out_of_its_archive_and_comes_back() {
    let bench = Bench::start().await;
    first_run_over(&bench).await;
    let device = bench.enroll("kiosk-1").await.device_id;
    let days = [93, 92].map(|ago| day_of_heartbeats(&bench, &device, ago));
    let (day, next) = (&days[0], &days[1]);
    let plot = format!("/v1/devices/{device}/history?from={day}T00:00:00Z&to={next}T00:00:00Z&points=289");
    let before = bench.client.get_json(&plot, &bench.admin).await.unwrap();
    assert_eq!((&before["archived"], before["points"].as_array().unwrap().len()), (&Value::Null, 288));
    let range = format!("from={day}T12:00:00Z&to={next}T12:00:00Z");
    let (rows_before, database, archive) = exported(&bench, &device, &range).await;
    assert_eq!((rows_before.len(), database, archive), (1440, 1440, 0));
    assert!(rows_before[0].contains("'=boot"), "{}", rows_before[0]);

    let dry = bench.client.post("/v1/partitions/run", Some(&bench.admin), &json!({"dry_run": true})).await.unwrap();
    assert_eq!((dry.status, &dry.json()["work"]), (200, &Value::Null));
    let plan = dry.json();
    let planned = plan["plan"].as_array().unwrap().iter().find(|planned| planned["day"] == **day).unwrap();
    let actions: Vec<_> = planned["steps"].as_array().unwrap().iter().map(|step| step["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"archive") && actions.ends_with(&["drop"]), "{planned}");

    let run = started(&bench, "/v1/partitions/run").await;
    succeeded(&bench, &run["work"]).await;
    let details = bench.client.get_json(&format!("/v1/partitions/{day}"), &bench.admin).await.unwrap();
    assert_eq!(
        (&details["state"], &details["archive"]["rows"], &details["steps"]),
        (&json!("dropped"), &json!(1440), &json!([])),
        "{details}"
    );
    assert_eq!(details["archive"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(bench.sql("SELECT count(*) FROM heartbeats WHERE bucket_at < now() - interval '80 days'"), "0");

    let mut after = bench.client.get_json(&plot, &bench.admin).await.unwrap();
    assert_eq!(after["archived"], json!({"first": day, "last": day, "days": 1}));
    after["archived"] = Value::Null;
    assert_eq!(after, before, "the same plot");
    let (rows_after, database, archive) = exported(&bench, &device, &range).await;
    assert_eq!((database, archive), (0, 1440));
    let without_source = |rows: &[String]| rows.iter().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect::<Vec<_>>();
    assert_eq!(without_source(&rows_after), without_source(&rows_before), "the same rows");
    let long = format!("/v1/devices/{device}/history?from={day}T00:00:00Z&points=90&metrics=battery_pct");
    let to = bench.sql("SELECT to_char(current_date - 10, 'YYYY-MM-DD')");
    let long = bench.client.get_json(&format!("{long}&to={to}T00:00:00Z"), &bench.admin).await.unwrap();
    assert_eq!(long["archived"]["days"], 2, "{long}");
    let told: i64 = long["points"].as_array().unwrap().iter().map(|point| point["heartbeats"].as_i64().unwrap()).sum();
    assert_eq!(told, 2880);
    // Without its archive the day is not one on which the device was silent.
    let file = bench.node.data_dir().join(format!("archive/heartbeats/{day}.parquet"));
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    for path in [plot.clone(), format!("/v1/devices/{device}/heartbeats.csv?{range}")] {
        let answer = bench.client.get(&path, Some(&bench.admin)).await.unwrap();
        assert_eq!(answer.status, 503, "{path}: {}", answer.detail());
    }
    std::fs::rename(&aside, &file).unwrap();

    let verified = started(&bench, &format!("/v1/partitions/{day}/verify")).await;
    assert!(succeeded(&bench, &verified).await["summary"].as_str().unwrap().contains("1,440 rows"));
    let restored = started(&bench, &format!("/v1/partitions/{day}/restore")).await;
    succeeded(&bench, &restored).await;
    let details = bench.client.get_json(&format!("/v1/partitions/{day}"), &bench.admin).await.unwrap();
    assert_eq!(details["state"], "restored", "{details}");
    assert!(details["restored_until"].is_string());
    assert_eq!(bench.client.get_json(&plot, &bench.admin).await.unwrap(), before, "out of the database again");
    assert_eq!(exported(&bench, &device, &range).await.0.iter().filter(|row| row.ends_with(",database")).count(), 720);

    // Before its time is over.
    let forgotten = started(&bench, &format!("/v1/partitions/{day}/forget")).await;
    assert!(succeeded(&bench, &forgotten).await["summary"].as_str().unwrap().contains("1,440 rows"));
    let details = bench.client.get_json(&format!("/v1/partitions/{day}"), &bench.admin).await.unwrap();
    assert_eq!((details["state"].as_str(), details["restored_until"].is_null()), (Some("dropped"), true), "{details}");
    let again = bench.client.post(&format!("/v1/partitions/{day}/forget"), Some(&bench.admin), &json!({})).await.unwrap();
    assert!(again.status == 409 && again.detail().contains("no restored day"), "{} {}", again.status, again.detail());

    for action in ["partitions.run", "partition.verified", "partition.restored", "partition.forgotten", "device.heartbeats_exported"] {
        let entries = bench.client.get_json(&format!("/v1/audit?action={action}"), &bench.admin).await.unwrap();
        assert_eq!(entries["items"][0]["actor"]["name"], "admin", "{action}");
    }
    let works = bench.client.get_json("/v1/storage", &bench.admin).await.unwrap();
    let kinds: Vec<_> = works["work"].as_array().unwrap().iter().map(|work| work["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["forget", "restore", "verify", "run"], "newest first");
}

#[tokio::test]
async fn what_cannot_be_done_with_a_day_is_refused_and_says_why() {
    let bench = Bench::start().await;
    let today = bench.sql("SELECT current_date");
    let shown = bench.client.get_json(&format!("/v1/partitions/{today}"), &bench.admin).await.unwrap();
    assert_eq!(shown["state"], "open", "a table that is not recorded yet");
    for (path, status, says) in [
        (format!("/v1/partitions/{today}/archive"), 409, "not over"),
        (format!("/v1/partitions/{today}/verify"), 409, "no archive"),
        (format!("/v1/partitions/{today}/restore"), 409, "no archive"),
        (format!("/v1/partitions/{today}/forget"), 409, "no restored day"),
        ("/v1/partitions/2001-02-03/verify".into(), 404, "no such partition"),
        ("/v1/partitions/2001-02-03/restore".into(), 404, "no such partition"),
        ("/v1/partitions/2026-02-30/verify".into(), 404, "no such partition"),
        ("/v1/partitions/yesterday/archive".into(), 404, "no such partition"),
    ] {
        let refused = bench.client.post(&path, Some(&bench.admin), &json!({})).await.unwrap();
        assert!(refused.status == status && refused.detail().contains(says), "{path}: {} {}", refused.status, refused.detail());
    }
    for (query, field) in [("state=hot", "state"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("colour=red", "query")] {
        let refused = bench.client.get(&format!("/v1/partitions?{query}"), Some(&bench.admin)).await.unwrap();
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{query}");
    }
    let refused = bench.client.post("/v1/partitions/run", Some(&bench.admin), &json!({"dry_run": true, "force": true})).await.unwrap();
    assert_eq!(refused.status, 422);
    // Other work is under way, of a node that is alive.
    bench.sql(
        "INSERT INTO partition_work (work_id, kind, state, step, done, started_by, node, started_at, renewed_at)
         VALUES (gen_random_uuid(), 'run', 'running', 'Archiving', 0, 'ada', 'elsewhere', now(), now())",
    );
    let refused = bench.client.post("/v1/partitions/run", Some(&bench.admin), &json!({})).await.unwrap();
    assert!(refused.status == 409 && refused.detail().contains("started by ada"), "{}", refused.detail());
    // Its node was silent for long: it stands in nobody's way.
    bench.sql("UPDATE partition_work SET started_at = now() - interval '5 min', renewed_at = now() - interval '2 min'");
    let shown = bench.client.get_json("/v1/storage", &bench.admin).await.unwrap();
    assert_eq!(shown["work"][0]["state"], "interrupted", "{shown}");
    let run = started(&bench, "/v1/partitions/run").await;
    succeeded(&bench, &run["work"]).await;
    assert_eq!(bench.sql("SELECT string_agg(state, ' ' ORDER BY started_at) FROM partition_work"), "interrupted succeeded");
}

#[tokio::test]
async fn storage_tells_sizes_runs_and_pages_of_days() {
    let bench = Bench::with(options().env("NEXMDM__PARTITION__INTERVAL_SECONDS", "1")).await;
    let storage = within(WORK_MAX, "the days are recorded and sampled", async || {
        let storage = bench.client.get_json("/v1/storage", &bench.admin).await.unwrap();
        (!storage["partitions"].as_array().unwrap().is_empty()
            && !storage["disk"].is_null()
            && !storage["manager"]["last_run_at"].is_null())
        .then_some(storage)
    })
    .await;
    assert!(storage["sizes"]["database_bytes"].as_i64().unwrap() > storage["sizes"]["heartbeats_bytes"].as_i64().unwrap());
    assert!(storage["disk"]["free_bytes"].as_i64().unwrap() <= storage["disk"]["bytes"].as_i64().unwrap());
    assert_eq!((&storage["growth"], &storage["forecast"]), (&Value::Null, &json!({"kind": "too_little_data", "full_at": null})));
    assert_eq!(storage["heartbeats_kept_days"], 90);
    assert!(storage["manager"]["next_run_at"].is_string(), "{storage}");

    // Three days that grow by 1 GiB each, and a disk with ten days' room.
    bench.sql(
        "INSERT INTO storage_sample SELECT now() - n * interval '1 hour', b, b / 2, 0, b, 10737418240, 107374182400
         FROM generate_series(1, 72) n, LATERAL (SELECT 107374182400 - n * 44739243::bigint AS b) s ON CONFLICT DO NOTHING",
    );
    bench.sql("DELETE FROM storage_sample WHERE database_bytes < 10000000000");
    let storage = bench.client.get_json("/v1/storage", &bench.admin).await.unwrap();
    assert_eq!(storage["forecast"]["kind"], "full_at", "{storage}");
    let a_day = storage["growth"]["disk_bytes_per_day"].as_f64().unwrap();
    assert!((a_day - 1_073_741_832.0).abs() < 1_000_000.0, "{a_day}");

    let first = bench.client.get_json("/v1/partitions?limit=3", &bench.admin).await.unwrap();
    let days: Vec<_> = first["items"].as_array().unwrap().iter().map(|item| item["day"].as_str().unwrap().to_owned()).collect();
    assert!(days.len() == 3 && days[0] > days[1] && days[1] > days[2], "{days:?}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = bench.client.get_json(&format!("/v1/partitions?limit=3&cursor={cursor}"), &bench.admin).await.unwrap();
    assert!(second["items"][0]["day"].as_str().unwrap() < days[2].as_str());
    let none = bench.client.get_json("/v1/partitions?state=lost,dropped", &bench.admin).await.unwrap();
    assert_eq!(none["items"], json!([]));
    let cluster = bench.client.get_json("/v1/cluster", &bench.admin).await.unwrap();
    let connections = &cluster["nodes"][0]["connections"];
    assert!(
        connections["capacity"].as_u64().unwrap() >= connections["in_use"].as_u64().unwrap() && connections["open"].as_u64() > Some(0),
        "{connections}"
    );
    assert!(bench.metric("nexmdm_database_connection_waiters").await >= 0.0);
}

/// Exit status, standard output and standard error of `nexmdm ctl`.
fn ctl(bench: &Bench, arguments: &[&str]) -> (bool, String, String) {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .arg("ctl")
        .args(arguments)
        .env("NEXMDM_SERVER", bench.node.url())
        .env("NEXMDM_TOKEN", &bench.admin)
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

#[tokio::test]
async fn the_command_line_follows_work_to_its_end() {
    let bench = Bench::start().await;
    first_run_over(&bench).await;
    let device = bench.enroll("kiosk-1").await.device_id;
    let day = day_of_heartbeats(&bench, &device, 93);
    let (good, out, err) = ctl(&bench, &["partitions", "run", "--dry-run"]);
    assert!(good && out.contains(&day) && out.contains("archive"), "{out}{err}");
    let (good, out, err) = ctl(&bench, &["partitions", "run", "--wait"]);
    assert!(good && out.contains("steps done"), "{out}{err}");
    let (good, out, err) = ctl(&bench, &["partitions", "show", &day]);
    assert!(good && out.contains("dropped") && out.contains("1440"), "{out}{err}");
    let (good, out, err) = ctl(&bench, &["partitions", "verify", &day, "--wait"]);
    assert!(good && out.contains("1,440 rows"), "{out}{err}");
    let (good, out, err) =
        ctl(&bench, &["devices", "heartbeats", "kiosk-1", "--from", &format!("{day}T00:00:00Z"), "--to", &format!("{day}T01:00:00Z")]);
    assert!(good && out.lines().filter(|line| line.ends_with(",archive")).count() == 60, "{out}{err}");
    let (good, out, err) = ctl(&bench, &["-o", "json", "storage"]);
    let storage: Value = serde_json::from_str(&out).unwrap();
    assert!(good && storage["sizes"]["archive_rows"] == 1440, "{out}{err}");
    let (good, out, err) = ctl(&bench, &["cluster", "connections"]);
    assert!(good && out.contains("LONGEST WAIT MS"), "{out}{err}");

    // An archive that is damaged is a failure that names it, and a failure of the command.
    let archive = bench.node.data_dir().join(format!("archive/heartbeats/{day}.parquet"));
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let (good, out, err) = ctl(&bench, &["partitions", "verify", &day, "--wait"]);
    assert!(!good && err.contains(&format!("heartbeats/{day}.parquet")), "{out}{err}");
    let (good, _, err) = ctl(&bench, &["partitions", "restore", "2001-02-03", "--wait"]);
    assert!(!good && err.contains("no such partition"), "{err}");
}
