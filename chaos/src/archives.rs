//! Archives of heartbeats as any reader of Parquet finds them in a folder: files, manifests, and whose rows they hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::column::reader::ColumnReader;
use parquet::data_type::FixedLenByteArray;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Folder of the heartbeats' archives.
const FOLDER: &str = "heartbeats";
/// Largest file that is read.
const FILE_MAX_BYTES: u64 = 2 << 30;

/// A row, as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedRow {
    /// Device.
    pub device: Uuid,
    /// Start of its bucket.
    pub bucket_us: i64,
    /// Time by the clock of the device.
    pub device_time_us: Option<i64>,
}

/// What a manifest says of its file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// SHA-256 of the rows in their canonical form, hex.
    pub rows_sha256: String,
    /// Number of rows.
    pub rows: u64,
    /// Size of the file, bytes.
    pub bytes: u64,
}

/// Archive of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedDay {
    /// What its manifest says.
    pub manifest: Manifest,
    /// SHA-256 of the bytes that are there, hex.
    pub file_sha256: String,
    /// Number of bytes that are there.
    pub bytes: u64,
    /// Rows.
    pub rows: Vec<ArchivedRow>,
}

/// Path of a day's file below the folder of the archives.
pub fn file_of(archive_dir: &Path, day: NaiveDate) -> PathBuf {
    archive_dir.join(FOLDER).join(format!("{day}.parquet"))
}

/// Days that have a manifest, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn days(archive_dir: &Path) -> Result<Vec<NaiveDate>> {
    let folder = archive_dir.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut days: Vec<NaiveDate> = names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    days.sort_unstable();
    Ok(days)
}

/// Reads a day's archive whole.
///
/// # Errors
/// File or manifest are missing, or cannot be read.
pub fn read(archive_dir: &Path, day: NaiveDate) -> Result<ArchivedDay> {
    let path = file_of(archive_dir, day);
    let manifest_path = path.with_extension("json");
    let manifest = fs::read(&manifest_path).with_context(|| format!("cannot read {}", manifest_path.display()))?;
    let manifest = serde_json::from_slice(&manifest).with_context(|| format!("{} is no manifest", manifest_path.display()))?;
    let bytes = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(bytes <= FILE_MAX_BYTES, "{} has {bytes} bytes: more than {FILE_MAX_BYTES} are not read here", path.display());
    let file = Bytes::from(fs::read(&path)?);
    let file_sha256 = hex::encode(Sha256::digest(&file));
    let rows = rows(file).with_context(|| path.display().to_string())?;
    Ok(ArchivedDay { manifest, file_sha256, bytes, rows })
}

fn rows(file: Bytes) -> Result<Vec<ArchivedRow>> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let column = |name: &str| schema.columns().iter().position(|column| column.name() == name).with_context(|| format!("no column {name}"));
    let (device, bucket, device_time) = (column("device_id")?, column("bucket_at")?, column("device_time")?);
    let mut rows = Vec::new();
    for place in 0..reader.num_row_groups() {
        let group = reader.get_row_group(place)?;
        let count = usize::try_from(group.metadata().num_rows())?;
        let devices = devices(&*group, device, count)?;
        let (buckets, times) = (times(&*group, bucket, count)?, times(&*group, device_time, count)?);
        for ((device, bucket), device_time_us) in devices.into_iter().zip(buckets).zip(times) {
            let bucket_us = bucket.context("a row without bucket_at")?;
            rows.push(ArchivedRow { device, bucket_us, device_time_us });
        }
    }
    Ok(rows)
}

/// Values of a column of identities.
fn devices(group: &dyn RowGroupReader, column: usize, count: usize) -> Result<Vec<Uuid>> {
    let ColumnReader::FixedLenByteArrayColumnReader(mut reader) = group.get_column_reader(column)? else {
        bail!("device_id is no array of fixed length");
    };
    let (mut values, mut levels): (Vec<FixedLenByteArray>, Vec<i16>) = (Vec::with_capacity(count), Vec::with_capacity(count));
    while values.len() < count {
        let (read, ..) = reader.read_records(count - values.len(), Some(&mut levels), None, &mut values)?;
        ensure!(read > 0, "{} of {count} device ids", values.len());
    }
    values.iter().map(|value| Ok(Uuid::from_slice(value.data())?)).collect()
}

