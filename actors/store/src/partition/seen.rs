//! The tables of days that there are, also those that hands made, detached or attached.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate};
use domain::Timestamp;
use domain::partition::{TableSeen, day_of, table_name};

use super::bounds;
use crate::{Store, StoreError};

/// Most days that a partition of another name is looked at for.
const COVERED_DAYS_MAX: u64 = 4000;
/// Most days whose rows in the default partition are told at a time.
const DEFAULT_DAYS_MAX: i64 = 100;

/// Table of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// The day.
    pub day: NaiveDate,
    /// Whether it is a partition of `heartbeats`.
    pub is_attached: bool,
    /// Rows, as the last analysis estimated them; `None`: there was none.
    pub rows: Option<u64>,
    /// Size with its indexes.
    pub bytes: u64,
}

impl Store {
    /// The tables of days, by day: attached, detached, or not to be used, and why.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partitions_seen(&self) -> Result<BTreeMap<NaiveDate, TableSeen>, StoreError> {
        let relations = sqlx::query!(
            r#"SELECT c.relname::text AS "name!", c.relkind::text AS "kind!", p.relname::text AS "parent?",
                   pg_get_expr(c.relpartbound, c.oid) AS "bound?"
               FROM pg_class c
               LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND NOT i.inhdetachpending
               LEFT JOIN pg_class p ON p.oid = i.inhparent
               WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'heartbeats'::regclass)
                 AND (c.relname LIKE 'heartbeats\_p%' OR i.inhparent = 'heartbeats'::regclass)
               ORDER BY c.relname"#
        )
        .fetch_all(&self.pool)
        .await?;
        let mut seen = BTreeMap::new();
        for relation in relations {
            let parent = relation.parent.as_deref();
            match day_of(&relation.name).filter(|day| table_name(*day) == relation.name) {
                Some(day) => {
                    seen.insert(day, table_seen(day, &relation.kind, parent, relation.bound.as_deref()));
                }
                None if parent == Some("heartbeats") => {
                    for day in relation.bound.as_deref().map(covered_days).unwrap_or_default() {
                        let why = format!("the partition {} covers it: it is left as it is", relation.name);
                        seen.entry(day).or_insert(TableSeen::Unusable(why));
                    }
                }
                None => {}
            }
        }
        Ok(seen)
    }

    /// Days of which the default partition has rows, oldest first; the first of them, when there are many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn default_partition_days(&self) -> Result<Vec<NaiveDate>, StoreError> {
        Ok(sqlx::query_scalar!(
            // From one day to the next in the index, however many rows a day has.
            r#"WITH RECURSIVE days (day) AS (
                   (SELECT (bucket_at AT TIME ZONE 'UTC')::date FROM heartbeats_default ORDER BY bucket_at LIMIT 1)
                   UNION ALL
                   SELECT (SELECT (h.bucket_at AT TIME ZONE 'UTC')::date FROM heartbeats_default h
                           WHERE h.bucket_at >= (days.day + 1)::timestamp AT TIME ZONE 'UTC' ORDER BY h.bucket_at LIMIT 1)
                   FROM days WHERE days.day IS NOT NULL
               )
               SELECT day AS "day!" FROM days WHERE day IS NOT NULL LIMIT $1"#,
            DEFAULT_DAYS_MAX
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The tables of days with their sizes, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_tables(&self) -> Result<Vec<PartitionTable>, StoreError> {
        let tables = sqlx::query!(
            r#"SELECT c.relname::text AS "name!", i.inhrelid IS NOT NULL AS "is_attached!", c.reltuples::float8 AS "rows!",
                   coalesce(pg_total_relation_size(c.oid), 0) AS "bytes!"
               FROM pg_class c
               LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'heartbeats'::regclass
               WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'heartbeats'::regclass)
                 AND c.relname LIKE 'heartbeats\_p%' AND c.relkind = 'r'
               ORDER BY c.relname"#
        )
        .fetch_all(&self.pool)
        .await?;
        let of_day = |name: &str| day_of(name).filter(|day| table_name(*day) == name);
        let table = |day, is_attached, rows: f64, bytes: i64| PartitionTable {
            day,
            is_attached,
            rows: (rows >= 0.0).then_some(rows as u64),
            bytes: bytes.unsigned_abs(),
        };
        Ok(tables.into_iter().filter_map(|row| Some(table(of_day(&row.name)?, row.is_attached, row.rows, row.bytes))).collect())
    }

    /// The table of a day, if there is one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_table(&self, day: NaiveDate) -> Result<Option<PartitionTable>, StoreError> {
        Ok(self.partition_tables().await?.into_iter().find(|table| table.day == day))
    }
}

