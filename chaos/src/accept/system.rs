//! Criteria of the system as a whole.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use wire::agent::Command;
use wire::socket::DownFrame;

use super::Seen;
use super::visit::{Device, Told, Visit};
use crate::clock::now;
use crate::measure::Latencies;

/// Heartbeats of the check of response times, and the devices that send them.
const TIMED_HEARTBEATS: usize = 200;
const TIMED_DEVICES: usize = 10;
/// Response times that are wanted, ms.
const P95_MS: f64 = 150.0;
const P99_MS: f64 = 300.0;

fn well() -> Told {
    Told { battery_pct: 80, app: None }
}

pub(super) async fn single_use_tokens(visit: &mut Visit) -> Result<Seen> {
    let (_, token) = visit.token("single-use").await?;
    let first = visit.register(&token, "first").await?;
    ensure!(first.status == 200, "the first registration was answered {}", first.detail());
    visit.take("single-use", &first).await?;
    let second = visit.register(&token, "second").await?;
    Seen::of(second.status == 401, format!("one device enrolled; another one with the same token was answered {}", second.status))
}

pub(super) async fn adb_scripts(visit: &mut Visit) -> Result<Seen> {
    let (_, token) = visit.token("script").await?;
    let body = json!({"tokens": [token], "shell": "bash", "install": false, "server_url": visit.site.url()});
    let reply = visit.ask(Method::POST, "/v1/enroll-tokens/scripts", Some(&body)).await?;
    ensure!(reply.status == 200, "POST /v1/enroll-tokens/scripts was answered {}", reply.detail());
    let script = reply.text();
    let whole = script.contains("adb") && script.contains(visit.site.url());
    Seen::of(whole, format!("a script of {} lines that calls adb", script.lines().count()))
}

pub(super) async fn telemetry(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("telemetry").await?;
    let answer = visit.beat(&device, &Told { battery_pct: 63, app: None }).await?;
    let shown = visit.get(&format!("/v1/devices/{}", device.id)).await?;
    let fits = shown["last"]["battery_pct"] == 63 && shown["status"] == "online" && answer["next_heartbeat_seconds"].is_u64();
    let (battery, status, next) = (&shown["last"]["battery_pct"], &shown["status"], &answer["next_heartbeat_seconds"]);
    Seen::of(fits, format!("the device is shown as {status} with battery {battery}; the next heartbeat is wanted in {next} s"))
}

pub(super) async fn one_row_per_bucket(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("bucket").await?;
    // The middle of a bucket an hour ago.
    let seconds = -3_600 - now().timestamp().rem_euclid(10) + 5;
    for battery_pct in [50, 50, 51] {
        let body = visit.heartbeat_at(seconds, &Told { battery_pct, app: None });
        let reply = visit.device_posts(&device, "/v1/heartbeat", &body).await?;
        ensure!(reply.status == 200, "POST /v1/heartbeat was answered {}", reply.detail());
    }
    let table = visit.ask(Method::GET, &format!("/v1/devices/{}/heartbeats.csv", device.id), None).await?;
    ensure!(table.status == 200, "the export was answered {}", table.detail());
    let rows = table.text().lines().filter(|line| !line.is_empty()).count().saturating_sub(1);
    Seen::of(rows == 1, format!("three heartbeats of one bucket of 10 s, all acknowledged, are {rows} rows"))
}

pub(super) async fn credentials(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("credentials").await?;
    let body = visit.heartbeat_at(-60, &well());
    let altered = format!("{}x", device.token);
    let mut seen = Vec::new();
    for (what, token) in [("an altered token", altered.as_str()), ("its id", device.id.as_str()), ("its alias", device.alias.as_str())] {
        let reply = visit.site.call(Method::POST, "/v1/heartbeat", Some(token), Some(&body)).await?;
        seen.push((what, reply.status));
    }
    seen.push(("nothing", visit.site.call(Method::POST, "/v1/heartbeat", None, Some(&body)).await?.status));
    seen.push(("nothing, as a person", visit.site.call(Method::GET, "/v1/devices", None, None).await?.status));
    let words: Vec<String> = seen.iter().map(|(what, status)| format!("{what}: {status}")).collect();
    Seen::of(seen.iter().all(|(_, status)| *status == 401), format!("answers to {}", words.join(", ")))
}

pub(super) async fn sessions(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("session").await?;
    let parts = device.session.split('.').count();
    let answer = visit.beat(&device, &well()).await?;
    Seen::of(parts == 3 && answer["ok"] == true, format!("a session token of {parts} parts is taken for a heartbeat"))
}

