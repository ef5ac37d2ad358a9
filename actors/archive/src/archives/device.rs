//! Rows of one device out of the archives of many days: of each file the footer, which is kept in memory, and then the pages that hold them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{NaiveDate, TimeDelta};
use domain::archive::{Cell, RecordBatch, TableSchema};
use domain::{DeviceId, Timestamp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::index_reader::{decode_column_index, decode_offset_index};
use parquet::file::page_index::offset_index::PageLocation;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Archives, Inner, joined};
use crate::file::{GroupReader, Sparse, foreign_columns, merged};
use crate::manifest::Manifest;
use crate::{ArchiveError, ArchiveName};

/// Days that are read at a time.
const DAYS_AHEAD: usize = 4;
/// Parts of one file that are read at a time.
const PARTS_AHEAD: usize = 8;
/// The end of a file: length of the metadata, and magic number.
const TAIL_BYTES: usize = 8;

/// The rows of a device on one day.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDay {
    /// Day.
    pub day: NaiveDate,
    /// Rows, the earliest first; none if the device sent nothing.
    pub batch: RecordBatch,
}

/// The footer of a file.
pub(super) struct CachedFooter {
    schema: Arc<TableSchema>,
    metadata: ParquetMetaData,
    /// What follows the row groups, and where it begins.
    end: Bytes,
    end_at: u64,
    /// The store's tag of the file.
    tag: Option<String>,
}

impl CachedFooter {
    pub(super) fn memory_bytes(&self) -> usize {
        self.end.len() + self.metadata.memory_size()
    }

    fn bytes(&self) -> u64 {
        self.end_at + self.end.len() as u64
    }

    fn slice(&self, range: Option<Range<u64>>) -> Result<Bytes, String> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.end_at)?).ok().filter(|at| *at <= self.end.len());
        let range = range.and_then(|range| Some(place(range.start)?..place(range.end)?)).filter(|range| range.start <= range.end);
        range.map(|range| self.end.slice(range)).ok_or_else(|| "an index is not where the footer says".to_owned())
    }
}

/// Bytes and time that one request may take to read archives, of however many days and devices.
#[derive(Debug)]
pub struct ReadBudget {
    bytes_max: u64,
    spent: AtomicU64,
    until: Instant,
    timeout: Duration,
}

impl ReadBudget {
    /// A part of the reading, as long as there is time.
    ///
    /// # Errors
    /// The time is over, or the part fails.
    pub async fn within<T>(&self, part: impl Future<Output = Result<T, ArchiveError>>) -> Result<T, ArchiveError> {
        tokio::time::timeout_at(self.until, part).await.map_err(|_| ArchiveError::TooSlow { timeout: self.timeout })?
    }

    pub(super) fn spend(&self, bytes: u64) -> Result<(), ArchiveError> {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if spent > self.bytes_max { Err(ArchiveError::TooManyBytes { max: self.bytes_max }) } else { Ok(()) }
    }
}

impl Archives {
    /// The budget of a request that begins now: `read_bytes_max` and `read_timeout` of the settings.
    pub fn read_budget(&self) -> Arc<ReadBudget> {
        let settings = &self.inner.settings;
        Arc::new(ReadBudget {
            bytes_max: settings.read_bytes_max,
            spent: AtomicU64::new(0),
            until: Instant::now() + settings.read_timeout,
            timeout: settings.read_timeout,
        })
    }

    /// The archived rows of a device from `from` until before `to`, day by day, the earliest first: of those of `days` that lie in between, each of
    /// which has to have an archive.
    ///
    /// The stream's errors say what an archive lacks, that there is none of a day ([`ArchiveError::Missing`]), or which limit was reached.
    pub fn device_rows(
        &self,
        device: DeviceId,
        from: Timestamp,
        to: Timestamp,
        days: impl IntoIterator<Item = NaiveDate>,
        budget: &Arc<ReadBudget>,
    ) -> BoxStream<'static, Result<DeviceDay, ArchiveError>> {
        let before = to.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(to);
        let (first, last) = (from.date_naive(), before.date_naive());
        let days: BTreeSet<NaiveDate> = days.into_iter().filter(|day| first <= *day && *day <= last).collect();
        let (archives, budget) = (self.clone(), Arc::clone(budget));
        let read = stream::iter(days).map(move |day| {
            let (archives, budget) = (archives.clone(), Arc::clone(&budget));
            async move {
                let name = ArchiveName::heartbeats(day);
                let read = archives.device_day(&name, device, from..to, &budget);
                let batch = tokio::time::timeout_at(budget.until, read).await;
                batch.map_err(|_| ArchiveError::TooSlow { timeout: budget.timeout })?.map(|batch| DeviceDay { day, batch })
            }
        });
        read.buffered(DAYS_AHEAD).boxed()
    }

    async fn device_day(
        &self,
        name: &ArchiveName,
        device: DeviceId,
        times: Range<Timestamp>,
        budget: &ReadBudget,
    ) -> Result<RecordBatch, ArchiveError> {
        if let Some(footer) = self.inner.footers.get(name) {
            match self.inner.device_rows_of(name, &footer, device, times.clone(), budget).await {
                // Another node may have replaced the archive.
                Err(error) if error.is_damage() => self.inner.footers.invalidate(name),
                read => return read,
            }
        }
        let footer = Arc::new(self.footer(name, budget).await?);
        self.inner.footers.insert(name.clone(), Arc::clone(&footer));
        self.inner.device_rows_of(name, &footer, device, times, budget).await
    }

    async fn footer(&self, name: &ArchiveName, budget: &ReadBudget) -> Result<CachedFooter, ArchiveError> {
        let manifest = self.manifest(name).await?.ok_or_else(|| ArchiveError::Missing { key: name.manifest_key() })?;
        let key = name.file_key();
        budget.spend(manifest.footer.bytes)?;
        let range = manifest.bytes - manifest.footer.bytes..manifest.bytes;
        let (end, tag) = self.inner.bucket()?.range(&key, range.clone(), None).await?;
        let (file, table) = (key.clone(), name.table().to_owned());
        let read = move || read_footer(&table, &manifest, end, range.start, tag).map_err(|problem| ArchiveError::damaged(&file, problem));
        joined(&key, tokio::task::spawn_blocking(read)).await
    }
}

