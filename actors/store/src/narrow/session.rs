//! Sessions: what devices say in every heartbeat and change with a boot or an update of the agent only, stored once and named by its number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::{Days, NaiveDate, TimeDelta};
use domain::Timestamp;
use domain::device::LastStatus;
use domain::heartbeat::Telemetry;
use domain::partition::day_of;

use super::NarrowValues;
use crate::{Store, StoreError};

/// How long it is believed that every live node reads narrow rows.
const READERS_KNOWN_FOR: TimeDelta = TimeDelta::seconds(10);
/// Days between the last use of a session and the oldest day that has rows, before it is removed: a heartbeat may be of the day after its receipt.
const UNUSED_DAYS: u64 = 2;
/// The default partition, whose rows are of any day.
const DEFAULT_PARTITION: &str = "heartbeats_default";

/// Whether heartbeats are written as narrow rows, and the limits of their sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NarrowRows {
    /// Whether they are, once every live node reads them.
    pub enabled: bool,
    /// Most sessions in the database, about; beyond that version and boot id stay in the rows.
    pub sessions_max: u32,
    /// Most sessions that a node remembers.
    pub cached_max: usize,
}

impl Default for NarrowRows {
    fn default() -> Self {
        Self { enabled: true, sessions_max: 5_000_000, cached_max: 200_000 }
    }
}

/// What a node knows of sessions. Clones of its store share it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) options: NarrowRows,
    known: Mutex<Known>,
}

