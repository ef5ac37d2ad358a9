//! Reports over a real node: figures of a day that is over, read by API and command line, and sent over a channel once.

use std::process::Command;

use chaos::http::Call;
use chaos::sink::AlertSinks;
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Bench, api_token, eventually, options};

/// Two days of hours, events and alerts of two devices, the newest of them yesterday (UTC), added up. The day before yesterday one of them was away for half a
/// day.
async fn past(bench: &Bench) -> String {
    bench.sql(
        "INSERT INTO device (device_id, alias, groups, enrolled_at)
         SELECT gen_random_uuid(), 'till-' || n, CASE n WHEN 1 THEN ARRAY['North'] ELSE ARRAY[]::text[] END, now() - interval '40 days'
         FROM generate_series(1, 2) n",
    );
    bench.sql(
        "INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected, app_version)
         SELECT device_id, now() - interval '1 minute', now(), now(), false, '1.4.0' FROM device",
    );
    bench.sql(
        "INSERT INTO history_hour (device_id, hour_at, heartbeats, first_at, last_at, online_s, battery_n, battery_min, battery_sum, battery_max,
             temperature_n, ram_available_n, ram_pressure_n, storage_free_n, charging_n, charging_yes, net_validated_n, net_validated_yes,
             wifi, cellular, ethernet, no_network, other_network)
         SELECT device_id, at, 60, at, at + interval '59 minutes', 3540, 60, 50, 3300, 100, 0, 0, 0, 0, 60, 60, 0, 0, 60, 0, 0, 0, 0
         FROM device, generate_series(date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '2 days',
             date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 hour', interval '1 hour') at
         WHERE alias = 'till-2' OR at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '36 hours'",
    );
    bench.sql(
        "INSERT INTO device_event (device_id, at, kind)
         SELECT device_id, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '90 minutes', 'rebooted' FROM device",
    );
    bench.sql(
        "INSERT INTO alert
         SELECT gen_random_uuid(), 0, 'command_failures', 'device', device_id::text, alias, groups, tags, 'warning', 'resolved', '3 in a row',
             date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '2 hours', NULL, NULL, NULL,
             date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 hour', 'cleared', 2
         FROM device",
    );
    // The node may have made figures of these days already, without devices: closed, they are made again.
    bench.sql(
        "INSERT INTO history_day (day, closed_at) SELECT (now() AT TIME ZONE 'UTC')::date - n, now() FROM generate_series(1, 2) n
         ON CONFLICT (day) DO UPDATE SET closed_at = excluded.closed_at",
    );
    // Whatever was made of the first rows alone.
    eventually("the last figures of both days", async || {
        (bench.sql("SELECT count(*) FROM report_day WHERE group_canonical = '' AND is_final") == "2").then_some(())
    })
    .await;
    bench.sql("SELECT (now() AT TIME ZONE 'UTC')::date - 1")
}

/// A node whose reconcilers run each second.
fn quick() -> chaos::harness::NodeOptions {
    options().env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1").env("NEXMDM__ALERTS__ALLOW_PRIVATE_TARGETS", "true")
}

fn measure<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["measures"].as_array().unwrap().iter().find(|measure| measure["name"] == name).unwrap()
}

/// The report of a day, once there are figures of it with devices.
async fn report(bench: &Bench, query: &str) -> Value {
    let path = format!("/v1/reports?{query}");
    eventually(&path, async || {
        let report = bench.client.get_json(&path, &bench.admin).await.unwrap();
        (report["complete"] == true && measure(&report, "devices")["value"] != 0.0).then_some(report)
    })
    .await
}

