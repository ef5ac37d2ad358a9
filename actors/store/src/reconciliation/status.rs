//! `device_last_status` beside the newest heartbeat of each device.

use std::collections::HashSet;

use domain::history::is_after_settling;
use domain::reconciliation::{Drift, DriftKind, FieldDrift, StatusDrift, Window, judge_status};
use domain::{DeviceId, Timestamp, telemetry};
use serde_json::Value;
use uuid::Uuid;

use crate::channels;
use crate::{Store, StoreError, Transaction, configure};

/// Devices that were compared by one statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusChunk {
    /// Number of devices.
    pub devices: usize,
    /// The last of them; `None`: there were none.
    pub last: Option<DeviceId>,
    /// Those whose last status differs.
    pub drifts: Vec<StatusDrift>,
}

/// Compares a chunk: all out of one snapshot, in which a heartbeat stands in both tables or in neither. What differs comes with its values.
macro_rules! compare_statement {
    ({ $after:expr, $limit:expr, $from:expr, $until:expr } $( { $field:ident $type:ident $name:tt [$($history:tt)?] } )*) => {
        sqlx::query!(
            "WITH chunk AS MATERIALIZED (
                 SELECT device_id FROM device WHERE device_id > $1 AND deleted_at IS NULL ORDER BY device_id LIMIT $2
             ), compared AS (
                 SELECT c.device_id, s.bucket_at AS status_at, s.device_time AS status_time, s.seq AS status_seq,
                     h.bucket_at AS heartbeat_at, h.device_time AS heartbeat_time, h.seq AS heartbeat_seq,
                     -- The heartbeats of a day without a partition are not lost: they were archived.
                     (h.bucket_at IS NOT NULL OR s.bucket_at >= $3
                         AND to_regclass('heartbeats_p' || to_char(s.bucket_at AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL) AND
                     ROW(s.bucket_at, s.received_at, s.device_time, s.clock_rejected" $($( + ", s." + $history )?)* + ")
                     IS DISTINCT FROM
                     ROW(h.bucket_at, h.received_at, h.device_time, h.clock_rejected" $($( + ", h." + $history )?)* + ") AS differs,
                     jsonb_build_object('bucket_at', s.bucket_at, 'received_at', s.received_at, 'device_time', s.device_time,
                         'clock_rejected', s.clock_rejected" $($( + ", '" + $history + "', s." + $history )?)* + ") AS stored,
                     jsonb_build_object('bucket_at', h.bucket_at, 'received_at', h.received_at, 'device_time', h.device_time,
                         'clock_rejected', h.clock_rejected" $($( + ", '" + $history + "', h." + $history )?)* + ") AS expected
                 FROM chunk c
                 -- One probe for each, whatever the planner takes the chunk's size for.
                 LEFT JOIN LATERAL (
                     SELECT l.bucket_at, l.received_at, l.device_time, l.clock_rejected" $($( + ", l." + $history )?)* + "
                     FROM device_last_status l WHERE l.device_id = c.device_id LIMIT 1
                 ) s ON true
                 LEFT JOIN LATERAL (
                     SELECT b.bucket_at, b.received_at, b.device_time, b.clock_rejected" $($( + ", b." + $history )?)* + "
                     FROM heartbeats_unpacked b WHERE b.device_id = c.device_id AND b.bucket_at >= $3 AND b.bucket_at < $4
                     ORDER BY b.bucket_at DESC LIMIT 1
                 ) h ON true
             )
             SELECT device_id AS \"device_id!\", status_at AS \"status_at?\", status_time AS \"status_time?\", status_seq AS \"status_seq?\",
                 heartbeat_at AS \"heartbeat_at?\", heartbeat_time AS \"heartbeat_time?\", heartbeat_seq AS \"heartbeat_seq?\",
                 CASE WHEN differs THEN stored END AS \"stored?: Value\", CASE WHEN differs THEN expected END AS \"expected?: Value\"
             FROM compared",
            $after, $limit, $from, $until
        )
    };
}

/// Writes the last status of these devices from these heartbeats, where the row is not newer by then: the same order by which heartbeats win.
/// Details stay: history has none.
macro_rules! heal_statement {
    ({ $devices:expr, $buckets:expr, $from:expr, $until:expr } $( { $field:ident $type:ident $name:tt [$($history:tt)?] } )*) => {
        sqlx::query_scalar!(
            "INSERT INTO device_last_status AS d (device_id, bucket_at, received_at, last_seen_at, device_time, clock_rejected"
                 $($( + ", " + $history )?)* + ")
             SELECT h.device_id, h.bucket_at, h.received_at, h.received_at, h.device_time, h.clock_rejected" $($( + ", h." + $history )?)* + "
             FROM UNNEST($1::uuid[], $2::timestamptz[]) AS r(device_id, bucket_at)
             JOIN heartbeats_unpacked h ON h.device_id = r.device_id AND h.bucket_at = r.bucket_at AND h.bucket_at >= $3 AND h.bucket_at < $4
             JOIN device v ON v.device_id = h.device_id AND v.deleted_at IS NULL
             ORDER BY h.device_id
             ON CONFLICT (device_id) DO UPDATE SET
                 bucket_at = excluded.bucket_at, received_at = excluded.received_at,
                 last_seen_at = greatest(d.last_seen_at, excluded.last_seen_at),
                 device_time = excluded.device_time, clock_rejected = excluded.clock_rejected"
                 $($( + ", " + $history + " = excluded." + $history )?)* + "
             WHERE (excluded.bucket_at, coalesce(excluded.device_time, '-infinity'), coalesce(excluded.seq, -1))
                 >= (d.bucket_at, coalesce(d.device_time, '-infinity'), coalesce(d.seq, -1))
             RETURNING d.device_id",
            $devices, $buckets, $from, $until
        )
    };
}

/// Replaces a last status of the future, if it is still the one that was read, by the newest heartbeat that there is. No heartbeat can have
/// replaced it meanwhile: it is newer than any.
macro_rules! heal_future_statement {
    ({ $devices:expr, $statuses:expr, $from:expr, $until:expr } $( { $field:ident $type:ident $name:tt [$($history:tt)?] } )*) => {
        sqlx::query_scalar!(
            "UPDATE device_last_status d SET bucket_at = h.bucket_at, received_at = h.received_at, last_seen_at = h.received_at,
                 device_time = h.device_time, clock_rejected = h.clock_rejected" $($( + ", " + $history + " = h." + $history )?)* + "
             FROM UNNEST($1::uuid[], $2::timestamptz[]) AS r(device_id, status_at)
             CROSS JOIN LATERAL (
                 SELECT b.bucket_at, b.received_at, b.device_time, b.clock_rejected" $($( + ", b." + $history )?)* + "
                 FROM heartbeats_unpacked b WHERE b.device_id = r.device_id AND b.bucket_at >= $3 AND b.bucket_at < $4
                 ORDER BY b.bucket_at DESC LIMIT 1
             ) h
             WHERE d.device_id = r.device_id AND d.bucket_at = r.status_at AND d.bucket_at >= $4
             RETURNING d.device_id",
            $devices, $statuses, $from, $until
        )
    };
}

/// Writes the heartbeat of a last status that history does not have, if it is still the one that was read. What was acknowledged stands in
/// both or in neither, so that history has lost it.
macro_rules! heal_history_statement {
    ({ $devices:expr, $statuses:expr } $( { $field:ident $type:ident $name:tt [$($history:tt)?] } )*) => {
        sqlx::query_scalar!(
            "INSERT INTO heartbeats AS h (device_id, bucket_at, received_at, device_time, clock_rejected" $($( + ", " + $history )?)* + ")
             SELECT s.device_id, s.bucket_at, s.received_at, s.device_time, s.clock_rejected" $($( + ", s." + $history )?)* + "
             FROM UNNEST($1::uuid[], $2::timestamptz[]) AS r(device_id, bucket_at)
             JOIN device_last_status s ON s.device_id = r.device_id AND s.bucket_at = r.bucket_at
             ORDER BY s.device_id
             ON CONFLICT (device_id, bucket_at) DO UPDATE SET
                 received_at = excluded.received_at, device_time = excluded.device_time,
                 clock_rejected = excluded.clock_rejected" $($( + ", " + $history + " = excluded." + $history )?)* + "
             -- What is written is a wide row; what is there may be a narrow one.
             WHERE (coalesce(excluded.device_time, '-infinity'), coalesce(excluded.seq, -1))
                 > (coalesce(CASE WHEN h.received_at IS NULL
                        THEN coalesce(h.bucket_at + h.device_time_ms * interval '1 millisecond', h.device_time)
                        ELSE h.device_time END, '-infinity'),
                    coalesce(CASE WHEN h.received_at IS NULL THEN coalesce(h.seq_int, h.seq) ELSE h.seq END, -1))
             RETURNING h.device_id",
            $devices, $statuses
        )
    };
}

/// How long what mends waits for a row. Whoever holds it is a heartbeat, and others wait behind the rows that are held here.
const GIVE_WAY: &str = "SET LOCAL lock_timeout = '50ms'";

/// Devices, and the time of a bucket of each.
type Rows = (Vec<Uuid>, Vec<Timestamp>);

/// Order by which a newer heartbeat wins.
type Order = (Timestamp, Option<Timestamp>, i64);

fn order(at: Option<Timestamp>, time: Option<Timestamp>, seq: Option<i64>) -> Option<(Timestamp, Order)> {
    at.map(|at| (at, (at, time, seq.unwrap_or(-1))))
}

impl Store {
    /// Compares the last status of at most `limit` devices, in the order of their ids behind `after`, with their newest heartbeat in the window.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn compare_status(&self, after: Option<DeviceId>, limit: i64, window: Window) -> Result<StatusChunk, StoreError> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let mut tx = self.begin().await?;
        // The newest heartbeat of a device is the first one in its index, read backwards. The planner expects few of them in the window, and would
        // sort all instead: thousands, of a device that reports every ten seconds.
        configure(&mut tx, "SET LOCAL enable_sort = off").await?;
        let mut rows = telemetry!(columns => compare_statement { after, limit, window.from, window.until }).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.sort_unstable_by_key(|row| row.device_id);
        let mut chunk = StatusChunk { devices: rows.len(), last: rows.last().map(|row| DeviceId(row.device_id)), drifts: Vec::new() };
        for row in rows {
            let (Some(stored), Some(expected)) = (row.stored, row.expected) else { continue };
            let status = order(row.status_at, row.status_time, row.status_seq);
            let heartbeat = order(row.heartbeat_at, row.heartbeat_time, row.heartbeat_seq);
            // Of the same heartbeat, and yet they differ.
            let same = status.is_some() && status == heartbeat;
            let Some(kind) = judge_status(status, heartbeat, window).or(same.then_some(DriftKind::StatusDiffers)) else { continue };
            let device = DeviceId(row.device_id);
            let drift = Drift { kind, subject: device.to_string(), fields: differences(kind, &stored, &expected), healed: false };
            chunk.drifts.push(StatusDrift { device, drift, status_at: row.status_at, heartbeat_at: row.heartbeat_at });
        }
        Ok(chunk)
    }

    /// Text of the statement that compares, for a test of its plan.
    pub fn compare_status_statement() -> String {
        let (after, limit, from) = (Uuid::nil(), 0_i64, Timestamp::UNIX_EPOCH);
        let statement = telemetry!(columns => compare_statement { after, limit, from, from });
        sqlx::Execute::sql(statement).as_str().to_owned()
    }

    /// Mends what differs, where the rows are still those that were read: a heartbeat that was stored meanwhile stands. Notes which were mended, and has
    /// the owners of those devices read them.
    ///
    /// Each table in a transaction of its own, and history first: heartbeats take the locks of both tables in that order. Rows that somebody else holds
    /// for more than a moment are left to the next run.
    ///
    /// # Errors
    /// The database is unavailable; what was mended until then is noted.
    pub async fn heal_status(&self, drifts: &mut [StatusDrift], window: Window, now: Timestamp) -> Result<(), StoreError> {
        let mut healed = HashSet::new();
        let outcome = self.heal_kinds(drifts, window, now, &mut healed).await;
        for drift in drifts {
            drift.drift.healed = healed.contains(&drift.device.0);
        }
        outcome
    }

    async fn heal_kinds(
        &self,
        drifts: &[StatusDrift],
        window: Window,
        now: Timestamp,
        healed: &mut HashSet<Uuid>,
    ) -> Result<(), StoreError> {
        let of = |kinds: &[DriftKind], at: fn(&StatusDrift) -> Option<Timestamp>| -> Rows {
            let of = drifts.iter().filter(|drift| kinds.contains(&drift.drift.kind));
            of.filter_map(|drift| Some((drift.device.0, at(drift)?))).unzip()
        };
        let ahead = of(&[DriftKind::StatusAhead], |drift| drift.status_at);
        let behind = of(&[DriftKind::StatusMissing, DriftKind::StatusBehind, DriftKind::StatusDiffers], |drift| drift.heartbeat_at);
        let future = of(&[DriftKind::StatusFuture], |drift| drift.status_at);
        if !ahead.0.is_empty() {
            healed.extend(unless_locked(self.heal_ahead(&ahead, now).await)?);
        }
        if !behind.0.is_empty() {
            healed.extend(unless_locked(self.heal_behind(&behind, window).await)?);
        }
        if !future.0.is_empty() {
            healed.extend(unless_locked(self.heal_future(&future, window).await)?);
        }
        Ok(())
    }

    /// Writes heartbeats that history has lost, and notes hours that have to be aggregated again.
    async fn heal_ahead(&self, ahead: &Rows, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let mut tx = self.begin().await?;
        configure(&mut tx, GIVE_WAY).await?;
        let written = telemetry!(columns => heal_history_statement { &ahead.0, &ahead.1 }).fetch_all(&mut *tx).await?;
        let late = ahead.0.iter().zip(&ahead.1).filter(|(id, at)| written.contains(id) && is_after_settling(**at, now));
        let (ids, days): (Vec<_>, Vec<_>) = late.map(|(id, at)| (*id, at.date_naive())).unzip();
        if !ids.is_empty() {
            sqlx::query!(
                "INSERT INTO history_recount (device_id, day) SELECT device_id, day FROM UNNEST($1::uuid[], $2::date[]) AS r(device_id, day)",
                &ids,
                &days
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(written)
    }

    /// Writes last statuses from newer heartbeats.
    async fn heal_behind(&self, behind: &Rows, window: Window) -> Result<Vec<Uuid>, StoreError> {
        let mut tx = self.begin().await?;
        configure(&mut tx, GIVE_WAY).await?;
        let statement = telemetry!(columns => heal_statement { &behind.0, &behind.1, window.from, window.until });
        let written = statement.fetch_all(&mut *tx).await?;
        notify_devices(&mut tx, &written).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Replaces last statuses of the future.
    async fn heal_future(&self, future: &Rows, window: Window) -> Result<Vec<Uuid>, StoreError> {
        let mut tx = self.begin().await?;
        configure(&mut tx, GIVE_WAY).await?;
        // In the order in which heartbeats take them, whatever the plan of the next statement.
        sqlx::query_scalar!("SELECT device_id FROM device_last_status WHERE device_id = ANY($1) ORDER BY device_id FOR UPDATE", &future.0)
            .fetch_all(&mut *tx)
            .await?;
        let statement = telemetry!(columns => heal_future_statement { &future.0, &future.1, window.from, window.until });
        let written = statement.fetch_all(&mut *tx).await?;
        notify_devices(&mut tx, &written).await?;
        tx.commit().await?;
        Ok(written)
    }
}

/// Has the owners of these devices read them.
async fn notify_devices(tx: &mut Transaction, ids: &[Uuid]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let changed: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    sqlx::query!("SELECT pg_notify($1, id) FROM UNNEST($2::text[]) id", channels::DEVICE, &changed).execute(&mut **tx).await?;
    Ok(())
}

/// What was mended: nothing, where a lock did not come in time.
fn unless_locked(outcome: Result<Vec<Uuid>, StoreError>) -> Result<Vec<Uuid>, StoreError> {
    match outcome {
        Err(cause) if cause.is_lock_timeout() => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// The fields that differ. Of rows of different heartbeats it is the heartbeat that matters, not each of its readings.
fn differences(kind: DriftKind, stored: &Value, expected: &Value) -> Vec<FieldDrift> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let shown = |name: &str| kind == DriftKind::StatusDiffers || ["bucket_at", "device_time", "seq"].contains(&name);
    let fields = expected.as_object().into_iter().flatten().filter(|(name, expected)| shown(name) && stored[name.as_str()] != **expected);
    fields.map(|(name, expected)| FieldDrift::new(name, text(&stored[name.as_str()]), text(expected))).collect()
}
