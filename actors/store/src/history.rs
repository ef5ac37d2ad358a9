//! History for plots: heartbeats added up, one by one for short ranges, as hourly aggregates for long ones.
//!
//! ```text
//! heartbeats    one row per device and 10 s     aggregated a day at a time, two hours after it ended
//! history_hour  one row per device and hour  <--'
//! ```
//! A heartbeat that arrives after its day was due leaves a note in `history_recount`, in the
//! transaction that stores it.

use chrono::NaiveDate;
use domain::history::{Answers, FleetSample, HOUR_S, Measure, Measures, Shares, Slot, Transports};
use domain::partition::table_name;
use domain::{DeviceId, Timestamp, telemetry};
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::pool::Transaction;
use crate::{Store, StoreError};

/// A slot from the columns that both sources have. Measures and answers are lists in the order of the telemetry table: number, least, sum and
/// most of each measure; number and positive ones of the answers to each question.
macro_rules! slot {
    ($row:expr) => {{
        let row = $row;
        let (mut measures, mut answers) = (row.measures.into_iter().map(Option::unwrap_or_default), row.answers.into_iter());
        let mut number = || measures.next().unwrap_or_default();
        let mut count = || answers.next().unwrap_or_default();
        Slot {
            at: row.at,
            heartbeats: row.heartbeats,
            first_at: row.first_at,
            last_at: row.last_at,
            online_s: row.online_s,
            measures: Measures::from_fn(|| Measure { n: number() as i64, min: number(), sum: number(), max: number() }),
            answers: Shares::from_fn(|| Answers { n: count(), yes: count() }),
            transports: Transports {
                wifi: row.wifi,
                cellular: row.cellular,
                ethernet: row.ethernet,
                none: row.no_network,
                other: row.other_network,
            },
        }
    }};
}

// Statements with the measures and questions of the telemetry table. Kinds of network are counted by name.

macro_rules! heartbeat_slots {
    ({ $($args:tt)* }
        measures { $( { $measure:ident $column:tt $prefix:tt $about:tt $label:tt $unit:ident $tone:tt } )* }
        shares { $( { $answer:ident $share:ident $answer_column:tt $answer_prefix:tt $answer_about:tt } )* }
    ) => {
        sqlx::query!(
            "WITH told AS (
                 SELECT date_bin($4, bucket_at, 'epoch') AS at, lead(bucket_at) OVER (ORDER BY bucket_at) AS next_at, bucket_at,
                     transport" $( + ", " + $column )* $( + ", " + $answer_column )* + "
                 FROM heartbeats_unpacked WHERE device_id = $1 AND bucket_at >= $2 AND bucket_at < $3
             )
             SELECT at AS \"at!\", count(*) AS \"heartbeats!\", min(bucket_at) AS \"first_at!\", max(bucket_at) AS \"last_at!\",
                 coalesce(sum(least(extract(epoch FROM next_at - bucket_at)::integer, $5)) FILTER (WHERE next_at < at + $4), 0)
                     AS \"online_s!\",
                 '{}'::float8[]" $( + " || ARRAY[count(" + $column + "), min(" + $column + "), sum(" + $column + "::float8), max("
                     + $column + ")]" )* + " AS \"measures!: Vec<Option<f64>>\",
                 '{}'::bigint[]" $( + " || ARRAY[count(" + $answer_column + "), count(*) FILTER (WHERE " + $answer_column + ")]" )*
                     + " AS \"answers!\",
                 count(*) FILTER (WHERE transport = 'wifi') AS \"wifi!\",
                 count(*) FILTER (WHERE transport = 'cellular') AS \"cellular!\",
                 count(*) FILTER (WHERE transport = 'ethernet') AS \"ethernet!\",
                 count(*) FILTER (WHERE transport = 'none') AS \"no_network!\",
                 count(*) FILTER (WHERE transport = 'other') AS \"other_network!\"
             FROM told GROUP BY at ORDER BY at",
            $($args)*
        )
    };
}

macro_rules! hour_slots {
    ({ $($args:tt)* }
        measures { $( { $measure:ident $column:tt $prefix:tt $about:tt $label:tt $unit:ident $tone:tt } )* }
        shares { $( { $answer:ident $share:ident $answer_column:tt $answer_prefix:tt $answer_about:tt } )* }
    ) => {
        sqlx::query!(
            "SELECT hour_at AS at, heartbeats::bigint AS \"heartbeats!\", first_at, last_at, online_s::bigint AS \"online_s!\",
                 '{}'::float8[]" $( + " || ARRAY[" + $prefix + "_n, " + $prefix + "_min, " + $prefix + "_sum, " + $prefix + "_max]" )*
                     + " AS \"measures!: Vec<Option<f64>>\",
                 '{}'::bigint[]" $( + " || ARRAY[" + $answer_prefix + "_n, " + $answer_prefix + "_yes]" )* + " AS \"answers!\",
                 wifi::bigint AS \"wifi!\", cellular::bigint AS \"cellular!\", ethernet::bigint AS \"ethernet!\",
                 no_network::bigint AS \"no_network!\", other_network::bigint AS \"other_network!\"
             FROM history_hour WHERE device_id = $1 AND hour_at >= $2 AND hour_at < $3 ORDER BY hour_at",
            $($args)*
        )
    };
}

