//! Figures of reports: what a day holds of each device, added up elsewhere, and kept by group and day.
//!
//! Read device by device, by the keys of the tables: a day of 100,000 devices is some hundred short statements, none of which reads the hours of
//! all devices at once.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, NaiveTime};
use domain::event::EventKind;
use domain::name::CanonicalName;
use domain::report::{AlertTally, AlertsOfGroups, DeviceDay, Figures, GroupDay, Period, Report, VersionCount};
use domain::shard::ShardLease;
use domain::{DeviceId, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Store, StoreError};

/// Changes of a device's monitored app that are read from the beginning of a day on.
const APP_CHANGES_MAX: i64 = 1_000;

fn midnight(day: NaiveDate) -> Timestamp {
    day.and_time(NaiveTime::MIN).and_utc()
}

fn after(day: NaiveDate) -> Timestamp {
    midnight(day.checked_add_days(Days::new(1)).unwrap_or(day))
}

fn unsigned(value: i64) -> u64 {
    value.max(0).unsigned_abs()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn versions_to_json(versions: &[VersionCount]) -> Value {
    versions.iter().map(|one| json!([one.version, one.devices])).collect()
}

fn versions_from_json(stored: &Value) -> Vec<VersionCount> {
    let one = |one: &Value| Some(VersionCount { version: one.get(0)?.as_str()?.to_owned(), devices: one.get(1)?.as_u64()? });
    stored.as_array().into_iter().flatten().filter_map(one).collect()
}

fn alerts_to_json(alerts: &BTreeMap<String, AlertTally>) -> Value {
    Value::Object(alerts.iter().map(|(rule, tally)| (rule.clone(), json!([tally.raised, tally.resolved]))).collect::<Map<_, _>>())
}

fn alerts_from_json(stored: &Value) -> BTreeMap<String, AlertTally> {
    let one = |(rule, tally): (&String, &Value)| {
        Some((rule.clone(), AlertTally { raised: tally.get(0)?.as_u64()?, resolved: tally.get(1)?.as_u64()? }))
    };
    stored.as_object().into_iter().flatten().filter_map(one).collect()
}

/// Figures from the columns of a day, in the order of [`Figures::NAMES`]; those are summed up, or of one day.
fn figures(numbers: &[i64]) -> Figures {
    Figures::of_numbers(&numbers.iter().map(|number| unsigned(*number)).collect::<Vec<_>>())
}

impl Store {
    /// What a day holds of at most `limit` devices behind this one, in the order of their ids: of those that were enrolled and not deleted at its
    /// end. A battery below `low_battery_pct` on average is low; a device is online for `offline_after_s` after a heartbeat.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_device_days(
        &self,
        day: NaiveDate,
        behind: Option<DeviceId>,
        low_battery_pct: i16,
        offline_after_s: i32,
        limit: i64,
    ) -> Result<Vec<(DeviceId, DeviceDay)>, StoreError> {
        let rows = sqlx::query_file!(
            "src/report_device_days.sql",
            behind.map_or(Uuid::nil(), |id| id.0),
            midnight(day),
            after(day),
            limit,
            f64::from(low_battery_pct),
            offline_after_s,
            EventKind::WentOffline.as_str(),
            EventKind::Rebooted.as_str(),
            EventKind::AppDownBegan.as_str(),
            EventKind::AppDownEnded.as_str(),
            APP_CHANGES_MAX
        )
        .fetch_all(&self.pool)
        .await?;
        let days = rows.into_iter().map(|row| {
            let day = DeviceDay {
                groups: row.groups,
                enrolled_at: row.enrolled_at,
                has_reported: row.has_reported,
                agent_version: row.agent_version,
                app_version: row.app_version,
                hours: unsigned(row.hours),
                online_s: unsigned(row.online_s),
                battery_hours: unsigned(row.battery_hours),
                battery_low_hours: unsigned(row.low_hours),
                battery_max_pct: row.battery_max,
                discharging_hours: unsigned(row.discharging_hours),
                discharged_pct: row.discharged,
                went_offline: unsigned(row.went_offline),
                reboots: unsigned(row.reboots),
                app_changes: row.app_at.into_iter().zip(row.app_down).collect(),
                is_app_down: row.is_app_down,
            };
            (DeviceId(row.device_id), day)
        });
        Ok(days.collect())
    }

    /// Alerts that were raised and resolved on a day, by rule and groups of their subjects; at most `limit` rows.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_alerts(&self, day: NaiveDate, limit: i64) -> Result<Vec<AlertsOfGroups>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT rule AS "rule!", groups AS "groups!: Vec<String>", sum(raised)::bigint AS "raised!", sum(resolved)::bigint AS "resolved!" FROM (
                 SELECT rule, groups, count(*) AS raised, 0 AS resolved FROM alert WHERE opened_at >= $1 AND opened_at < $2 GROUP BY rule, groups
                 UNION ALL
                 SELECT rule, groups, 0, count(*) FROM alert WHERE state = 'resolved' AND resolved_at >= $1 AND resolved_at < $2 GROUP BY rule, groups
               ) a GROUP BY rule, groups ORDER BY rule, groups LIMIT $3"#,
            midnight(day),
            after(day),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let alerts = rows.into_iter().map(|row| AlertsOfGroups {
            rule: row.rule,
            groups: row.groups,
            tally: AlertTally { raised: unsigned(row.raised), resolved: unsigned(row.resolved) },
        });
        Ok(alerts.collect())
    }

    /// Days since `first` whose hours are aggregated and whose figures are not made, or not for the last time, the newest first; each with whether no
    /// heartbeat of it can come any more.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn days_to_report(&self, first: NaiveDate, limit: i64) -> Result<Vec<(NaiveDate, bool)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT h.day, h.closed_at IS NOT NULL AS "is_closed!"
               FROM history_day h LEFT JOIN report_day r ON r.day = h.day AND r.group_canonical = ''
               WHERE h.day >= $1 AND (r.day IS NULL OR (h.closed_at IS NOT NULL AND NOT r.is_final)) ORDER BY h.day DESC LIMIT $2"#,
            first,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.day, row.is_closed)).collect())
    }

    /// Keeps the figures of a day, in the epoch of the shard, in place of those that were made before; of versions it keeps those, unless there are new
    /// ones. Returns whether it did.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn store_report_day(
        &self,
        lease: ShardLease,
        day: NaiveDate,
        groups: &[GroupDay],
        is_final: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(lease.epoch.0) {
            return Ok(false);
        }
        let canonical: Vec<_> = groups.iter().map(|group| group.canonical.clone()).collect();
        sqlx::query!("DELETE FROM report_day WHERE day = $1 AND group_canonical <> ALL($2)", day, &canonical).execute(&mut *tx).await?;
        for GroupDay { canonical, name, figures } in groups {
            sqlx::query!(
                "INSERT INTO report_day AS r (day, group_canonical, group_name, devices, never_reported, expected_s, online_s, went_offline, gap_hours,
                     battery_hours, battery_low_hours, battery_devices, not_fully_charged, drained_fast, reboots, app_downs, app_down_s,
                     alerts_raised, alerts_resolved, alerts, agent_versions, app_versions, made_at, is_final)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
                 ON CONFLICT (day, group_canonical) DO UPDATE SET group_name = excluded.group_name, devices = excluded.devices,
                     never_reported = excluded.never_reported, expected_s = excluded.expected_s, online_s = excluded.online_s,
                     went_offline = excluded.went_offline, gap_hours = excluded.gap_hours, battery_hours = excluded.battery_hours,
                     battery_low_hours = excluded.battery_low_hours, battery_devices = excluded.battery_devices,
                     not_fully_charged = excluded.not_fully_charged, drained_fast = excluded.drained_fast, reboots = excluded.reboots,
                     app_downs = excluded.app_downs, app_down_s = excluded.app_down_s, alerts_raised = excluded.alerts_raised,
                     alerts_resolved = excluded.alerts_resolved, alerts = excluded.alerts,
                     agent_versions = CASE WHEN excluded.agent_versions = '[]' THEN r.agent_versions ELSE excluded.agent_versions END,
                     app_versions = CASE WHEN excluded.app_versions = '[]' THEN r.app_versions ELSE excluded.app_versions END,
                     made_at = excluded.made_at, is_final = excluded.is_final",
                day,
                canonical,
                name,
                signed(figures.device_days),
                signed(figures.never_reported),
                signed(figures.expected_s),
                signed(figures.online_s),
                signed(figures.went_offline),
                signed(figures.gap_hours),
                signed(figures.battery_hours),
                signed(figures.battery_low_hours),
                signed(figures.battery_devices),
                signed(figures.not_fully_charged),
                signed(figures.drained_fast),
                signed(figures.reboots),
                signed(figures.app_downs),
                signed(figures.app_down_s),
                signed(figures.alerts_raised),
                signed(figures.alerts_resolved),
                alerts_to_json(&figures.alerts),
                versions_to_json(&figures.agent_versions),
                versions_to_json(&figures.app_versions),
                now,
                is_final
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Figures of a group by its canonical name, or of the fleet, whose name is empty, from `first` to `last`, the oldest first; with the name as
    /// people write it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_days(
        &self,
        group_canonical: &str,
        first: NaiveDate,
        last: NaiveDate,
    ) -> Result<Vec<(NaiveDate, String, Figures)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT day, group_name, ARRAY[1, devices, never_reported, expected_s, online_s, went_offline, gap_hours, battery_hours,
                 battery_low_hours, battery_devices, not_fully_charged, drained_fast, reboots, app_downs, app_down_s, alerts_raised,
                 alerts_resolved]::bigint[] AS "numbers!", alerts, agent_versions, app_versions
               FROM report_day WHERE group_canonical = $1 AND day BETWEEN $2 AND $3 ORDER BY day"#,
            group_canonical,
            first,
            last
        )
        .fetch_all(&mut *self.reader().await?)
        .await?;
        let of_day = rows.into_iter().map(|row| {
            let figures = Figures {
                alerts: alerts_from_json(&row.alerts),
                agent_versions: versions_from_json(&row.agent_versions),
                app_versions: versions_from_json(&row.app_versions),
                ..figures(&row.numbers)
            };
            (row.day, row.group_name, figures)
        });
        Ok(of_day.collect())
    }

    /// Sums of each group from `first` to `last`, by name, at most `limit`: those with the most devices. Without alerts by rule, and without versions.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_groups(&self, first: NaiveDate, last: NaiveDate, limit: i64) -> Result<Vec<(String, Figures)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT max(group_name) AS "name!", ARRAY[count(*), sum(devices), sum(never_reported), sum(expected_s), sum(online_s), sum(went_offline),
                 sum(gap_hours), sum(battery_hours), sum(battery_low_hours), sum(battery_devices), sum(not_fully_charged), sum(drained_fast),
                 sum(reboots), sum(app_downs), sum(app_down_s), sum(alerts_raised), sum(alerts_resolved)]::bigint[] AS "numbers!"
               FROM report_day WHERE day BETWEEN $1 AND $2 AND group_canonical <> ''
               GROUP BY group_canonical ORDER BY sum(devices) DESC, group_canonical LIMIT $3"#,
            first,
            last,
            limit
        )
        .fetch_all(&mut *self.reader().await?)
        .await?;
        let mut groups: Vec<_> = rows.into_iter().map(|row| (row.name, figures(&row.numbers))).collect();
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(groups)
    }

    /// Report of a period about a group, or the fleet; with the sums of at most `groups_max` groups, if it is about the fleet.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report(&self, period: Period, group: Option<&str>, groups_max: usize) -> Result<Report, StoreError> {
        let canonical = group.map_or_else(String::new, |group| CanonicalName::of(group).into_string());
        let (mut days, mut before, mut name) = (Vec::new(), Vec::new(), None);
        for (day, group_name, figures) in self.report_days(&canonical, period.before().first, period.last()).await? {
            // Written as on the newest of these days.
            name = Some(group_name);
            if day < period.first { before.push((day, figures)) } else { days.push((day, figures)) }
        }
        let groups = match group {
            Some(_) => Vec::new(),
            None => self.report_groups(period.first, period.last(), i64::try_from(groups_max).unwrap_or(i64::MAX)).await?,
        };
        let group = group.map(|group| name.unwrap_or_else(|| group.to_owned()));
        Ok(Report::of(period, group, days, &before, groups))
    }

    /// The newest day that there are figures of; `None`: there are none.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn newest_report_day(&self) -> Result<Option<NaiveDate>, StoreError> {
        Ok(sqlx::query_scalar!("SELECT max(day) FROM report_day WHERE group_canonical = ''").fetch_one(&self.pool).await?)
    }

    /// Deletes at most `limit` figures of days before this one, the oldest first. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_report_days(&self, before: NaiveDate, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM report_day WHERE ctid = ANY(ARRAY(SELECT ctid FROM report_day WHERE day < $1 ORDER BY day LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_as_many_as_the_figures_and_lists_read_back() {
        // `report_days` and `report_groups` list the columns in the order of the figures.
        assert_eq!(
            Figures::NAMES.join(" "),
            "days device_days never_reported expected_s online_s went_offline gap_hours battery_hours battery_low_hours battery_devices \
             not_fully_charged drained_fast reboots app_downs app_down_s alerts_raised alerts_resolved"
        );
        let versions = vec![VersionCount { version: "1.\"2".into(), devices: 3 }];
        assert_eq!(versions_from_json(&versions_to_json(&versions)), versions);
        let alerts = BTreeMap::from([("app_down".to_owned(), AlertTally { raised: 2, resolved: 1 })]);
        assert_eq!(alerts_from_json(&alerts_to_json(&alerts)), alerts);
    }
}
