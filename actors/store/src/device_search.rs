//! Pages of devices, and their search by text. SQL selects by everything else and reads the texts; which of them contain what is searched is
//! decided where the fleet view's twin is, so that both find the same ([`SearchedTexts::contain`]).

use domain::DeviceId;
use domain::device::DeviceListScope;
use domain::query::{Cursor, DeviceFilter, SearchedTexts, Sort, SortKey};
use domain::telemetry::UNKNOWN_RANK;
use sqlx::{Postgres, QueryBuilder, Row};

use crate::device_filter::{StatusThresholds, push_filter};
use crate::{Store, StoreError};

/// Devices that are looked at by one statement.
const BATCH: i64 = 2000;

/// Condition of a scope on `device d`.
pub(crate) fn condition_of(scope: DeviceListScope) -> &'static str {
    match scope {
        DeviceListScope::Active => "d.deleted_at IS NULL",
        DeviceListScope::Deleted => "d.deleted_at IS NOT NULL",
    }
}

/// Column of an order over `device d` and `device_last_status s`, and its type.
fn sort_column(sort: Sort) -> (String, &'static str) {
    match sort.key {
        SortKey::Alias => ("d.alias".to_owned(), "text"),
        SortKey::LastSeen => ("coalesce(s.last_seen_at, '-infinity')".to_owned(), "timestamptz"),
        // The name of a row of the telemetry table, which is its column's.
        SortKey::Reading(field) => (format!("coalesce(s.{}, {UNKNOWN_RANK})", field.name), "bigint"),
        SortKey::Enrolled => ("d.enrolled_at".to_owned(), "timestamptz"),
    }
}

/// Adds the place of a page in an order.
pub(crate) fn push_page(query: &mut QueryBuilder<Postgres>, sort: Sort, after: Option<&Cursor>, limit: i64) {
    let (column, cast) = sort_column(sort);
    let (comparison, direction) = if sort.descending { ("<", "DESC") } else { (">", "ASC") };
    if let Some(after) = after {
        query.push(format_args!(" AND ({column}, d.device_id) {comparison} ("));
        query.push_bind(after.key.clone()).push(format_args!("::text::{cast}, "));
        query.push_bind(after.id.0).push(")");
    }
    query.push(format_args!(" ORDER BY {column} {direction}, d.device_id {direction} LIMIT "));
    query.push_bind(limit);
}

impl Store {
    /// The ids of at most `limit` devices that match and contain the filter's text, in the order of a list.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn search_devices(
        &self,
        filter: &DeviceFilter,
        scope: DeviceListScope,
        sort: Sort,
        after: Option<&Cursor>,
        thresholds: StatusThresholds,
        limit: i64,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let text = filter.text.as_deref().unwrap_or_default();
        let (mut found, mut after) = (Vec::new(), after.cloned());
        loop {
            let mut query: QueryBuilder<Postgres> =
                QueryBuilder::new("SELECT d.device_id, d.alias, coalesce(s.model, d.model) AS searched_model, d.hardware_id, ");
            query.push(sort_column(sort).0);
            query.push("::text AS sort_key FROM device d LEFT JOIN device_last_status s USING (device_id) WHERE ");
            query.push(condition_of(scope));
            push_filter(&mut query, filter, thresholds);
            push_page(&mut query, sort, after.as_ref(), BATCH);
            let rows = query.build().fetch_all(&self.pool).await?;
            for row in &rows {
                let id = DeviceId(row.try_get("device_id")?);
                let (alias, model, hardware_id) = (row.try_get("alias")?, row.try_get("searched_model")?, row.try_get("hardware_id")?);
                if (SearchedTexts { id, alias, model, hardware_id }).contain(text) {
                    found.push(id);
                    if found.len() as i64 == limit {
                        return Ok(found);
                    }
                }
            }
            match rows.last() {
                Some(last) if rows.len() as i64 == BATCH => {
                    after = Some(Cursor { key: last.try_get("sort_key")?, id: DeviceId(last.try_get("device_id")?) });
                }
                _ => return Ok(found),
            }
        }
    }
}
