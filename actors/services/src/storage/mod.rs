//! Storage of history, for people: partitions and their archives, sizes, growth, reconciliation, backups, and work on partitions.

mod kept;
mod overview;
mod page;
mod work;

use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use clock::Clock;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::partition::{DayPlan, PartitionRecord};
use store::{DatabaseSizes, Store};
use tokio::sync::watch;

use actors::partition::{Manager, PartitionTable};

use crate::{ClusterService, TablePools};
use kept::Kept;

pub use overview::{PartitionCount, Sizes, StorageOverview};
pub use page::{PARTITIONS_DRAWN_DAYS, PartitionPage};
pub use work::WorkRequest;

/// How old records of days are at most that are shown.
const RECORDS_AGE: Duration = Duration::from_secs(1);
/// How old sizes and the plan of a day are at most that are shown: reading them takes the catalogue and a look at each table.
const SIZES_AGE: Duration = Duration::from_secs(5);

/// Settings of storage that its overview shows.
#[derive(Debug, Clone)]
pub struct StorageView {
    /// Days whose heartbeats are kept in the database.
    pub kept_days: u32,
    /// Where archives are kept, without credentials.
    pub archive_url: String,
    /// Interval of the partition manager.
    pub interval: Duration,
    /// Time between two backups of the schedule; `None`: there is none.
    pub backup_every: Option<TimeDelta>,
}

/// Parts of the service.
pub struct StorageParts {
    /// Clock of the node.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Carries out the steps of partitions.
    pub partitions: Arc<Manager>,
    /// Tells of the reconcilers of every node.
    pub cluster: Arc<ClusterService>,
    /// Connections that reading takes.
    pub tables: TablePools,
    /// Settings.
    pub view: StorageView,
}

/// Storage, for people.
pub struct StorageService {
    parts: StorageParts,
    /// Ends the work that this node does when it stops.
    stopping: watch::Sender<bool>,
    records: Kept<Arc<Vec<PartitionRecord>>>,
    day_tables: Kept<Arc<Vec<PartitionTable>>>,
    sizes: Kept<DatabaseSizes>,
    plans: Kept<Arc<Vec<DayPlan>>>,
}

impl StorageService {
    /// The service over the partition manager.
    pub fn new(parts: StorageParts) -> Self {
        Self {
            parts,
            stopping: watch::Sender::new(false),
            records: Kept::new(RECORDS_AGE),
            day_tables: Kept::new(SIZES_AGE),
            sizes: Kept::new(SIZES_AGE),
            plans: Kept::new(SIZES_AGE),
        }
    }

    /// Makes whoever looks next see what this node did.
    async fn forget(&self) {
        self.day_tables.forget().await;
        self.sizes.forget().await;
        self.plans.forget().await;
        // Made of the tables: last.
        self.records.forget().await;
    }

    /// Ends the work that this node does: it is noted as interrupted, and whatever step it was at can be repeated.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether a person or script may see storage.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_reading(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ViewCluster)?)
    }

    /// Whether a person or script may start work on partitions.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageCluster)?)
    }

    /// What the next run does at this moment, day by day; days with nothing to do are left out.
    ///
    /// # Errors
    /// Forbidden, the database is unavailable, or too many read it.
    pub async fn plan(&self, principal: &Principal) -> Result<Vec<DayPlan>, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let _permit = self.parts.tables.read(principal).await?;
        let plan = self.parts.partitions.plan(self.parts.clock.now()).await.map_err(work::refused)?;
        Ok(plan.into_iter().filter(|day| !day.steps.is_empty()).collect())
    }

    /// A day, and what comes next of it.
    ///
    /// # Errors
    /// Forbidden, nothing is known of this day, or too many read the database.
    pub async fn day(&self, principal: &Principal, day: NaiveDate) -> Result<(PartitionRecord, Option<DayPlan>), ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let _permit = self.parts.tables.read(principal).await?;
        let records = self.records().await?;
        let record = records.iter().find(|record| record.day == day).cloned().ok_or(ServiceError::NotFound("partition"))?;
        let read = async { self.parts.partitions.plan(self.parts.clock.now()).await.map(Arc::new).map_err(work::refused) };
        let plans = self.plans.get(read).await?;
        Ok((record, plans.iter().find(|plan| plan.day == day).cloned()))
    }
}
