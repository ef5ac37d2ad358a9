//! Times, ids and rows that the tests share.

use std::sync::Arc;

use domain::access::{Origin, Principal, Role};
use domain::audit::{AuditAction, Target};
use domain::device::DevicePolicy;
use domain::enrollment::Registration;
use domain::heartbeat::{Heartbeat, Telemetry};
use domain::shard::{Epoch, ShardId, ShardLease};
use domain::{DeviceId, DeviceTokenId, EnrollTokenId, NodeId, Timestamp, UserId};
use store::{AuditEntry, EnrollOutcome, HeartbeatRow, NewDevice, NewEnrollToken, NewNode, NewUser};
use test_database::TestDatabase;
use uuid::Uuid;

/// A time, in seconds after 2026-06-01T12:00:00Z.
pub(crate) fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_780_315_200 + second, 0).unwrap()
}

/// A UUID; larger numbers are greater UUIDs.
pub(crate) fn uuid(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

/// The id of the device that [`enroll`] enrolls under this number.
pub(crate) fn device(number: u32) -> DeviceId {
    DeviceId(uuid(number))
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn console() -> Principal {
    Principal::Console { os_user: "root".into() }
}

/// An entry for statements that are handed the entry of their caller.
pub(crate) fn entry(action: AuditAction) -> AuditEntry {
    AuditEntry::new(&console(), action, Target::Other { kind: "test", id: None, name: None })
}

/// The generic plan of the statement that begins like this and that the store ran last on one of its connections: the very text, with these arguments.
pub(crate) async fn plan_of(db: &TestDatabase, begins: &str, arguments: &str) -> String {
    let seen =
        db.values::<String>("SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").await;
    let sql = seen.iter().find(|sql| sql.starts_with(begins)).unwrap_or_else(|| panic!("{begins}: not among {seen:?}"));
    // Longer ones are cut (track_activity_query_size).
    assert!(sql.len() < 1_023, "{sql}");
    let explained = format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE planned AS {sql}; EXPLAIN (COSTS off) EXECUTE planned({arguments}); DEALLOCATE planned"
    );
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explained)).fetch_all(db.pool()).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 0)).collect::<Vec<_>>().join("\n")
}

/// The actions of the audit trail, oldest first.
pub(crate) async fn actions(db: &TestDatabase) -> Vec<String> {
    db.values("SELECT action FROM audit_entry ORDER BY seq").await
}

/// Those of the audit trail from `seq` on.
pub(crate) async fn actions_after(db: &TestDatabase, seq: i64) -> Vec<String> {
    db.values(&format!("SELECT action FROM audit_entry WHERE seq > {seq} ORDER BY seq")).await
}

pub(crate) async fn add_user(db: &TestDatabase, number: u32, username: &str, role: Role) -> UserId {
    let id = UserId(uuid(number));
    db.store().insert_user(NewUser { id, username, password_bcrypt: "bcrypt", role }, &console(), at(0)).await.unwrap();
    id
}

/// A sign-in of an account, without an entry in the audit trail.
pub(crate) async fn sign_in(db: &TestDatabase, user: UserId, session: u32) {
    let (session, user) = (uuid(session), user.0);
    let until = at(100_000);
    db.execute(&format!(
        "INSERT INTO user_session (session_id, user_id, refresh_sha256, created_at, rotated_at, expires_at, address) \
         VALUES ('{session}', '{user}', sha256('{session}'), '{until}', '{until}', '{until}', '192.0.2.1')"
    ))
    .await;
}

pub(crate) fn new_device(number: u32, alias: &str) -> NewDevice {
    NewDevice {
        id: device(number),
        alias: alias.into(),
        registration: Registration::default(),
        token_id: DeviceTokenId(uuid(number)),
        token_secret_bcrypt: format!("bcrypt of {number}"),
    }
}

/// Enrolls a device with a token of its own.
pub(crate) async fn enroll(db: &TestDatabase, number: u32, alias: &str) -> DeviceId {
    enroll_device(db, &new_device(number, alias), &[], &[], at(0)).await
}