macro_rules! aggregate_hours {
    ({ $($args:tt)* }
        measures { $( { $measure:ident $column:tt $prefix:tt $about:tt $label:tt $unit:ident $tone:tt } )* }
        shares { $( { $answer:ident $share:ident $answer_column:tt $answer_prefix:tt $answer_about:tt } )* }
    ) => {
        sqlx::query!(
            "WITH told AS (
                 SELECT device_id, date_bin($4, bucket_at, 'epoch') AS hour_at, bucket_at,
                     lead(bucket_at) OVER (PARTITION BY device_id ORDER BY bucket_at) AS next_at, transport"
                     $( + ", " + $column )* $( + ", " + $answer_column )* + "
                 FROM heartbeats_unpacked WHERE device_id = ANY($1) AND bucket_at >= $2 AND bucket_at < $3
             )
             INSERT INTO history_hour (device_id, hour_at, heartbeats, first_at, last_at, online_s"
                 $( + ", " + $prefix + "_n, " + $prefix + "_min, " + $prefix + "_sum, " + $prefix + "_max" )*
                 $( + ", " + $answer_prefix + "_n, " + $answer_prefix + "_yes" )* + ",
                 wifi, cellular, ethernet, no_network, other_network)
             SELECT device_id, hour_at, count(*), min(bucket_at), max(bucket_at),
                 coalesce(sum(least(extract(epoch FROM next_at - bucket_at)::integer, $5)) FILTER (WHERE next_at < hour_at + $4), 0)"
                 $( + ", count(" + $column + "), min(" + $column + "), sum(" + $column + "::float8), max(" + $column + ")" )*
                 $( + ", count(" + $answer_column + "), count(*) FILTER (WHERE " + $answer_column + ")" )* + ",
                 count(*) FILTER (WHERE transport = 'wifi'), count(*) FILTER (WHERE transport = 'cellular'),
                 count(*) FILTER (WHERE transport = 'ethernet'), count(*) FILTER (WHERE transport = 'none'),
                 count(*) FILTER (WHERE transport = 'other')
             -- In this order, the hours of a device lie side by side.
             FROM told GROUP BY device_id, hour_at ORDER BY device_id, hour_at",
            $($args)*
        )
    };
}

fn seconds(seconds: i64) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: seconds.saturating_mul(1_000_000) }
}