pub(super) async fn command_over_socket(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("socket").await?;
    let mut socket = visit.site.socket(&device.session).await?;
    let mut frame = visit.next_heartbeat(&well());
    frame["type"] = json!("heartbeat");
    frame["id"] = json!(1);
    socket.send(&frame).await?;
    let refused = socket.find(|frame| answer_to(&frame, &json!(1))).await?;
    ensure!(refused.is_none(), "the heartbeat over the socket was answered {refused:?}");
    let id = send_ping(visit, &device).await?;
    let command = socket.find(|frame| if let DownFrame::Command(command) = frame { Some(command) } else { None }).await?;
    ensure!(command.request_id == id && command.action == "ping", "another command came: {}", command.action);
    let altered = Command { params: format!("{} ", command.params), ..command.clone() };
    let (signed, altered) = (device.would_run(&command)?, device.would_run(&altered)?);
    socket.send(&json!({"type": "action_result", "id": 2, "request_id": id, "outcome": "success", "message": "acceptance check"})).await?;
    let refused = socket.find(|frame| answer_to(&frame, &json!(2))).await?;
    let state = visit.get(&format!("/v1/commands/{id}")).await?["state"].clone();
    let kept = refused.is_none() && state == "succeeded";
    Seen::of(
        signed && !altered && kept,
        format!("a ping came over the socket, signed: {signed}; the altered one would run: {altered}; after its result it is {state}"),
    )
}

/// Status of the refusal of a frame, or `None` within when it was acknowledged.
fn answer_to(frame: &DownFrame, wanted: &Value) -> Option<Option<u16>> {
    match frame {
        DownFrame::Ack { id, .. } if id == wanted => Some(None),
        DownFrame::Refused { id, status, .. } if id == wanted => Some(Some(*status)),
        _ => None,
    }
}

async fn send_ping(visit: &Visit, device: &Device) -> Result<String> {
    let body = json!({"action": "ping", "params": {}});
    let reply = visit.ask(Method::POST, &format!("/v1/devices/{}/commands", device.id), Some(&body)).await?;
    ensure!(reply.status == 201, "POST /v1/devices/ID/commands was answered {}", reply.detail());
    Ok(reply.json()["request_id"].as_str().context("no request_id")?.to_owned())
}

pub(super) async fn command_by_heartbeat(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("heartbeat").await?;
    let id = send_ping(visit, &device).await?;
    let answer = visit.beat(&device, &well()).await?;
    let command: Command = serde_json::from_value(answer["commands"][0].clone()).context("no command in the answer to the heartbeat")?;
    ensure!(command.request_id == id, "another command came");
    let signed = device.would_run(&command)?;
    let result = |outcome: &str| json!({"request_id": id, "outcome": outcome});
    let mut statuses = Vec::new();
    for outcome in ["success", "success", "failed"] {
        statuses.push(visit.device_posts(&device, "/v1/action-result", &result(outcome)).await?.status);
    }
    let state = visit.get(&format!("/v1/commands/{id}")).await?["state"].clone();
    Seen::of(
        signed && statuses == [200, 200, 409] && state == "succeeded",
        format!(
            "a ping came with the answer, signed: {signed}; its result, the same again and another one were answered {statuses:?}; it is {state}"
        ),
    )
}

pub(super) async fn alert_limits(visit: &mut Visit) -> Result<Seen> {
    let rules = visit.get("/v1/alert-rules").await?;
    let items = rules["items"].as_array().cloned().unwrap_or_default();
    let mut words = Vec::new();
    let (mut all_on, mut as_asked) = (true, true);
    for (rule, threshold, asked) in
        [("device_offline", "offline_after_seconds", Some(720)), ("low_battery", "raise_below_pct", Some(15)), ("app_down", "", None)]
    {
        let Some(found) = items.iter().find(|item| item["rule"] == rule) else { return Ok(Seen::Fail(format!("there is no rule {rule}"))) };
        let is_on = found["enabled"] == true;
        let value =
            found["thresholds"].as_array().into_iter().flatten().find(|one| one["name"] == threshold).map(|one| one["value"].clone());
        all_on &= is_on;
        as_asked &= asked.is_none() || value == asked.map(Value::from);
        let value = value.map_or_else(String::new, |value| format!(" {threshold} {value}"));
        words.push(format!("{rule}{value} is {}", if is_on { "on" } else { "off" }));
    }
    let words = words.join(", ");
    Ok(match (all_on, as_asked) {
        (true, true) => Seen::Pass(words),
        _ => Seen::NotChecked(format!("this installation has settings of its own: {words}")),
    })
}

pub(super) async fn discord(visit: &mut Visit) -> Result<Seen> {
    let reply = visit.ask(Method::GET, "/v1/alert-channel-kinds", None).await?;
    ensure!(reply.status == 200, "GET /v1/alert-channel-kinds was answered {}", reply.detail());
    let json = reply.json();
    let kinds: Vec<&str> = json["items"].as_array().into_iter().flatten().filter_map(|item| item["kind"].as_str()).collect();
    Seen::of(kinds.contains(&"discord") && kinds.contains(&"email"), format!("kinds of channels: {}", kinds.join(", ")))
}