impl Sessions {
    pub(crate) fn new(options: NarrowRows) -> Self {
        Self { options, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions that were used last, in two generations: once the younger one is full, it becomes the older one.
#[derive(Debug, Default)]
struct Known {
    /// When every live node was last seen to read narrow rows.
    all_read_at: Option<Timestamp>,
    /// The day that the sessions are marked as used on.
    day: Option<NaiveDate>,
    young: HashMap<String, i32>,
    old: HashMap<String, i32>,
}

impl Known {
    /// Forgets the sessions of another day: they are to be marked as used on this one.
    fn turn_to(&mut self, day: NaiveDate) {
        if self.day != Some(day) {
            self.day = Some(day);
            self.young.clear();
            self.old.clear();
        }
    }

    fn id(&mut self, key: &str, max: usize) -> Option<i32> {
        if let Some(id) = self.young.get(key) {
            return Some(*id);
        }
        let (key, id) = self.old.remove_entry(key)?;
        self.keep(key, id, max);
        Some(id)
    }

    fn keep(&mut self, key: String, id: i32, max: usize) {
        if self.young.len() >= (max / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, id);
    }
}

/// What names the session of a heartbeat; `None`: it tells nothing of one.
fn session_key(telemetry: &Telemetry) -> Option<String> {
    let Telemetry { boot_id, app_version, agent_version_code, .. } = telemetry;
    if boot_id.is_none() && app_version.is_none() && agent_version_code.is_none() {
        return None;
    }
    serde_json::to_string(&(boot_id, app_version, agent_version_code)).ok()
}

impl Store {
    /// The store, which writes heartbeats like this.
    #[must_use]
    pub fn with_narrow_rows(self, options: NarrowRows) -> Self {
        Self { sessions: std::sync::Arc::new(Sessions::new(options)), ..self }
    }

    /// What heartbeats have in narrow columns. Sessions that the database does not have are made.
    pub(crate) async fn narrowed(&self, heartbeats: &[&LastStatus]) -> Result<Vec<NarrowValues>, StoreError> {
        let received = heartbeats.iter().map(|heartbeat| heartbeat.received_at).max();
        let Some(now) = received.filter(|_| self.sessions.options.enabled) else {
            return Ok(vec![NarrowValues::WIDE; heartbeats.len()]);
        };
        if !self.all_read_narrow(now).await? {
            return Ok(vec![NarrowValues::WIDE; heartbeats.len()]);
        }
        let keys: Vec<_> = heartbeats.iter().map(|heartbeat| session_key(&heartbeat.telemetry)).collect();
        let ids = self.session_ids(heartbeats, &keys, now.date_naive()).await?;
        let id = |key: &Option<String>| ids.get(key.as_deref()?).copied();
        Ok(heartbeats.iter().zip(&keys).map(|(heartbeat, key)| NarrowValues::of(heartbeat, id(key))).collect())
    }

    /// Whether every live node reads narrow rows. A node of the build before does not say so.
    async fn all_read_narrow(&self, now: Timestamp) -> Result<bool, StoreError> {
        if self.sessions.known().all_read_at.is_some_and(|at| (now - at).abs() < READERS_KNOWN_FOR) {
            return Ok(true);
        }
        let all_read = sqlx::query_scalar!(
            r#"SELECT NOT EXISTS (SELECT FROM cluster_node WHERE state IN ('active', 'draining') AND NOT reads_narrow) AS "all!""#
        )
        .fetch_one(&self.pool)
        .await?;
        self.sessions.known().all_read_at = all_read.then_some(now);
        Ok(all_read)
    }

    /// Numbers of the sessions of these keys. One that cannot be made is left out.
    async fn session_ids<'k>(
        &self,
        heartbeats: &[&LastStatus],
        keys: &'k [Option<String>],
        day: NaiveDate,
    ) -> Result<HashMap<&'k str, i32>, StoreError> {
        let max = self.sessions.options.cached_max;
        let mut ids = HashMap::new();
        // In one order for all writers.
        let mut missing: BTreeMap<&'k str, &Telemetry> = BTreeMap::new();
        {
            let mut known = self.sessions.known();
            known.turn_to(day);
            for (heartbeat, key) in heartbeats.iter().zip(keys) {
                let Some(key) = key.as_deref() else { continue };
                if ids.contains_key(key) || missing.contains_key(key) {
                    continue;
                }
                if let Some(id) = known.id(key, max) {
                    ids.insert(key, id);
                } else {
                    missing.insert(key, &heartbeat.telemetry);
                }
            }
        }
        if missing.is_empty() {
            return Ok(ids);
        }
        let asked: BTreeSet<&'k str> = missing.keys().copied().collect();
        let mut found = self.find_sessions(&missing, day).await?;
        missing.retain(|key, _| !found.iter().any(|(found, _)| found == key));
        if !missing.is_empty() {
            match self.make_sessions(&missing, day).await {
                Ok(made) => found.extend(made),
                // The rows say themselves what the sessions would: nothing is lost.
                Err(cause) if !cause.is_outage() => tracing::warn!(event = "heartbeat_session.failed", %cause),
                Err(cause) => return Err(cause),
            }
        }
        let mut known = self.sessions.known();
        // Another batch may have turned to the next day meanwhile: these would not be marked as used on it.
        let is_of_day = known.day == Some(day);
        for (key, id) in found {
            let Some(asked) = asked.get(key.as_str()) else { continue };
            ids.insert(*asked, id);
            if is_of_day {
                known.keep(key, id, max);
            }
        }
        Ok(ids)
    }

    /// Those of the sessions that there are, marked as used on the day.
    async fn find_sessions(&self, keys: &BTreeMap<&str, &Telemetry>, day: NaiveDate) -> Result<Vec<(String, i32)>, StoreError> {
        let keys: Vec<String> = keys.keys().map(|key| (*key).to_owned()).collect();
        let found = sqlx::query!(
            r#"WITH stale AS MATERIALIZED (
                   SELECT session_id FROM heartbeat_session WHERE session_key = ANY($1) AND used_on < $2 ORDER BY session_key FOR UPDATE
               ), marked AS (
                   UPDATE heartbeat_session s SET used_on = $2 FROM stale WHERE s.session_id = stale.session_id
                   RETURNING s.session_id, s.session_key
               )
               SELECT session_id AS "session_id!", session_key AS "session_key!" FROM marked
               UNION ALL
               SELECT session_id, session_key FROM heartbeat_session WHERE session_key = ANY($1) AND used_on >= $2"#,
            &keys,
            day
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(found.into_iter().map(|row| (row.session_key, row.session_id)).collect())
    }

    /// Makes sessions, unless there are too many. One that another node makes at this moment is left to it.
    async fn make_sessions(&self, sessions: &BTreeMap<&str, &Telemetry>, day: NaiveDate) -> Result<Vec<(String, i32)>, StoreError> {
        let keys: Vec<String> = sessions.keys().map(|key| (*key).to_owned()).collect();
        let boots: Vec<Option<String>> = sessions.values().map(|told| told.boot_id.clone()).collect();
        let versions: Vec<Option<String>> = sessions.values().map(|told| told.app_version.clone()).collect();
        let codes: Vec<Option<i64>> = sessions.values().map(|told| told.agent_version_code).collect();
        let made = sqlx::query!(
            "INSERT INTO heartbeat_session (session_key, boot_id, app_version, agent_version_code, used_on)
             SELECT session_key, boot_id, app_version, agent_version_code, $5
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[]) AS r(session_key, boot_id, app_version, agent_version_code)
             -- As the last analysis counted them.
             WHERE (SELECT reltuples FROM pg_class WHERE oid = 'heartbeat_session'::regclass) < $6::float8
             ORDER BY session_key COLLATE \"C\"
             ON CONFLICT (session_key) DO NOTHING
             RETURNING session_id, session_key",
            &keys,
            &boots as &[Option<String>],
            &versions as &[Option<String>],
            &codes as &[Option<i64>],
            day,
            f64::from(self.sessions.options.sessions_max)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(made.into_iter().map(|row| (row.session_key, row.session_id)).collect())
    }

    /// Removes at most `limit` sessions that no heartbeat in the database names any more. Returns how many. None while there are heartbeats outside of
    /// the tables of days, whose days are not known.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_heartbeat_sessions(&self, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let of_days = |name: &String| name == DEFAULT_PARTITION || day_of(name).is_some();
        if !self.partitions().await?.iter().all(of_days) || self.default_partition_rows(1).await? > 0 {
            return Ok(0);
        }
        // Also of those that are detached: they may be attached again.
        let oldest = self.partition_tables().await?.first().map_or(now.date_naive(), |table| table.day).min(now.date_naive());
        let purged = sqlx::query!(
            "DELETE FROM heartbeat_session WHERE used_on < $1
                 AND session_id = ANY(ARRAY(SELECT session_id FROM heartbeat_session WHERE used_on < $1 ORDER BY used_on LIMIT $2))",
            oldest - Days::new(UNUSED_DAYS),
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_key_and_another_one_has_another() {
        let told = |boot: Option<&str>, version: Option<&str>, code: Option<i64>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            session_key(&Telemetry { boot_id: text(boot), app_version: text(version), agent_version_code: code, ..Telemetry::default() })
        };
        assert_eq!(told(None, None, None), None);
        let all = [
            told(Some("a"), Some("b"), Some(1)),
            told(Some("b"), Some("a"), Some(1)),
            told(Some("a"), Some("b"), None),
            told(Some("a\",\"b"), None, None),
            told(Some(""), None, None),
            told(None, Some(""), None),
            told(None, None, Some(0)),
            told(None, Some("null"), None),
        ];
        let distinct: BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(told(Some("a"), Some("b"), Some(1)), all[0]);
    }

    #[test]
    fn a_node_remembers_the_sessions_that_it_used_last_and_not_more_than_it_may() {
        let (mut known, max) = (Known::default(), 10);
        known.turn_to(NaiveDate::MIN);
        for n in 0..100 {
            known.keep(n.to_string(), n, max);
            // Used all the time.
            assert_eq!(known.id("0", max), Some(0), "{n}");
            assert!(known.young.len() + known.old.len() <= max, "{n}");
        }
        assert_eq!((known.id("99", max), known.id("50", max)), (Some(99), None));
        known.turn_to(NaiveDate::MAX);
        assert_eq!(known.id("99", max), None, "it is not marked as used on the day");
    }
}