impl Inner {
    async fn device_rows_of(
        self: &Arc<Self>,
        name: &ArchiveName,
        footer: &Arc<CachedFooter>,
        device: DeviceId,
        times: Range<Timestamp>,
        budget: &ReadBudget,
    ) -> Result<RecordBatch, ArchiveError> {
        let key = name.file_key();
        let wanted = wanted_groups(footer, device).map_err(|problem| ArchiveError::damaged(&key, problem))?;
        let ranges = merged(wanted.iter().flat_map(|group| group.ranges.iter().cloned()).collect());
        budget.spend(ranges.iter().map(|range| range.end - range.start).sum())?;
        let parts = stream::iter(ranges).map(|range| {
            let (start, key) = (range.start, &key);
            async move { Ok::<_, ArchiveError>((start, self.bucket()?.range(key, range, footer.tag.clone()).await?.0)) }
        });
        let parts: Vec<_> = parts.buffered(PARTS_AHEAD).try_collect().await?;
        let (footer, file) = (Arc::clone(footer), key.clone());
        let decode = move || {
            let bytes = Arc::new(Sparse::new(footer.bytes(), parts));
            decode(&footer, &bytes, wanted, device, &times).map_err(|problem| ArchiveError::damaged(&file, problem))
        };
        joined(&key, tokio::task::spawn_blocking(decode)).await
    }
}

fn read_footer(table: &str, manifest: &Manifest, end: Bytes, end_at: u64, tag: Option<String>) -> Result<CachedFooter, String> {
    let found = hex::encode(Sha256::digest(&end));
    if found != manifest.footer.sha256 {
        return Err(format!("the footer is damaged or of another version: byte digest {found} instead of {}", manifest.footer.sha256));
    }
    let tail = end.len().checked_sub(TAIL_BYTES).ok_or("the footer is too short")?;
    let length = end[tail..].first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    let start = length.and_then(|length| tail.checked_sub(length)).ok_or("the footer is shorter than it says")?;
    let metadata =
        ParquetMetaDataReader::decode_metadata(&end[start..tail]).map_err(|cause| format!("the footer cannot be read: {cause}"))?;
    let schema = Arc::new(manifest.schema(table)?);
    match foreign_columns(&metadata, &schema) {
        None => Ok(CachedFooter { schema, metadata, end, end_at, tag }),
        Some(difference) => Err(difference),
    }
}

/// The rows of a row group that may be a device's, and where they are.
struct WantedGroup {
    group: usize,
    rows: Range<usize>,
    /// All pages of each column.
    pages: Vec<Vec<PageLocation>>,
    /// The bytes that are needed.
    ranges: Vec<Range<u64>>,
}

fn wanted_groups(footer: &CachedFooter, device: DeviceId) -> Result<Vec<WantedGroup>, String> {
    let column = footer.schema.place("device_id").ok_or("there is no column device_id")?;
    let mut wanted = Vec::new();
    for (place, group) in footer.metadata.row_groups().iter().enumerate() {
        let in_group = |problem: String| format!("row group {place}: {problem}");
        let ids = group.columns().get(column).ok_or("there is no column device_id")?;
        if !may_hold(ids.statistics().map(|found| (found.min_bytes_opt(), found.max_bytes_opt())), device) {
            continue;
        }
        let Some(rows) = device_rows_in(footer, group, ids, device).map_err(in_group)? else { continue };
        let (mut pages, mut ranges) = (Vec::new(), Vec::new());
        for chunk in group.columns() {
            let locations = pages_of(footer, chunk).map_err(in_group)?;
            ranges.extend(ranges_of(chunk, &locations, &rows, rows_of(group)));
            pages.push(locations);
        }
        wanted.push(WantedGroup { group: place, rows, pages, ranges });
    }
    Ok(wanted)
}