/// Values of a column of times; without a value where there is none.
fn times(group: &dyn RowGroupReader, column: usize, count: usize) -> Result<Vec<Option<i64>>> {
    let ColumnReader::Int64ColumnReader(mut reader) = group.get_column_reader(column)? else { bail!("a time is no INT64") };
    let present_at = group.metadata().column(column).column_descr().max_def_level();
    let (mut values, mut levels): (Vec<i64>, Vec<i16>) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut read = 0;
    while read < count {
        let (more, ..) = reader.read_records(count - read, Some(&mut levels), None, &mut values)?;
        ensure!(more > 0, "{read} of {count} times");
        read += more;
    }
    if present_at == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| (level == present_at).then(|| values.next()).flatten()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{FixedLenByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::*;
    use crate::harness::TempDir;

    /// Writes an archive as a node would, in two row groups.
    fn write(archive_dir: &Path, day: NaiveDate, rows: &[ArchivedRow]) {
        let schema = "message heartbeats { required fixed_len_byte_array(16) device_id (UUID); required int64 bucket_at (TIMESTAMP(MICROS, true)); optional int64 device_time (TIMESTAMP(MICROS, true)); }";
        let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
        let mut writer =
            SerializedFileWriter::new(Vec::new(), Arc::new(parse_message_type(schema).unwrap()), Arc::new(properties)).unwrap();
        for rows in rows.chunks(rows.len().div_ceil(2).max(1)) {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let devices: Vec<_> = rows.iter().map(|row| FixedLenByteArray::from(row.device.as_bytes().to_vec())).collect();
            column.typed::<FixedLenByteArrayType>().write_batch(&devices, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let buckets: Vec<_> = rows.iter().map(|row| row.bucket_us).collect();
            column.typed::<Int64Type>().write_batch(&buckets, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let times: Vec<_> = rows.iter().filter_map(|row| row.device_time_us).collect();
            let levels: Vec<_> = rows.iter().map(|row| i16::from(row.device_time_us.is_some())).collect();
            column.typed::<Int64Type>().write_batch(&times, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        let file = writer.into_inner().unwrap();
        let path = file_of(archive_dir, day);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let manifest = json!({"sha256": hex::encode(Sha256::digest(&file)), "rows_sha256": "", "rows": rows.len(), "bytes": file.len()});
        fs::write(&path, file).unwrap();
        fs::write(path.with_extension("json"), manifest.to_string()).unwrap();
    }

    #[test]
    fn rows_are_read_over_row_groups_and_missing_times() {
        let folder = TempDir::new("archive").unwrap();
        let day: NaiveDate = "2026-09-01".parse().unwrap();
        let row =
            |n: u128, device_time_us| ArchivedRow { device: Uuid::from_u128(n), bucket_us: i64::try_from(n).unwrap() * 10, device_time_us };
        let rows = [row(1, Some(11)), row(2, None), row(3, None), row(4, Some(41)), row(5, None)];
        assert!(days(folder.path()).unwrap().is_empty());
        write(folder.path(), day, &rows);
        assert_eq!(days(folder.path()).unwrap(), [day]);
        let archive = read(folder.path(), day).unwrap();
        assert_eq!(archive.rows, rows);
        assert_eq!((archive.manifest.rows, &archive.manifest.sha256), (5, &archive.file_sha256));

        let path = file_of(folder.path(), day);
        let mut altered = fs::read(&path).unwrap();
        altered[10] ^= 1;
        fs::write(&path, altered).unwrap();
        // Without a checksum of pages an altered value is read as it is; the digest of the file tells.
        assert!(read(folder.path(), day).is_err() || read(folder.path(), day).unwrap().file_sha256 != archive.file_sha256);
        fs::remove_file(path).unwrap();
        assert!(read(folder.path(), day).unwrap_err().to_string().contains("2026-09-01.parquet"));
    }
}
