//! Heartbeats of a device out of the archive, a few readers at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use archive::ReadBudget;
use chrono::NaiveDate;
use domain::archive::heartbeat_at;
use domain::history::{Slot, SlotBuilder};
use domain::{DeviceId, ServiceError};
use futures_util::TryStreamExt;
use tokio::sync::SemaphorePermit;

use super::HistoryService;
use super::sources::Run;

/// A turn at reading archives, and what may be read in it.
pub(super) struct ArchiveTurn<'a> {
    _permit: SemaphorePermit<'a>,
    pub(super) budget: Arc<ReadBudget>,
}

impl HistoryService {
    /// A turn at reading archives. The time it may take begins with it.
    ///
    /// # Errors
    /// None came free for as long as a read may take.
    pub(super) async fn archive_turn(&self) -> Result<ArchiveTurn<'_>, ServiceError> {
        let permit = self.archives.turn().await.ok_or(ServiceError::Overloaded("archive.reads_max"))?;
        Ok(ArchiveTurn { _permit: permit, budget: self.archives.read_budget() })
    }

    /// The archived heartbeats of a device in these spans, added up in slots. `days` are those whose archives are recorded.
    ///
    /// # Errors
    /// Reading takes more bytes or longer than it may, the archive of a day is not there, or the store fails.
    pub(super) async fn archived(
        &self,
        turn: &ArchiveTurn<'_>,
        id: DeviceId,
        runs: &[Run],
        days: &BTreeSet<NaiveDate>,
        slot_s: i64,
    ) -> Result<Vec<Slot>, ServiceError> {
        let mut slots = Vec::new();
        for (from, to) in runs {
            let mut read = self.archives.device_rows(id, *from, *to, days.iter().copied(), &turn.budget);
            let mut builder = SlotBuilder::new(slot_s, self.policy.offline_after);
            while let Some(day) = read.try_next().await? {
                let rows = (0..day.batch.rows()).filter_map(|row| heartbeat_at(&day.batch, row));
                rows.filter(|heartbeat| (*from..*to).contains(&heartbeat.bucket_at)).for_each(|heartbeat| builder.add(&heartbeat));
            }
            slots.extend(builder.finish());
        }
        Ok(slots)
    }
}