pub(crate) async fn enroll_device(db: &TestDatabase, device: &NewDevice, tags: &[&str], groups: &[&str], now: Timestamp) -> DeviceId {
    let (store, id) = (db.store(), EnrollTokenId(device.id.0));
    let token = NewEnrollToken { id, secret_sha256: device.id.0.as_bytes().to_vec(), alias: None };
    let expires_at = now + chrono::TimeDelta::hours(1);
    store.insert_enroll_tokens(&[token], &strings(tags), &strings(groups), &console(), expires_at, now).await.unwrap();
    assert_eq!(store.enroll(id, device, Origin::default(), now).await.unwrap(), EnrollOutcome::Enrolled);
    device.id
}

/// Enrolls devices 1 to `count`, aliases `d1`, `d2`, ...
pub(crate) async fn enroll_many(db: &TestDatabase, count: u32) -> Vec<DeviceId> {
    let mut ids = Vec::new();
    for number in 1..=count {
        ids.push(enroll(db, number, &format!("d{number}")).await);
    }
    ids
}

/// Deletes devices as a person does.
pub(crate) async fn delete_devices(db: &TestDatabase, ids: &[DeviceId], now: Timestamp) {
    let mut work = db.store().device_work().await.unwrap();
    work.delete(ids, None, now).await.unwrap();
    work.commit().await.unwrap();
}

/// A heartbeat whose device's clock is right.
pub(crate) fn heartbeat(id: DeviceId, second: i64, telemetry: Telemetry) -> HeartbeatRow {
    late_heartbeat(id, second, second, telemetry, false)
}

/// A heartbeat that was measured at one second and received at another.
pub(crate) fn late_heartbeat(id: DeviceId, measured: i64, received: i64, telemetry: Telemetry, late: bool) -> HeartbeatRow {
    let heartbeat = Heartbeat::new(id, Some(at(measured)), telemetry, at(received));
    HeartbeatRow::new(id, Arc::new(heartbeat.into()), None, late)
}

pub(crate) fn battery(pct: i16) -> Telemetry {
    Telemetry { battery_pct: Some(pct), ..Telemetry::default() }
}

pub(crate) fn policy() -> DevicePolicy {
    DevicePolicy {
        offline_after: chrono::TimeDelta::minutes(12),
        low_battery_pct: 15,
        app_stale_after_s: 600,
        ghost_after: chrono::TimeDelta::seconds(9_998),
        events_per_hour: 60,
    }
}

pub(crate) fn new_node(number: u32, name: &str) -> NewNode {
    NewNode {
        id: NodeId(uuid(number)),
        name: name.into(),
        cluster_addr: format!("127.0.0.1:{number}"),
        http_url: format!("http://127.0.0.1:{number}"),
        version: "1.2.3".into(),
        protocol_min: 1,
        protocol_max: 2,
        lock_identity: format!("lock of {number}"),
    }
}

/// The lease of a shard in its present epoch.
pub(crate) async fn lease(db: &TestDatabase, shard: ShardId) -> ShardLease {
    let epoch = db.value(&format!("SELECT epoch FROM shard WHERE shard_id = {}", shard.0)).await;
    ShardLease { shard, epoch: Epoch(epoch) }
}

/// Waits until a statement of this database waits for a lock, which `task` has to be held up by.
pub(crate) async fn until_blocked<T>(db: &TestDatabase, task: &tokio::task::JoinHandle<T>) {
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while db.value::<i64>(blocked).await == 0 {
        assert!(!task.is_finished(), "it did not wait");
    }
}

/// Moves a shard to the next epoch, as a claim by another node does.
pub(crate) async fn next_epoch(db: &TestDatabase, shard: ShardId) {
    db.execute(&format!("UPDATE shard SET epoch = epoch + 1 WHERE shard_id = {}", shard.0)).await;
}
