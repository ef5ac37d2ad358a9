//! Archives of the audit trail: a reconciler of the cluster that writes entries beyond their retention to the archive, reads them back, and only then
//! removes them.
//!
//! Each step can be killed and done again: a file without a record is read and recorded, a record whose entries are still there is read again and they are
//! removed. The chain is checked on the way in and on the way out; where it does not hold nothing is archived, and the alert about it says which entry.

use std::ops::RangeInclusive;
use std::time::Duration;

use archive::{ArchiveError, ArchiveName, Archives, WriteMode};
use chrono::TimeDelta;
use domain::audit::{AuditArchive, ChainCheck, GENESIS, Head, archive_range, audit_table, chained_at};
use domain::shard::shard_of_name;
use domain::{ServiceError, Timestamp};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value};
use store::{Store, StoreError};

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Folder of the archives of the audit trail.
const TABLE: &str = "audit";
/// Time between two looks whether an archive is due.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Archives of one run.
const ARCHIVES_MAX: usize = 100;
/// Most entries that one statement removes: the next one of the trail waits behind it.
const REMOVED_AT_ONCE: i64 = 500;

/// The reconciler.
pub(crate) fn reconciler(store: &Store, archives: &Archives, kept: TimeDelta) -> Reconciler {
    let name = "audit_archive";
    Reconciler::per_cluster(name, shard_of_name(name), INTERVAL, AuditArchiver { store: store.clone(), archives: archives.clone(), kept })
        .at_start()
}

/// What archives entries `kept` after they were written.
pub struct AuditArchiver {
    /// Store.
    pub store: Store,
    /// Archives.
    pub archives: Archives,
    /// Retention of entries in the database.
    pub kept: TimeDelta,
}

/// Why entries were not archived.
#[derive(Debug, thiserror::Error)]
pub enum AuditArchiveError {
    /// The archive could not be written or read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read back is not the chain.
    #[error("{name}: {problem}")]
    Differs {
        /// Name of the archive.
        name: String,
        /// What differs.
        problem: String,
    },
}

impl From<AuditArchiveError> for ServiceError {
    fn from(error: AuditArchiveError) -> Self {
        match error {
            AuditArchiveError::Archive(cause) => cause.into(),
            AuditArchiveError::Store(cause) => cause.into(),
            AuditArchiveError::Differs { name, problem } => {
                tracing::error!(event = "audit.archive_differs", name, problem);
                Self::Internal
            }
        }
    }
}

impl Reconcile for AuditArchiver {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async { Ok(self.archive_due(run.now, || run.may_go_on()).await?) }.boxed()
    }
}

impl AuditArchiver {
    /// Removes what is archived, archives what is due, and removes that. Returns how many entries were removed.
    ///
    /// # Errors
    /// The archive or the database fails; nothing was removed that was not read back.
    pub async fn archive_due(&self, now: Timestamp, may_go_on: impl Fn() -> bool + Send + Sync) -> Result<u64, AuditArchiveError> {
        let mut removed = 0;
        for archive in self.store.audit_archives(0).await?.into_iter().filter(|archive| archive.removed_at.is_none()) {
            self.read_back(&archive.name, &archive.begins_after(), Some(&archive)).await?;
            removed += self.remove(&archive, now, &may_go_on).await?;
        }
        for _ in 0..ARCHIVES_MAX {
            let begins_after = self.store.newest_audit_archive().await?.map_or_else(genesis, |archive| archive.ends_with());
            let due = self.store.audit_archive_due(begins_after.seq, now - self.kept).await?;
            // Entries that are missing before the first one are a broken chain, and no reason to begin an archive behind them.
            let due = due.filter(|due| due.first.0 == begins_after.seq + 1);
            let Some(range) = due.and_then(|due| archive_range(due, self.kept, now)) else { break };
            if !may_go_on() {
                break;
            }
            let archive = match self.written_before(&begins_after, *range.end(), now).await? {
                Some(archive) => archive,
                None => self.write(range, &begins_after, now).await?,
            };
            if !may_go_on() || !self.store.insert_audit_archive(&archive).await? {
                break;
            }
            tracing::info!(
                event = "audit.archived",
                first = archive.range.start(),
                last = archive.range.end(),
                file = archive.name,
                sha256 = archive.sha256,
                bytes = archive.bytes
            );
            removed += self.remove(&archive, now, &may_go_on).await?;
        }
        Ok(removed)
    }