fn ctl(bench: &Bench, arguments: &[&str]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .arg("ctl")
        .args(arguments)
        .env("NEXMDM_SERVER", bench.node.url())
        .env("NEXMDM_TOKEN", &bench.admin)
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_reported_by_group_and_compared_with_the_day_before() {
    let bench = Bench::with(quick()).await;
    let empty = bench.client.get_json("/v1/reports?group=nobody", &bench.admin).await.unwrap();
    assert_eq!((&empty["complete"], &empty["days"], &measure(&empty, "online_pct")["value"]), (&json!(false), &json!([]), &Value::Null));
    let yesterday = past(&bench).await;

    let fleet = report(&bench, "").await;
    assert_eq!((fleet["first_day"].as_str(), fleet["newest_day"].as_str()), (Some(&*yesterday), Some(&*yesterday)));
    // The last heartbeat of each hour counts until the next one's first.
    assert_eq!(measure(&fleet, "online_pct")["value"], 100.0);
    let before = report(&bench, &format!("date={}", bench.sql("SELECT (now() AT TIME ZONE 'UTC')::date - 2"))).await;
    assert_eq!(measure(&before, "gap_hours")["value"], 12.0);
    let fleet = eventually("both days", async || {
        let fleet = report(&bench, "").await;
        (measure(&fleet, "gap_hours")["before"] == 12.0).then_some(fleet)
    })
    .await;
    assert_eq!((&measure(&fleet, "gap_hours")["value"], &measure(&fleet, "gap_hours")["before"]), (&json!(0.0), &json!(12.0)));
    assert_eq!((&measure(&fleet, "reboots")["value"], &measure(&fleet, "reboots")["before"]), (&json!(2.0), &json!(0.0)));
    assert_eq!(
        fleet["alerts"],
        json!([{"rule": "command_failures", "raised": 2, "resolved": 2, "raised_before": 0, "resolved_before": 0}])
    );
    assert_eq!(fleet["groups"][0]["group"], "North");

    let north = report(&bench, "group=north").await;
    assert_eq!(
        (&north["group"], &measure(&north, "devices")["value"], &measure(&north, "reboots")["value"]),
        (&json!("North"), &json!(1.0), &json!(1.0))
    );
    let csv = bench.client.get("/v1/reports.csv?group=NORTH&bom=true", Some(&bench.admin)).await.unwrap();
    let text = String::from_utf8(csv.body.to_vec()).unwrap();
    assert!(
        text.starts_with("\u{feff}\"period\",")
            && text.contains(&format!("\"daily\",\"{yesterday}\",\"{yesterday}\",\"North\",\"reboots\",\"1\",\"0\"")),
        "{text}"
    );
    for (query, field) in [
        ("period=hourly", "period"),
        ("date=tomorrow", "date"),
        ("date=9999-12-31", "date"),
        ("date=-262143-01-01", "date"),
        ("group=%20", "group"),
        ("group=a%00", "group"),
        ("gruop=north", "query"),
    ] {
        let refused = bench.client.get(&format!("/v1/reports?{query}"), Some(&bench.admin)).await.unwrap();
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{query}: {}", refused.detail());
    }

    // Alerts by rule are for those who may see alerts.
    for (scopes, rules) in [(&["devices:read"][..], 0), (&["devices:read", "alerts:read"][..], 1)] {
        let token = api_token(&bench.client, &bench.admin, scopes).await;
        let seen = bench.client.get_json("/v1/reports", token["token"].as_str().unwrap()).await.unwrap();
        assert_eq!((seen["alerts"].as_array().unwrap().len(), &seen["days_before"]), (rules, &json!(1)), "{scopes:?}");
    }

    let (done, shown) = ctl(&bench, &["reports", "show", "--group", "north"]);
    assert!(done && shown.contains("Online") && shown.contains("command_failures"), "{shown}");
    let (done, weekly) = ctl(&bench, &["--output", "json", "reports", "show", "--period", "weekly"]);
    assert!(done && weekly.contains("\"weekly\""), "{weekly}");
    let (done, table) = ctl(&bench, &["reports", "export", "--date", &yesterday]);
    assert!(done && table.contains("online_pct"), "{table}");
    assert!(!ctl(&bench, &["reports", "show", "--date", "9999-12-31"]).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_sends_each_period_once_over_its_channel() {
    let (bench, sinks) = (Bench::with(quick()).await, AlertSinks::start().await.unwrap());
    past(&bench).await;
    report(&bench, "").await;
    let hook = json!({"name": "hook", "kind": "webhook", "url": sinks.webhook_url("hook")});
    assert_eq!(bench.client.post("/v1/alert-channels", Some(&bench.admin), &hook).await.unwrap().status, 201);
    let (done, id) = ctl(&bench, &["reports", "schedules", "create", "hook", "--at", "00:00", "--group", "north"]);
    assert!(done, "{id}");
    let id = id.trim();
    let schedules = async || bench.client.get_json("/v1/report-schedules", &bench.admin).await.unwrap()["items"].clone();
    let made = schedules().await;
    assert_eq!(
        (&made[0]["id"], &made[0]["period"], &made[0]["at"], &made[0]["sent_period"]),
        (&json!(id), &json!("daily"), &json!("00:00"), &Value::Null)
    );
    for (body, field) in [
        (json!({"channel_id": "x", "period": "daily"}), "channel_id"),
        (json!({"channel_id": made[0]["channel_id"], "period": "hourly"}), "period"),
        (json!({"channel_id": made[0]["channel_id"], "period": "daily", "at": "7"}), "at"),
        (json!({"channel_id": made[0]["channel_id"], "period": "daily", "tz": "Mars"}), "tz"),
        (json!({"channel_id": made[0]["channel_id"], "period": "daily", "group": " "}), "group"),
    ] {
        let refused = bench.client.post("/v1/report-schedules", Some(&bench.admin), &body).await.unwrap();
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some(field)), "{body}: {}", refused.detail());
    }

    // Made the day before, so that the report of yesterday has been due since midnight.
    bench.sql("UPDATE report_schedule SET created_at = now() - interval '1 day'");
    let arrived = eventually("the report", async || sinks.arrivals().into_iter().find(|one| one.kind.as_deref() == Some("report"))).await;
    let sent = eventually("it is noted", async || schedules().await[0]["sent_period"].as_str().map(str::to_owned)).await;
    assert_eq!(sent, bench.sql("SELECT (now() AT TIME ZONE 'UTC')::date - 1"));
    assert_eq!(bench.sql("SELECT count(*) FROM notification WHERE kind = 'report'"), "1", "{arrived:?}");
    assert!(
        bench
            .sql("SELECT headline FROM notification WHERE kind = 'report'")
            .contains("group North: online 100 %, restarts 1, alerts raised 1")
    );
    assert!(bench.sql("SELECT report->>'csv' FROM notification WHERE kind = 'report'").contains("online_pct"));

    let gone =
        bench.client.send(Call::get(&format!("/v1/report-schedules/{id}")).method(Method::DELETE).bearer(&bench.admin)).await.unwrap();
    assert_eq!(gone.status, 204);
    assert_eq!(schedules().await, json!([]));
    let actions = bench.sql("SELECT string_agg(action, ' ' ORDER BY seq) FROM audit_entry WHERE action LIKE 'report_schedule.%'");
    assert_eq!(actions, "report_schedule.made report_schedule.removed");
}

/// Has the database refuse what is written to a table.
fn refuse(bench: &Bench, table: &str, what: &str, condition: &str) {
    bench.sql(
        "CREATE OR REPLACE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$",
    );
    bench.sql(&format!("CREATE TRIGGER refused BEFORE {what} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refused()"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_or_schedule_that_fails_holds_up_no_other() {
    let (bench, sinks) = (Bench::with(quick()).await, AlertSinks::start().await.unwrap());
    past(&bench).await;
    let day = |back: u32| bench.sql(&format!("SELECT (now() AT TIME ZONE 'UTC')::date - {back}"));
    refuse(&bench, "report_day", "INSERT", &format!("NEW.day = '{}'", day(3)));
    // In one statement, so that one run finds all: a day that is refused, one before it, and figures that are over their retention.
    bench.sql(
        "WITH old AS (UPDATE report_day SET day = day - 1000 WHERE day = (now() AT TIME ZONE 'UTC')::date - 2),
         made AS (DELETE FROM report_day WHERE day BETWEEN (now() AT TIME ZONE 'UTC')::date - 4 AND (now() AT TIME ZONE 'UTC')::date - 3)
         INSERT INTO history_day (day, closed_at) SELECT (now() AT TIME ZONE 'UTC')::date - n, now() FROM generate_series(3, 4) n
         ON CONFLICT (day) DO UPDATE SET closed_at = excluded.closed_at",
    );
    let made = async |day: &str| {
        let count = bench.sql(&format!("SELECT count(*) FROM report_day WHERE day = '{day}' AND group_canonical = ''"));
        (count == "1").then_some(())
    };
    let (third, fourth) = (day(3), day(4));
    eventually("the figures of the day before it", async || made(&fourth).await).await;
    assert!(made(&third).await.is_none());
    eventually("old figures are deleted", async || {
        (bench.sql("SELECT count(*) FROM report_day WHERE day < (now() AT TIME ZONE 'UTC')::date - 900") == "0").then_some(())
    })
    .await;

    let hook = json!({"name": "hook", "kind": "webhook", "url": sinks.webhook_url("hook")});
    assert_eq!(bench.client.post("/v1/alert-channels", Some(&bench.admin), &hook).await.unwrap().status, 201);
    refuse(&bench, "report_schedule", "UPDATE", "NEW.sent_period IS NOT NULL AND NEW.group_name = 'north'");
    for arguments in [&["--group", "north"][..], &[]] {
        let create = ["reports", "schedules", "create", "hook", "--at", "00:00"];
        let (done, id) = ctl(&bench, &[&create[..], arguments].concat());
        assert!(done, "{id}");
    }
    bench.sql("UPDATE report_schedule SET created_at = created_at - interval '1 day'");
    eventually("the report of the later schedule", async || {
        (bench.sql("SELECT count(*) FROM report_schedule WHERE sent_period IS NOT NULL AND group_name IS NULL") == "1").then_some(())
    })
    .await;
    assert_eq!(bench.sql("SELECT count(*) FROM report_schedule WHERE sent_period IS NOT NULL"), "1");
}
