//! Storage of history: what it takes over time, and when the disk is full at this rate.

mod forecast;
mod work;

pub use forecast::{Forecast, GROWTH_SAMPLES_MIN, GROWTH_SPAN, GROWTH_SPAN_MIN, Growth};
pub use work::{PartitionWork, WORK_LOST_AFTER, WorkKind, WorkState};

use crate::Timestamp;

/// Retention of samples and of ended work, days.
pub const RECORDS_KEPT_DAYS: i64 = 90;

/// Sizes at one moment, as one node saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageSample {
    /// Time.
    pub at: Timestamp,
    /// The whole database.
    pub database_bytes: i64,
    /// The partitions of heartbeats in it, with their indexes.
    pub heartbeats_bytes: i64,
    /// The archives of heartbeats, wherever they are kept.
    pub archive_bytes: i64,
    /// Bytes on the disk judged here, of those above; the others are kept elsewhere.
    pub on_disk_bytes: i64,
    /// Free space of that disk. `None`: the database is on a disk that this node does not see.
    pub disk_free_bytes: Option<i64>,
    /// Size of that disk.
    pub disk_bytes: Option<i64>,
}

/// Bytes of one row. `None`: there are none.
pub fn bytes_per_row(bytes: i64, rows: i64) -> Option<f64> {
    (rows > 0).then(|| bytes as f64 / rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_have_no_size_each() {
        assert_eq!([bytes_per_row(1000, 8), bytes_per_row(1000, 0), bytes_per_row(0, 4)], [Some(125.0), None, Some(0.0)]);
    }
}