/// What the table of a day's name is.
fn table_seen(day: NaiveDate, kind: &str, parent: Option<&str>, bound: Option<&str>) -> TableSeen {
    if kind != "r" {
        return TableSeen::Unusable(format!("{} is no plain table: it is left as it is", table_name(day)));
    }
    match parent {
        None => TableSeen::Detached,
        Some("heartbeats") => {
            let (from, to) = bounds(day);
            let expected = format!("FOR VALUES FROM ('{from}') TO ('{to}')");
            match bound {
                Some(bound) if bound == expected => TableSeen::Attached,
                bound => TableSeen::Unusable(format!(
                    "{} is attached {} instead of {expected}: detach it, and the next run puts it right",
                    table_name(day),
                    bound.unwrap_or("without bounds")
                )),
            }
        }
        Some(parent) => TableSeen::Unusable(format!("{} is a partition of {parent}: it is left as it is", table_name(day))),
    }
}

/// Days that the bounds of a partition overlap.
fn covered_days(bound: &str) -> Vec<NaiveDate> {
    let times: Vec<Timestamp> = bound
        .split('\'')
        .skip(1)
        .step_by(2)
        .filter_map(|time| DateTime::parse_from_str(&format!("{time}00"), "%Y-%m-%d %H:%M:%S%.f%z").ok())
        .map(|time| time.to_utc())
        .collect();
    let [from, to] = times[..] else { return Vec::new() };
    let first = from.date_naive();
    (0..COVERED_DAYS_MAX).map(|n| first + Days::new(n)).take_while(|day| day.and_time(chrono::NaiveTime::MIN).and_utc() < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn june(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
    }

    #[test]
    fn days_that_a_partition_of_another_name_covers() {
        for (bound, days) in [
            ("FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-06-03 00:00:00+00')", vec![june(1), june(2)]),
            ("FOR VALUES FROM ('2026-06-01 12:00:00+00') TO ('2026-06-02 00:00:01+00')", vec![june(1), june(2)]),
            ("FOR VALUES FROM (MINVALUE) TO ('2026-06-02 00:00:00+00')", vec![]),
            ("DEFAULT", vec![]),
        ] {
            assert_eq!(covered_days(bound), days, "{bound}");
        }
    }

    #[test]
    fn only_a_plain_table_with_the_bounds_of_its_day_is_used() {
        let right = "FOR VALUES FROM ('2026-06-01 00:00:00+00') TO ('2026-06-02 00:00:00+00')";
        for (kind, parent, bound, usable) in [
            ("r", None, None, Some(TableSeen::Detached)),
            ("r", Some("heartbeats"), Some(right), Some(TableSeen::Attached)),
            ("r", Some("heartbeats"), Some("DEFAULT"), None),
            ("r", Some("other"), Some(right), None),
            ("v", None, None, None),
            ("p", Some("heartbeats"), Some(right), None),
        ] {
            let seen = table_seen(june(1), kind, parent, bound);
            match usable {
                Some(table) => assert_eq!(seen, table, "{kind} {parent:?} {bound:?}"),
                None => assert!(matches!(&seen, TableSeen::Unusable(why) if why.contains("heartbeats_p20260601")), "{seen:?}"),
            }
        }
    }
}
