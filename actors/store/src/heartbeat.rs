//! The dual write: history and newest status of a batch of heartbeats, together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::DeviceId;
use domain::device::LastStatus;
use domain::history::is_after_settling;
use domain::telemetry;

use crate::details::{details, details_hash};
use crate::narrow::NarrowValues;
use crate::telemetry_column::ColumnValue;
use crate::{Store, StoreError};

/// Row of a heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatRow {
    /// Device that sent the heartbeat.
    pub device_id: DeviceId,
    /// The heartbeat.
    pub status: Arc<LastStatus>,
    /// Changed push token.
    pub fcm_token: Option<String>,
    /// Whether a newer heartbeat of the device was stored before.
    pub late: bool,
    /// Whether its details should equal the stored ones, so that they are not sent again.
    /// If they differ, none are shown rather than wrong ones.
    pub same_details: bool,
    /// Digest of the details.
    details_hash: i64,
}

impl HeartbeatRow {
    /// The row of a checked heartbeat, with all its details.
    pub fn new(device_id: DeviceId, status: Arc<LastStatus>, fcm_token: Option<String>, late: bool) -> Self {
        let details_hash = details_hash(&status.telemetry);
        Self { device_id, status, fcm_token, late, same_details: false, details_hash }
    }
}

impl Store {
    /// Writes a batch: each row into its day's partition, of a (device, bucket)
    /// the newest, and each device's newest into `device_last_status`. Repeats
    /// change nothing. One transaction; after an error nothing of the batch may
    /// be taken for stored.
    ///
    /// # Errors
    /// The database is unavailable, or refused a value.
    pub async fn write_heartbeats(&self, rows: &mut [HeartbeatRow]) -> Result<(), StoreError> {
        // One order for all writers, so that two batches with the same devices cannot deadlock.
        rows.sort_by_key(|row| (row.device_id, row.status.order()));
        let late: Vec<_> = rows.iter().filter(|row| row.late).collect();
        let tokens: BTreeMap<_, _> = rows.iter().filter_map(|row| Some((row.device_id.0, row.fcm_token.as_deref()?))).collect();
        let written = newest_of_buckets(rows);
        // Before the transaction: what waits for a connection while it has one may wait for ever.
        let narrow = self.narrowed(&column(&written, |row| &*row.status)).await?;
        if late.is_empty() && tokens.is_empty() {
            return dual_write(&self.pool, &written, &narrow).await;
        }
        let mut tx = self.begin().await?;
        dual_write(&mut *tx, &written, &narrow).await?;
        if !late.is_empty() {
            let devices: Vec<_> = late.iter().map(|row| row.device_id.0).collect();
            let seen: Vec<_> = late.iter().map(|row| row.status.received_at).collect();
            sqlx::query!(
                "UPDATE device_last_status d SET last_seen_at = r.seen_at
                 FROM (SELECT device_id, max(seen_at) AS seen_at FROM UNNEST($1::uuid[], $2::timestamptz[]) AS r(device_id, seen_at)
                       GROUP BY device_id) r
                 WHERE d.device_id = r.device_id AND d.last_seen_at < r.seen_at",
                &devices,
                &seen
            )
            .execute(&mut *tx)
            .await?;
        }
        if !tokens.is_empty() {
            let (devices, tokens): (Vec<_>, Vec<_>) = tokens.into_iter().map(|(id, token)| (id, token.to_owned())).unzip();
            sqlx::query!(
                "UPDATE device d SET fcm_token = r.fcm_token
                 FROM (SELECT device_id, t.fcm_token FROM UNNEST($1::uuid[], $2::text[]) AS t(device_id, fcm_token)
                       JOIN device USING (device_id) ORDER BY device_id FOR NO KEY UPDATE OF device) r
                 WHERE d.device_id = r.device_id AND d.fcm_token IS DISTINCT FROM r.fcm_token",
                &devices,
                &tokens
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The newest row of each bucket of a sorted batch: a statement may not write the same row twice. Of repeats the first counts,
/// as it does in the history.
fn newest_of_buckets(rows: &[HeartbeatRow]) -> Vec<&HeartbeatRow> {
    rows.chunk_by(|a, b| (a.device_id, a.status.bucket_at) == (b.device_id, b.status.bucket_at))
        .filter_map(|bucket| bucket.iter().rev().max_by_key(|row| row.status.order()))
        .collect()
}

/// For each row of [`newest_of_buckets`], whether it is its device's newest.
fn newest_flags(rows: &[&HeartbeatRow]) -> Vec<bool> {
    (0..rows.len()).map(|at| rows.get(at + 1).is_none_or(|next| next.device_id != rows[at].device_id)).collect()
}

/// The statement of a batch: the columns of the telemetry table, each with its placeholder, its bit among the columns that stay wide and its type,
/// behind those that every row has.
macro_rules! dual_write_statement {
    ({ $rows:ident, $newest:ident, $details:ident, $narrow:ident }
        $( { $field:ident [$placeholder:tt $bit:tt] $type:tt $name:tt [$($history:tt)?] } )*) => {
        sqlx::query!(
            "WITH batch AS MATERIALIZED (
                 SELECT * FROM UNNEST(
                     $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::boolean[], $6::text[], $7::boolean[],
                     $8::bigint[], $9::date[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::integer[],
                     $16::integer[], $17::smallint[], $18::smallint[], $19::smallint[], $20::smallint[], $21::smallint[]"
                     $( + ", " + $placeholder + "::" + $type + "[]" )* + "
                 ) AS r(device_id, bucket_at, received_at, device_time, clock_rejected, details, is_newest, details_hash, recount_day,
                     wide, received_us, session_id, readings, seq_int, uptime_int, storage_free_int, temperature_tenths, device_time_ms,
                     ram_available_small, foreground_recent_small, queue_depth_small"
                     $( + ", " + $name )* + ")
             ), history AS (
                 INSERT INTO heartbeats AS h (device_id, bucket_at, received_at, device_time, clock_rejected" $($( + ", " + $history )?)* + ",
                     received_us, session_id, readings, seq_int, uptime_int, storage_free_int, temperature_tenths, device_time_ms,
                     ram_available_small, foreground_recent_small, queue_depth_small)
                 SELECT device_id, bucket_at, CASE WHEN readings IS NULL THEN received_at END,
                     CASE WHEN device_time_ms IS NULL THEN device_time END, CASE WHEN readings IS NULL THEN clock_rejected END"
                     $($( + ", CASE WHEN wide & " + $bit + " <> 0 THEN " + $history + " END" )?)* + ",
                     received_us, session_id, readings, seq_int, uptime_int, storage_free_int, temperature_tenths, device_time_ms,
                     ram_available_small, foreground_recent_small, queue_depth_small
                 FROM batch
                 ON CONFLICT (device_id, bucket_at) DO UPDATE SET
                     received_at = excluded.received_at, device_time = excluded.device_time,
                     clock_rejected = excluded.clock_rejected" $($( + ", " + $history + " = excluded." + $history )?)* + ",
                     received_us = excluded.received_us, session_id = excluded.session_id, readings = excluded.readings,
                     seq_int = excluded.seq_int, uptime_int = excluded.uptime_int, storage_free_int = excluded.storage_free_int,
                     temperature_tenths = excluded.temperature_tenths, device_time_ms = excluded.device_time_ms,
                     ram_available_small = excluded.ram_available_small, foreground_recent_small = excluded.foreground_recent_small,
                     queue_depth_small = excluded.queue_depth_small
                 -- The newest of a bucket stands, in whatever order they come; a repeat is acknowledged and not written.
                 WHERE (coalesce(CASE WHEN excluded.received_at IS NULL
                            THEN coalesce(excluded.bucket_at + excluded.device_time_ms * interval '1 millisecond', excluded.device_time)
                            ELSE excluded.device_time END, '-infinity'),
                        coalesce(CASE WHEN excluded.received_at IS NULL THEN coalesce(excluded.seq_int, excluded.seq) ELSE excluded.seq END, -1))
                     > (coalesce(CASE WHEN h.received_at IS NULL
                            THEN coalesce(h.bucket_at + h.device_time_ms * interval '1 millisecond', h.device_time)
                            ELSE h.device_time END, '-infinity'),
                        coalesce(CASE WHEN h.received_at IS NULL THEN coalesce(h.seq_int, h.seq) ELSE h.seq END, -1))
             ), recount AS (
                 INSERT INTO history_recount (device_id, day)
                 SELECT DISTINCT device_id, recount_day FROM batch WHERE recount_day IS NOT NULL
             )
             INSERT INTO device_last_status AS d (device_id, bucket_at, received_at, last_seen_at, device_time, clock_rejected,
                 details, details_hash" $( + ", " + $name )* + ")
             SELECT device_id, bucket_at, received_at, received_at, device_time, clock_rejected,
                 details::jsonb, details_hash" $( + ", " + $name )* + "
             FROM batch WHERE is_newest
             ON CONFLICT (device_id) DO UPDATE SET
                 bucket_at = excluded.bucket_at, received_at = excluded.received_at,
                 last_seen_at = greatest(d.last_seen_at, excluded.last_seen_at),
                 device_time = excluded.device_time, clock_rejected = excluded.clock_rejected,
                 details_hash = excluded.details_hash" $( + ", " + $name + " = excluded." + $name )* + ",
                 -- Left out because they are stored: true only if nobody else wrote in between.
                 details = CASE WHEN excluded.details IS NOT NULL THEN excluded.details
                                WHEN d.details_hash = excluded.details_hash THEN d.details END
             -- Newer wins, in whatever order batches commit and from whichever node.
             WHERE (excluded.bucket_at, coalesce(excluded.device_time, '-infinity'), coalesce(excluded.seq, -1))
                 > (d.bucket_at, coalesce(d.device_time, '-infinity'), coalesce(d.seq, -1))",
            &column($rows, |row| row.device_id.0),
            &column($rows, |row| row.status.bucket_at),
            &column($rows, |row| row.status.received_at),
            &column($rows, |row| row.status.device_time) as _,
            &column($rows, |row| row.status.clock_rejected),
            &$details as &[Option<String>],
            &$newest,
            &column($rows, |row| row.details_hash),
            &column($rows, recount_day) as _,
            &narrow_column($narrow, |values| values.wide),
            &narrow_column($narrow, |values| values.received_us) as _,
            &narrow_column($narrow, |values| values.session) as _,
            &narrow_column($narrow, |values| values.readings) as _,
            &narrow_column($narrow, |values| values.seq) as _,
            &narrow_column($narrow, |values| values.uptime) as _,
            &narrow_column($narrow, |values| values.storage_free) as _,
            &narrow_column($narrow, |values| values.temperature) as _,
            &narrow_column($narrow, |values| values.device_time) as _,
            &narrow_column($narrow, |values| values.ram_available) as _,
            &narrow_column($narrow, |values| values.foreground_recent) as _,
            &narrow_column($narrow, |values| values.queue_depth) as _,
            $(&column($rows, |row| row.status.telemetry.$field.as_ref().map(ColumnValue::stored)) as _),*
        )
    };
}

async fn dual_write(executor: impl sqlx::PgExecutor<'_>, rows: &[&HeartbeatRow], narrow: &[NarrowValues]) -> Result<(), StoreError> {
    let newest = newest_flags(rows);
    let details: Vec<Option<String>> = rows
        .iter()
        .zip(&newest)
        // Only the newest status shows details; the rest would be parsed for nothing.
        .map(|(row, newest)| (*newest && !row.same_details).then(|| details(&row.status.telemetry)))
        .collect();
    macro_rules! statement {
        ($args:tt $($columns:tt)*) => {
            // Behind those of every row; each with its bit among the columns that stay wide.
            numbered! { dual_write_statement $args [] [["$22" "1"] ["$23" "2"] ["$24" "4"] ["$25" "8"] ["$26" "16"] ["$27" "32"] ["$28" "64"]
                ["$29" "128"] ["$30" "256"] ["$31" "512"] ["$32" "1024"] ["$33" "2048"] ["$34" "4096"] ["$35" "8192"] ["$36" "16384"]
                ["$37" "32768"] ["$38" "65536"] ["$39" "131072"] ["$40" "262144"] ["$41" "524288"] ["$42" "1048576"] ["$43" "2097152"]
                ["$44" "4194304"] ["$45" "8388608"] ["$46" "16777216"] ["$47" "33554432"] ["$48" "67108864"] ["$49" "134217728"]
                ["$50" "268435456"] ["$51" "536870912"]] $($columns)* }
        };
    }
    telemetry!(columns => statement { rows, newest, details, narrow }).execute(executor).await?;
    Ok(())
}

fn column<'a, T>(rows: &[&'a HeartbeatRow], value: impl Fn(&'a HeartbeatRow) -> T) -> Vec<T> {
    rows.iter().copied().map(value).collect()
}

fn narrow_column<T>(narrow: &[NarrowValues], value: impl Fn(&NarrowValues) -> T) -> Vec<T> {
    narrow.iter().map(value).collect()
}

fn recount_day(row: &HeartbeatRow) -> Option<chrono::NaiveDate> {
    is_after_settling(row.status.bucket_at, row.status.received_at).then(|| row.status.bucket_at.date_naive())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use domain::heartbeat::{Heartbeat, Telemetry};

    fn row(device: u128, bucket: i64, seq: i64) -> HeartbeatRow {
        let at: Timestamp = chrono::DateTime::from_timestamp(1_780_000_000 + bucket, 0).unwrap();
        let telemetry = Telemetry { seq: Some(seq), ..Default::default() };
        let id = DeviceId(uuid::Uuid::from_u128(device));
        HeartbeatRow::new(id, Arc::new(Heartbeat::new(id, Some(at), telemetry, at).into()), None, false)
    }

    #[test]
    fn the_newest_of_each_bucket_and_one_newest_per_device() {
        let repeat = HeartbeatRow { fcm_token: Some("the first".into()), ..row(1, 20, 3) };
        let mut rows = [row(2, 10, 1), repeat, row(1, 20, 2), row(1, 20, 3), row(1, 0, 4), row(2, 30, 5)];
        rows.sort_by_key(|row| (row.device_id, row.status.order()));
        let rows = newest_of_buckets(&rows);
        let notified: Vec<_> =
            rows.iter().zip(newest_flags(&rows)).map(|(row, n)| (row.status.telemetry.seq, row.fcm_token.is_some(), n)).collect();
        assert_eq!(notified, [(Some(4), false, false), (Some(3), true, true), (Some(1), false, false), (Some(5), false, true)]);
    }
}
