//! Partitions in pages, the newest first, with the sizes that the catalogue knows where nobody has counted yet.

use std::collections::HashMap;
use std::sync::Arc;

use actors::partition::PartitionTable;
use chrono::NaiveDate;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::invalid::in_range;
use domain::partition::{PartitionRecord, PartitionState};
use domain::query::PAGE_MAX;

use super::StorageService;
use super::work::refused;

/// Days that an overview draws at most.
pub const PARTITIONS_DRAWN_DAYS: usize = 400;

/// A page of partitions.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionPage {
    /// The partitions, the newest first.
    pub partitions: Vec<PartitionRecord>,
    /// The day after which the next page begins; `None`: this is the last one.
    pub next: Option<NaiveDate>,
}

/// The records of these states, the newest first, before a day; at most `limit`.
fn page(mut records: Vec<PartitionRecord>, states: &[PartitionState], before: Option<NaiveDate>, limit: usize) -> PartitionPage {
    records.retain(|record| (states.is_empty() || states.contains(&record.state)) && before.is_none_or(|before| record.day < before));
    records.sort_by_key(|record| std::cmp::Reverse(record.day));
    let more = records.len() > limit;
    records.truncate(limit);
    let next = if more { records.last().map(|record| record.day) } else { None };
    PartitionPage { partitions: records, next }
}

/// Adds what the catalogue knows of tables: day, bytes, and an estimate of rows. A table that nothing is recorded of yet counts as open: the
/// next run looks at it. The records are in the order of their days then.
fn add_tables(records: &mut Vec<PartitionRecord>, tables: impl Iterator<Item = (NaiveDate, u64, Option<u64>)>) {
    let mut by_day: HashMap<NaiveDate, usize> = records.iter().enumerate().map(|(place, record)| (record.day, place)).collect();
    for (day, bytes, rows) in tables {
        let place = *by_day.entry(day).or_insert_with(|| {
            records.push(PartitionRecord::new(day, PartitionState::Open));
            records.len() - 1
        });
        if let Some(record) = records.get_mut(place) {
            // The catalogue is newer than what was recorded; its rows are an estimate, which a count is not.
            record.bytes = Some(bytes);
            record.rows = record.rows.or(rows);
        }
    }
    records.sort_by_key(|record| record.day);
}

impl StorageService {
    /// Every day that something is known of, oldest first, as of just now.
    pub(super) async fn records(&self) -> Result<Arc<Vec<PartitionRecord>>, ServiceError> {
        let read_tables = async { self.parts.partitions.tables().await.map(Arc::new).map_err(refused) };
        let read = async {
            let tables = self.day_tables.get(read_tables).await?;
            self.read_records(&tables).await.map(Arc::new)
        };
        self.records.get(read).await
    }

    /// The same, as of now.
    pub(super) async fn records_now(&self) -> Result<Vec<PartitionRecord>, ServiceError> {
        let tables = self.parts.partitions.tables().await.map_err(refused)?;
        self.read_records(&tables).await
    }

    async fn read_records(&self, tables: &[PartitionTable]) -> Result<Vec<PartitionRecord>, ServiceError> {
        let mut records = self.parts.partitions.records().await.map_err(refused)?;
        add_tables(&mut records, tables.iter().map(|table| (table.day, table.bytes, table.rows)));
        Ok(records)
    }

    /// The partitions of these states (none: of all), the newest first.
    ///
    /// # Errors
    /// Forbidden, the limit is out of its range, the database is unavailable, or too many read it.
    pub async fn partitions(
        &self,
        principal: &Principal,
        states: &[PartitionState],
        before: Option<NaiveDate>,
        limit: i64,
    ) -> Result<PartitionPage, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let _permit = self.parts.tables.read(principal).await?;
        Ok(page(self.records().await?.to_vec(), states, before, usize::try_from(limit).unwrap_or(usize::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    #[test]
    fn a_table_that_is_not_recorded_yet_is_shown_as_well() {
        let mut records = vec![
            PartitionRecord { rows: Some(7), ..PartitionRecord::new(day(3), PartitionState::Settled) },
            PartitionRecord::new(day(1), PartitionState::Dropped),
        ];
        add_tables(&mut records, [(day(3), 30, Some(9)), (day(2), 20, Some(5)), (day(4), 40, None)].into_iter());
        let shown: Vec<_> = records.iter().map(|record| (record.day, record.state, record.bytes, record.rows)).collect();
        assert_eq!(
            shown,
            [
                (day(1), PartitionState::Dropped, None, None),
                (day(2), PartitionState::Open, Some(20), Some(5)),
                (day(3), PartitionState::Settled, Some(30), Some(7)),
                (day(4), PartitionState::Open, Some(40), None),
            ]
        );
    }

    #[test]
    fn pages_go_back_in_time_until_nothing_is_left() {
        use PartitionState::{Dropped, Open, Verified};
        let records: Vec<_> =
            [(1, Dropped), (2, Dropped), (3, Verified), (4, Open)].map(|(n, state)| PartitionRecord::new(day(n), state)).into();
        let shown = |states: &[PartitionState], before, limit| {
            let page = page(records.clone(), states, before, limit);
            (page.partitions.iter().map(|record| record.day).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(shown(&[], None, 3), (vec![day(4), day(3), day(2)], Some(day(2))));
        assert_eq!(shown(&[], Some(day(2)), 3), (vec![day(1)], None));
        assert_eq!(shown(&[], None, 4).1, None, "a full page that is the last has no next");
        assert_eq!(shown(&[Dropped], None, 1), (vec![day(2)], Some(day(2))));
        assert_eq!(shown(&[PartitionState::Lost], None, 1), (vec![], None));
    }
}