pub(super) async fn metrics(visit: &mut Visit) -> Result<Seen> {
    let reply = visit.ask(Method::GET, "/metrics", None).await?;
    if reply.status != 200 {
        return Ok(Seen::NotChecked(format!("/metrics is not to be read here: {}", reply.status)));
    }
    let text = reply.text();
    let histograms = text.lines().filter(|line| line.starts_with("# TYPE") && line.ends_with(" histogram")).count();
    let pool = text.contains("\nnexmdm_database_connections");
    Seen::of(histograms > 0 && pool, format!("{histograms} histograms; gauges of the connection pool: {pool}"))
}

pub(super) async fn agent_update(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("update").await?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let path = "/v1/agent/update?package_name=com.nexmdm&current_version_code=1";
        let reply = visit.site.call(Method::GET, path, Some(&device.session), None).await?;
        let reason = reply.headers.get("x-update-reason").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let json = reply.json();
        let whole = match reply.status {
            200 => json["sha256"].is_string() && json["signer_fingerprint"].is_string() && json["staged_rollout_percent"].is_number(),
            304 => !reason.is_empty(),
            _ => false,
        };
        answers.push((reply.status, reason, json["build_id"].clone(), whole));
    }
    let (status, reason, _, whole) = answers[0].clone();
    Seen::of(whole && answers[0] == answers[1], format!("twice the same answer: {status} {reason}"))
}

pub(super) async fn partitions(visit: &mut Visit) -> Result<Seen> {
    let listed = visit.get("/v1/partitions").await?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let days: Vec<&str> = items.iter().filter(|item| item["dropped_at"].is_null()).filter_map(|item| item["day"].as_str()).collect();
    let today = now().date_naive();
    let missing: Vec<String> = (-1..=2)
        .filter_map(|offset| today.checked_add_signed(chrono::TimeDelta::days(offset)))
        .map(|day| day.to_string())
        .filter(|day| !days.contains(&day.as_str()))
        .collect();
    let archives = items.iter().filter(|item| item["archive"].is_object());
    let (mut archived, mut summed) = (0, 0);
    for item in archives {
        archived += 1;
        summed += usize::from(item["archive"]["sha256"].as_str().is_some_and(|sum| sum.len() == 64));
    }
    let dropped_unverified = items.iter().filter(|item| item["state"] == "dropped" && !item["archive"].is_object()).count();
    Seen::of(
        missing.is_empty() && archived == summed && dropped_unverified == 0,
        format!(
            "{} days with a table, {archived} archives, {summed} of them with SHA-256; missing around today: {}",
            days.len(),
            missing.join(" ")
        ),
    )
}

pub(super) async fn audit(visit: &mut Visit) -> Result<Seen> {
    let (id, _) = visit.token("audit").await?;
    let reply = visit.ask(Method::GET, "/v1/audit?limit=50", None).await?;
    ensure!(reply.status == 200, "GET /v1/audit was answered {}", reply.detail());
    let text = reply.text();
    Seen::of(text.contains(&id), "the enrollment token that was just made is in the audit trail".into())
}

pub(super) async fn response_times(visit: &mut Visit) -> Result<Seen> {
    let mut devices = Vec::new();
    for number in 0..TIMED_DEVICES {
        devices.push(visit.enroll(&format!("timed-{number}")).await?);
    }
    let mut latencies = Latencies::default();
    for number in 0..TIMED_HEARTBEATS {
        let beat = i64::try_from(number / TIMED_DEVICES).unwrap_or(0);
        let body = visit.heartbeat_at(beat * 10 - 1_000, &well());
        let reply = visit.device_posts(&devices[number % TIMED_DEVICES], "/v1/heartbeat", &body).await?;
        if reply.status == 429 {
            return Ok(Seen::NotChecked("the rate limit of this installation is below what is measured".into()));
        }
        ensure!(reply.status == 200, "POST /v1/heartbeat was answered {}", reply.detail());
        latencies.record(reply.took);
    }
    let found = latencies.percentiles();
    Seen::of(
        found.p95_ms < P95_MS && found.p99_ms < P99_MS,
        format!(
            "p95 {:.1} ms, p99 {:.1} ms of {TIMED_HEARTBEATS} heartbeats from here, one after the other; 2,000 devices: chaos run config/chaos/seed-slo.toml",
            found.p95_ms, found.p99_ms
        ),
    )
}

pub(super) async fn revocation(visit: &mut Visit) -> Result<Seen> {
    let device = visit.enroll("revoked").await?;
    visit.beat(&device, &well()).await?;
    let gone = visit.ask(Method::DELETE, &format!("/v1/devices/{}", device.id), None).await?;
    ensure!(matches!(gone.status, 200 | 204), "the deletion was answered {}", gone.detail());
    let body = visit.next_heartbeat(&well());
    let mut statuses = Vec::new();
    for token in [&device.session, &device.token] {
        statuses.push(visit.site.call(Method::POST, "/v1/heartbeat", Some(token), Some(&body)).await?.status);
    }
    Seen::of(
        statuses.iter().all(|status| matches!(status, 401 | 410)),
        format!("heartbeats of a deleted device were answered {statuses:?}"),
    )
}