/// Least and greatest value of a column, as far as they are known.
type Bounds<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Whether values between these may be the device's id. What is not known may be.
fn may_hold(bounds: Option<Bounds<'_>>, device: DeviceId) -> bool {
    let id: &[u8] = device.0.as_bytes();
    match bounds {
        Some((least, most)) => least.is_none_or(|least| least <= id) && most.is_none_or(|most| id <= most),
        None => true,
    }
}

fn rows_of(group: &RowGroupMetaData) -> usize {
    usize::try_from(group.num_rows()).unwrap_or_default()
}

/// The rows of the pages that may hold the device's.
fn device_rows_in(
    footer: &CachedFooter,
    group: &RowGroupMetaData,
    ids: &ColumnChunkMetaData,
    device: DeviceId,
) -> Result<Option<Range<usize>>, String> {
    let index = footer.slice(ids.column_index_range())?;
    let index = decode_column_index(&index, ids.column_type()).map_err(|cause| format!("the column index cannot be read: {cause}"))?;
    let ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) = index else {
        return Err("the column index is not one of device ids".into());
    };
    let locations = pages_of(footer, ids)?;
    if locations.len() as u64 != index.num_pages() {
        return Err("the indexes of device_id have different numbers of pages".into());
    }
    let ends = page_ends(&locations, rows_of(group));
    let pages = locations.iter().zip(ends).enumerate();
    let holding = pages.filter(|(page, _)| may_hold(Some((index.min_value(*page), index.max_value(*page))), device));
    Ok(holding.fold(None, |rows: Option<Range<usize>>, (_, (location, end))| {
        let start = usize::try_from(location.first_row_index).unwrap_or_default();
        Some(rows.map_or(start, |rows| rows.start)..end)
    }))
}

fn pages_of(footer: &CachedFooter, chunk: &ColumnChunkMetaData) -> Result<Vec<PageLocation>, String> {
    let index = footer.slice(chunk.offset_index_range())?;
    let index = decode_offset_index(&index).map_err(|cause| format!("the offset index cannot be read: {cause}"))?;
    Ok(index.page_locations().clone())
}

/// The row behind each page.
fn page_ends(locations: &[PageLocation], rows: usize) -> Vec<usize> {
    let starts = locations.iter().skip(1).map(|location| usize::try_from(location.first_row_index).unwrap_or(rows));
    starts.chain([rows]).collect()
}

/// The bytes of a column that hold rows: its dictionary and some pages.
fn ranges_of(chunk: &ColumnChunkMetaData, locations: &[PageLocation], rows: &Range<usize>, rows_of_group: usize) -> Vec<Range<u64>> {
    let at = |offset: i64| u64::try_from(offset).unwrap_or_default();
    let dictionary = chunk.dictionary_page_offset().zip(locations.first()).map(|(start, first)| at(start)..at(first.offset));
    let ends = page_ends(locations, rows_of_group);
    let pages = locations.iter().zip(ends).filter(|(location, end)| {
        let start = usize::try_from(location.first_row_index).unwrap_or_default();
        start < rows.end && rows.start < *end
    });
    let pages = pages.map(|(location, _)| at(location.offset)..at(location.offset) + at(location.compressed_page_size.into()));
    dictionary.into_iter().chain(pages).collect()
}

fn decode(
    footer: &CachedFooter,
    bytes: &Arc<Sparse>,
    wanted: Vec<WantedGroup>,
    device: DeviceId,
    times: &Range<Timestamp>,
) -> Result<RecordBatch, String> {
    let mut found = RecordBatch::with_capacity(Arc::clone(&footer.schema), 0);
    for WantedGroup { group, rows, pages, .. } in wanted {
        let in_group = |problem: String| format!("row group {group}: {problem}");
        let reader = GroupReader::new(bytes, &footer.metadata, group, &footer.schema, Some(pages));
        let mut reader = reader.map_err(|cause| in_group(cause.to_string()))?;
        reader.skip(rows.start).map_err(in_group)?;
        if let Some(batch) = reader.next(rows.len()).map_err(in_group)? {
            found.append(of_device(batch, device, times)).map_err(|invalid| in_group(invalid.to_string()))?;
        }
    }
    Ok(found)
}

/// The rows of a device in a range of time. They lie side by side, since the rows are in the order of device and time.
fn of_device(mut batch: RecordBatch, device: DeviceId, times: &Range<Timestamp>) -> RecordBatch {
    let is_wanted = |row: usize| {
        let cell = |name| batch.column(name).map_or(Cell::Null, |column| column.cell(row));
        let in_time = matches!(cell("bucket_at"), Cell::Timestamp(at) if times.contains(&at));
        cell("device_id") == Cell::Uuid(device.0) && in_time
    };
    let Some(first) = (0..batch.rows()).find(|row| is_wanted(*row)) else { return batch.take_front(0) };
    let count = (first..batch.rows()).take_while(|row| is_wanted(*row)).count();
    drop(batch.take_front(first));
    batch.take_front(count)
}
