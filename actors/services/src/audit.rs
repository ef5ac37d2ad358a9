//! The audit trail, for people: searched, exported as a table, and checked as a chain.

mod archived;

use archive::{ArchiveName, Archives};
use bytes::Bytes;
use chrono::SecondsFormat;
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, AuditArchive, AuditFilter, ChainCheck, ChainedEntry, Head, Problem, Target, chained_at};
use domain::invalid::in_range;
use domain::query::PAGE_MAX;
use domain::spreadsheet::neutralised;
use domain::{ServiceError, Timestamp};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;
use store::Store;

use super::access_trail::given;
use super::table_pools::TablePools;

/// Entries that are read at a time; with `before` and `after` a few megabytes at the very most.
const BATCH: i64 = 200;
/// Problems that a check names; the others are counted.
const PROBLEMS_MAX: usize = 100;

const COLUMNS: [&str; 14] = [
    "seq",
    "at",
    "actor_kind",
    "actor_id",
    "actor_name",
    "action",
    "target_kind",
    "target_id",
    "target_name",
    "before",
    "after",
    "request_id",
    "address",
    "hash",
];

/// A page of the trail.
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<ChainedEntry>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<i64>,
    /// Older entries, which only a search of archives finds.
    pub archived: Option<ArchivedEntries>,
    /// Files of archives that were read for this page; `None`: none was asked for, or the database had enough.
    pub archives_read: Option<u64>,
}

/// Where entries are that are no longer in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedEntries {
    /// The newest of them.
    pub last_seq: i64,
    /// Its time.
    pub last_at: Timestamp,
    /// Name of the newest archive in the store, without the ending.
    pub newest: String,
}

/// The audit trail.
pub struct AuditService {
    clock: Clock,
    store: Store,
    tables: TablePools,
    archives: Archives,
}

impl AuditService {
    /// The service over a store and its archives.
    pub fn new(clock: Clock, store: Store, tables: TablePools, archives: Archives) -> Self {
        Self { clock, store, tables, archives }
    }

    /// A page of entries that match, the newest first, behind the one at `older_than`. With `archived` those in archives follow the ones in the
    /// database: as far as one read of archives reaches, so that a page may have fewer entries than the limit, or none, and yet a next one.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, or an archive takes more bytes or longer than one read may, or is not there.
    pub async fn page(
        &self,
        principal: &Principal,
        filter: AuditFilter,
        older_than: Option<i64>,
        limit: i64,
        archived: bool,
    ) -> Result<AuditPage, ServiceError> {
        principal.require(Permission::ViewAudit)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let filter = filter.checked()?;
        let permit = self.tables.read(principal).await?;
        let mut entries = self.store.audit_page(&filter, older_than, limit + 1).await?;
        let more = entries.len() as i64 > limit;
        entries.truncate(limit as usize);
        let mut next = if more { entries.last().map(|row| row.entry.seq) } else { None };
        let recorded = self.store.audit_archives(0).await?;
        drop(permit);
        let mut archives_read = None;
        if archived && !more {
            // Entries that are on their way out of the database are in both: those that it has found are not looked for again.
            let before = entries.last().map(|oldest| oldest.entry.seq).or(older_than).unwrap_or(i64::MAX);
            let left = (limit as usize).saturating_sub(entries.len());
            if left > 0 {
                let found = archived::search(&self.archives, &recorded, &filter, before, left).await?;
                entries.extend(found.entries);
                (next, archives_read) = (found.next, Some(found.files));
            } else if !recorded.is_empty() {
                next = Some(before);
            }
        }
        let archived = recorded.last().map(|archive| ArchivedEntries {
            last_seq: *archive.range.end(),
            last_at: archive.last_at,
            newest: archive.name.clone(),
        });
        Ok(AuditPage { entries, next, archived, archives_read })
    }

    /// The newest entry's place and hash, to be noted where nobody can change it.
    ///
    /// # Errors
    /// Forbidden, or the database is unavailable.
    pub async fn head(&self, principal: &Principal) -> Result<Head, ServiceError> {
        principal.require(Permission::ViewAudit)?;
        Ok(self.store.audit_head().await?)
    }

    /// The entries that match as a table, the newest first (RFC 4180), piece by piece. Cells that a
    /// spreadsheet would take for formulas are neutralised.
    ///
    /// # Errors
    /// Forbidden, the filter is out of its limits, or too many exports are under way. A piece is an
    /// error when the database goes away in between, or when none is taken for too long.
    pub async fn export(
        &self,
        principal: &Principal,
        filter: AuditFilter,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        principal.require(Permission::ViewAudit)?;
        let filter = filter.checked()?;
        let permit = self.tables.export(principal)?;
        let head = Bytes::from(table([COLUMNS.map(str::to_owned)])?);
        // Read before anything is answered, so that a database that is away is an error and no stump.
        let reader =
            Reader { store: self.store.clone(), tables: self.tables.clone(), principal: principal.clone(), filter: filter.clone() };
        let (first, next) = reader.piece(None).await?;
        let target = Target::Other { kind: "audit", id: None, name: None };
        given(&self.store, principal, AuditAction::TrailExported, target, shown(&filter), self.clock.now()).await?;
        let rest = stream::try_unfold((reader, next), |(reader, older_than)| async move {
            if older_than.is_none() {
                return Ok(None);
            }
            let (piece, next) = reader.piece(older_than).await?;
            Ok(Some((piece, (reader, next))))
        });
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head), Ok(first)]).chain(rest)))
    }
}

/// The conditions of a filter, for the record.
fn shown(filter: &AuditFilter) -> serde_json::Value {
    let AuditFilter { actor, action, target, request_id, text, from, to } = filter;
    let conditions = json!({
        "actor": actor, "action": action, "target": target, "request_id": request_id, "text": text, "from": from, "to": to
    });
    let given = conditions.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let given: serde_json::Map<_, _> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    json!({ "filter": given })
}