fn midnight(day: NaiveDate) -> Timestamp {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

impl Store {
    /// The heartbeats of a device from `from` until before `to`, added up in slots of `slot_s` seconds.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn heartbeat_slots(
        &self,
        id: DeviceId,
        from: Timestamp,
        to: Timestamp,
        slot_s: i64,
        offline_after_s: i32,
    ) -> Result<Vec<Slot>, StoreError> {
        let rows = telemetry!(history => heartbeat_slots { id.0, from, to, seconds(slot_s), offline_after_s })
            .fetch_all(&mut *self.reader().await?)
            .await?;
        Ok(rows.into_iter().map(|row| slot!(row)).collect())
    }

    /// The hourly aggregates of a device from `from` until before `to`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn hour_slots(&self, id: DeviceId, from: Timestamp, to: Timestamp) -> Result<Vec<Slot>, StoreError> {
        let rows = telemetry!(history => hour_slots { id.0, from, to }).fetch_all(&mut *self.reader().await?).await?;
        Ok(rows.into_iter().map(|row| slot!(row)).collect())
    }

    /// The days from `first` to `last` whose hours are aggregated, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn aggregated_days(&self, first: NaiveDate, last: NaiveDate) -> Result<Vec<NaiveDate>, StoreError> {
        Ok(sqlx::query_scalar!("SELECT day FROM history_day WHERE day BETWEEN $1 AND $2 ORDER BY day", first, last)
            .fetch_all(&mut *self.reader().await?)
            .await?)
    }

    /// Notes that the hours of a day are aggregated for every device.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_aggregated_day(&self, day: NaiveDate) -> Result<(), StoreError> {
        sqlx::query!("INSERT INTO history_day (day) VALUES ($1) ON CONFLICT DO NOTHING", day).execute(&self.pool).await?;
        Ok(())
    }

    /// The days until before `before` that are aggregated and not closed, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unclosed_days(&self, before: NaiveDate) -> Result<Vec<NaiveDate>, StoreError> {
        Ok(sqlx::query_scalar!("SELECT day FROM history_day WHERE day < $1 AND closed_at IS NULL ORDER BY day", before)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Notes that a day is aggregated for the last time.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn close_day(&self, day: NaiveDate) -> Result<(), StoreError> {
        sqlx::query!("UPDATE history_day SET closed_at = now() WHERE day = $1", day).execute(&self.pool).await?;
        Ok(())
    }

    /// At most `limit` devices that enrolled before this time, deleted ones included, in the order of
    /// their ids, behind this one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_to_aggregate(&self, after: Option<DeviceId>, before: Timestamp, limit: i64) -> Result<Vec<DeviceId>, StoreError> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let ids = sqlx::query_scalar!(
            "SELECT device_id FROM device WHERE device_id > $1 AND enrolled_at < $2 ORDER BY device_id LIMIT $3",
            after,
            before,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(DeviceId).collect())
    }

    /// Aggregates the hours of a day for these devices, whether or not they were aggregated before.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn aggregate_hours(&self, ids: &[DeviceId], day: NaiveDate, offline_after_s: i32) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let mut tx = self.begin().await?;
        aggregate_hours(&mut tx, &ids, day, offline_after_s).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Aggregates again the hours of late heartbeats, at most `limit` notes of it. Returns how many notes there were.
    ///
    /// # Errors
    /// The database is unavailable; the notes stay.
    pub async fn reaggregate_hours(&self, limit: i64, offline_after_s: i32) -> Result<usize, StoreError> {
        let mut tx = self.begin().await?;
        let notes = sqlx::query!(
            "DELETE FROM history_recount WHERE ctid = ANY(ARRAY(SELECT ctid FROM history_recount LIMIT $1 FOR UPDATE SKIP LOCKED))
             RETURNING device_id, day",
            limit
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut of: Vec<_> = notes.iter().map(|note| (note.day, note.device_id)).collect();
        of.sort_unstable();
        of.dedup();
        for same_day in of.chunk_by(|a, b| a.0 == b.0) {
            // Once a day's heartbeats are removed, its aggregates are all that is left of them.
            let kept = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "kept!""#, table_name(same_day[0].0))
                .fetch_one(&mut *tx)
                .await?;
            if !kept {
                continue;
            }
            let ids: Vec<_> = same_day.iter().map(|(_, id)| *id).collect();
            aggregate_hours(&mut tx, &ids, same_day[0].0, offline_after_s).await?;
        }
        tx.commit().await?;
        Ok(notes.len())
    }

    /// Deletes at most `limit` hourly aggregates that began before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_hours(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM history_hour WHERE ctid = ANY(ARRAY(SELECT ctid FROM history_hour WHERE hour_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Keeps a sample of the fleet, unless there is one of that time. Only in the epoch of the first shard,
    /// whose owner speaks for all.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_fleet_sample(&self, sample: FleetSample, epoch: domain::shard::Epoch) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO fleet_sample (at, devices, online, offline, never_seen, low_battery, app_down, heartbeats_per_second)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM shard WHERE shard_id = 0 AND epoch = $9
             ON CONFLICT (at) DO NOTHING",
            sample.at,
            sample.devices,
            sample.online,
            sample.offline,
            sample.never_seen,
            sample.low_battery,
            sample.app_down,
            sample.heartbeats_per_second,
            epoch.0
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The samples of the fleet since this time, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn fleet_samples(&self, since: Timestamp) -> Result<Vec<FleetSample>, StoreError> {
        let samples = sqlx::query_as!(
            FleetSample,
            "SELECT at, devices, online, offline, never_seen, low_battery, app_down, heartbeats_per_second
             FROM fleet_sample WHERE at >= $1 ORDER BY at",
            since
        );
        Ok(samples.fetch_all(&self.pool).await?)
    }

    /// Deletes at most `limit` samples of the fleet from before this time, oldest first. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_fleet_samples(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM fleet_sample WHERE at = ANY(ARRAY(SELECT at FROM fleet_sample WHERE at < $1 ORDER BY at LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

async fn aggregate_hours(tx: &mut Transaction, ids: &[Uuid], day: NaiveDate, offline_after_s: i32) -> Result<(), StoreError> {
    // What was aggregated of a day stays when its heartbeats are being dropped. Nobody detaches its partition before this transaction ends.
    sqlx::raw_sql("LOCK TABLE ONLY heartbeats IN ACCESS SHARE MODE").execute(&mut **tx).await?;
    let dropped = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND NOT relispartition)
               OR EXISTS (SELECT FROM heartbeat_partition WHERE day = $2 AND state = 'dropped') AS "dropped!""#,
        table_name(day),
        day
    );
    if dropped.fetch_one(&mut **tx).await? {
        return Ok(());
    }
    let (from, to) = (midnight(day), midnight(day) + chrono::TimeDelta::days(1));
    sqlx::query!("DELETE FROM history_hour WHERE device_id = ANY($1) AND hour_at >= $2 AND hour_at < $3", ids, from, to)
        .execute(&mut **tx)
        .await?;
    telemetry!(history => aggregate_hours { ids, from, to, seconds(HOUR_S), offline_after_s }).execute(&mut **tx).await?;
    Ok(())
}