    /// An archive of the next entries that was written and not recorded, since its writer was killed; if it is whole, has none that are not due, and has
    /// those of the database. Whatever else stands there is none, such as a file of another database, or of this one before it was restored.
    async fn written_before(&self, begins_after: &Head, last_due: i64, now: Timestamp) -> Result<Option<AuditArchive>, AuditArchiveError> {
        let next = format!("{:012}-", begins_after.seq + 1);
        let listed = self.archives.list(TABLE).await?;
        let Some(name) = listed.into_iter().map(|listed| listed.name).find(|name| name.part().starts_with(&next)) else { return Ok(None) };
        let (head, archive) = match self.read_back(&name.to_string(), begins_after, None).await {
            Ok(read) => read,
            Err(AuditArchiveError::Store(cause)) => return Err(cause.into()),
            Err(AuditArchiveError::Archive(cause)) if !cause.is_damage() => return Err(cause.into()),
            Err(cause) => {
                tracing::warn!(event = "audit.archive_not_used", name = %name, %cause);
                return Ok(None);
            }
        };
        if head.seq > last_due || !self.store.has_entries_of(&archive).await? {
            let cause = "it has other entries than the database, or some that are not due";
            tracing::warn!(event = "audit.archive_not_used", name = %name, cause);
            return Ok(None);
        }
        Ok(Some(AuditArchive { verified_at: now, ..archive }))
    }

    /// Writes an archive and reads it back.
    async fn write(&self, range: RangeInclusive<i64>, begins_after: &Head, now: Timestamp) -> Result<AuditArchive, AuditArchiveError> {
        let name = ArchiveName::new(TABLE, &AuditArchive::part(&range)).map_err(ArchiveError::from)?;
        let extra: Map<String, Value> = [
            ("first_seq".to_owned(), Value::from(*range.start())),
            ("last_seq".to_owned(), Value::from(*range.end())),
            ("prev_hash".to_owned(), Value::from(hex::encode(&begins_after.hash))),
        ]
        .into_iter()
        .collect();
        let rows = self.store.audit_rows(begins_after, *range.end());
        // None of these entries is in an archive that is recorded: what stands there under this name is of no use.
        self.archives.write(&name, &audit_table(), rows, WriteMode::Replace, extra, now).await?;
        let (head, mut archive) = self.read_back(&name.to_string(), begins_after, None).await?;
        if head.seq != *range.end() {
            let problem = format!("ends with entry {} instead of {}", head.seq, range.end());
            return Err(AuditArchiveError::Differs { name: name.to_string(), problem });
        }
        if !self.store.has_entries_of(&archive).await? {
            return Err(AuditArchiveError::Differs { name: name.to_string(), problem: "has other entries than the database".to_owned() });
        }
        archive.verified_at = now;
        Ok(archive)
    }

    /// Reads an archive from the store: its digests, and the chain through it. `recorded`: what it was when it was recorded.
    async fn read_back(
        &self,
        name: &str,
        begins_after: &Head,
        recorded: Option<&AuditArchive>,
    ) -> Result<(Head, AuditArchive), AuditArchiveError> {
        let differs = |problem: String| AuditArchiveError::Differs { name: name.to_owned(), problem };
        let part = name.strip_prefix(TABLE).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        let key = ArchiveName::new(TABLE, part).map_err(ArchiveError::from)?;
        let manifest = self.archives.verify(&key, None, &|_| ()).await?;
        let mut check = ChainCheck::new(None);
        check.resume(begins_after);
        let mut first_at = None;
        let mut last_at = None;
        let mut batches = self.archives.rows(&key, None).await?.batches;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for row in 0..batch.rows() {
                let row = chained_at(&batch, row).ok_or_else(|| differs(format!("row {row} is no entry")))?;
                if let Some(problem) = check.next(&row).into_iter().next() {
                    return Err(differs(problem.to_string()));
                }
                first_at.get_or_insert(row.entry.at);
                last_at = Some(row.entry.at);
            }
        }
        let (Some(first_at), Some(last_at)) = (first_at, last_at) else { return Err(differs("holds no entry".to_owned())) };
        let head = check.last();
        let archive = AuditArchive {
            range: begins_after.seq + 1..=head.seq,
            first_at,
            last_at,
            prev_hash: begins_after.hash.clone(),
            last_hash: head.hash.clone(),
            name: key.to_string(),
            sha256: manifest.sha256,
            rows_sha256: manifest.rows_sha256,
            bytes: i64::try_from(manifest.bytes).unwrap_or(i64::MAX),
            verified_at: first_at,
            removed_at: None,
        };
        if let Some(recorded) = recorded
            && (&recorded.sha256, &recorded.rows_sha256, &recorded.last_hash) != (&archive.sha256, &archive.rows_sha256, &archive.last_hash)
        {
            return Err(differs("is not the archive that was recorded".to_owned()));
        }
        Ok((head, archive))
    }

    /// Removes the entries of an archive that was just read back.
    async fn remove(
        &self,
        archive: &AuditArchive,
        now: Timestamp,
        may_go_on: &(impl Fn() -> bool + Sync),
    ) -> Result<u64, AuditArchiveError> {
        let mut removed = 0;
        while may_go_on() {
            let entries = self.store.remove_archived_entries(archive, REMOVED_AT_ONCE).await?;
            removed += entries;
            if (entries as i64) < REMOVED_AT_ONCE {
                if !self.store.note_audit_removed(archive, now).await? {
                    let problem = "has other entries than the database, from which none is removed".to_owned();
                    return Err(AuditArchiveError::Differs { name: archive.name.clone(), problem });
                }
                break;
            }
        }
        Ok(removed)
    }
}

fn genesis() -> Head {
    Head { seq: 0, hash: GENESIS.to_vec() }
}