/// An export under way.
struct Reader {
    store: Store,
    tables: TablePools,
    principal: Principal,
    filter: AuditFilter,
}

impl Reader {
    async fn piece(&self, older_than: Option<i64>) -> Result<(Bytes, Option<i64>), ServiceError> {
        let _permit = self.tables.read(&self.principal).await?;
        let entries = self.store.audit_page(&self.filter, older_than, BATCH).await?;
        let next = entries.last().filter(|_| entries.len() as i64 == BATCH).map(|row| row.entry.seq);
        Ok((table(entries.iter().map(cells))?.into(), next))
    }
}

fn table(rows: impl IntoIterator<Item = [String; COLUMNS.len()]>) -> Result<Vec<u8>, ServiceError> {
    let mut writer =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory fails on rows of different lengths only, and these have one.
        writer.write_record(&row).map_err(|_| ServiceError::Internal)?;
    }
    writer.into_inner().map_err(|_| ServiceError::Internal)
}

fn cells(row: &ChainedEntry) -> [String; COLUMNS.len()] {
    let entry = &row.entry;
    let maybe = |text: &Option<String>| text.as_deref().map(neutralised).unwrap_or_default();
    [
        entry.seq.to_string(),
        entry.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        neutralised(&entry.actor_kind),
        maybe(&entry.actor_id),
        neutralised(&entry.actor_name),
        neutralised(&entry.action),
        neutralised(&entry.target_kind),
        maybe(&entry.target_id),
        maybe(&entry.target_name),
        maybe(&entry.before),
        maybe(&entry.after),
        maybe(&entry.request_id),
        maybe(&entry.address),
        hex::encode(&row.hash),
    ]
}

/// Result of a check of the whole chain.
#[derive(Debug)]
pub struct AuditChecked {
    /// Entries that were looked at.
    pub entries: u64,
    /// Those of them that were read from archives.
    pub archived: u64,
    /// The head when the check began: what was checked ends there, or a little later.
    pub head: Head,
    /// Problems; at most a hundred.
    pub problems: Vec<Problem>,
    /// Number of problems.
    pub problems_total: usize,
}

/// Checks the chain from its first entry to its head, through its archives and on in the database, a batch at a time, while others go on
/// writing. `expected` is a head that was noted elsewhere before.
///
/// # Errors
/// The database is unavailable. An archive that cannot be read is a problem of the chain.
pub async fn check_audit(store: &Store, archives: &Archives, expected: Option<Head>) -> Result<AuditChecked, ServiceError> {
    let head = store.audit_head().await?;
    let mut checked = AuditChecked { entries: 0, archived: 0, head: head.clone(), problems: Vec::new(), problems_total: 0 };
    let mut check = ChainCheck::new(expected);
    loop {
        let batch = store.audit_batch(check.last_seq(), BATCH).await?;
        if batch.first().is_none_or(|first| first.entry.seq != check.last_seq() + 1) {
            // They are in archives: since long, or since a moment ago.
            let behind = store.audit_archives(check.last_seq()).await?;
            if !behind.is_empty() {
                for archive in behind {
                    checked.check_archive(archives, &archive, &mut check).await;
                }
                continue;
            }
        }
        for row in &batch {
            checked.entries += 1;
            let found = check.next(row);
            checked.note(found);
        }
        if (batch.len() as i64) < BATCH {
            break;
        }
    }
    let newest = store.audit_newest().await?;
    checked.note(check.end(&head, newest));
    Ok(checked)
}

impl AuditChecked {
    /// Checks the entries of an archive. Behind one that cannot be read the check goes on where it ends.
    async fn check_archive(&mut self, archives: &Archives, archive: &AuditArchive, check: &mut ChainCheck) {
        let ends_with = archive.ends_with();
        // The chain may go on elsewhere than the record says.
        let resumed = check.last_seq();
        let outcome = self.read_archive(archives, archive, check).await;
        let problem = match outcome {
            Ok(()) if check.last() == ends_with => return,
            Ok(()) => "it is not the archive that was recorded: it ends with another entry or hash".to_owned(),
            Err(problem) => problem,
        };
        self.note(vec![Problem::Archive { range: archive.range.clone(), problem }]);
        debug_assert!(ends_with.seq > resumed, "only archives behind the last entry are read");
        check.resume(&ends_with);
    }

    async fn read_archive(&mut self, archives: &Archives, archive: &AuditArchive, check: &mut ChainCheck) -> Result<(), String> {
        let (table, part) = archive.name.split_once('/').ok_or("its name is none of an archive")?;
        let name = ArchiveName::new(table, part).map_err(|invalid| invalid.to_string())?;
        let mut rows = archives.rows(&name, None).await.map_err(|cause| cause.to_string())?;
        let differs = rows.manifest.sha256 != archive.sha256 || rows.manifest.rows_sha256 != archive.rows_sha256;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch.map_err(|cause| cause.to_string())?;
            for row in 0..batch.rows() {
                let row = chained_at(&batch, row).ok_or_else(|| format!("{}: row {row} is no entry", archive.name))?;
                if row.entry.seq <= check.last_seq() {
                    continue;
                }
                (self.entries, self.archived) = (self.entries + 1, self.archived + 1);
                let found = check.next(&row);
                self.note(found);
            }
        }
        if differs { Err(format!("{}: its digests are not those that were recorded", archive.name)) } else { Ok(()) }
    }

    fn note(&mut self, found: Vec<Problem>) {
        self.problems_total += found.len();
        let capacity = PROBLEMS_MAX.saturating_sub(self.problems.len());
        self.problems.extend(found.into_iter().take(capacity));
    }
}
