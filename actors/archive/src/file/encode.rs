//! Writes the file of an archive: rows are collected until a row group is full, so that memory does not grow with the number of rows.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use domain::Invalid;
use domain::archive::{Column, ColumnType, RecordBatch, TableSchema};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use sha2::{Digest, Sha256};

use super::{PAGE_ROWS, columns, type_of};
use crate::digest::{RowsDigest, RowsHasher};
use crate::manifest::{Footer, PRODUCT, RowGroup};

/// Level at which more time gains little.
const ZSTD_LEVEL: i32 = 3;

/// A file that was written, and what the manifest says of it.
pub(crate) struct Encoded {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) row_groups: Vec<RowGroup>,
    pub(crate) footer: Footer,
    pub(crate) rows: RowsDigest,
}

/// Failure to write a file.
#[derive(Debug)]
pub(crate) enum EncodeError {
    /// The rows are at fault.
    Rows(Invalid),
    /// The disk is.
    Disk(io::Error),
}

impl From<Invalid> for EncodeError {
    fn from(invalid: Invalid) -> Self {
        Self::Rows(invalid)
    }
}

impl From<ParquetError> for EncodeError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => Self::Disk(*cause),
                Err(cause) => Self::Rows(Invalid::new("rows", cause.to_string())),
            },
            other => Self::Rows(Invalid::new("rows", other.to_string())),
        }
    }
}

/// Writer of one file.
pub(crate) struct FileWriter {
    schema: Arc<TableSchema>,
    writer: SerializedFileWriter<HashedFile>,
    row_group_rows: usize,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    hasher: RowsHasher,
    row_groups: Vec<RowGroup>,
}

impl FileWriter {
    pub(crate) fn new(file: File, schema: &Arc<TableSchema>, row_group_rows: usize) -> Result<Self, EncodeError> {
        let fields = schema.columns.iter().map(type_of).collect::<ParquetResult<Vec<_>>>()?;
        let root = TypePtr::new(Type::group_type_builder(&schema.name).with_fields(fields).build()?);
        let writer = SerializedFileWriter::new(HashedFile::new(file), root, Arc::new(properties(schema)?))?;
        Ok(Self {
            schema: Arc::clone(schema),
            writer,
            row_group_rows,
            pending: vec![],
            pending_rows: 0,
            hasher: RowsHasher::new(schema)?,
            row_groups: vec![],
        })
    }

    /// Adds rows behind those before.
    pub(crate) fn add(&mut self, mut batch: RecordBatch) -> Result<(), EncodeError> {
        if batch.schema().columns != self.schema.columns {
            return Err(Invalid::new(&*batch.schema().name, "a batch of other columns").into());
        }
        self.hasher.add(&batch)?;
        while batch.rows() > 0 {
            let part = batch.take_front(self.row_group_rows - self.pending_rows);
            self.pending_rows += part.rows();
            self.pending.push(part);
            if self.pending_rows == self.row_group_rows {
                self.write_group()?;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), EncodeError> {
        let batches = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows) as u64;
        let mut group = self.writer.next_row_group()?;
        for (place, column) in self.schema.columns.iter().enumerate() {
            let missing = || ParquetError::General(format!("no writer for column {}", column.name));
            let mut writer = group.next_column()?.ok_or_else(missing)?;
            for batch in &batches {
                columns::write(&mut writer, &batch.columns()[place], column.required)?;
            }
            writer.close()?;
        }
        group.close()?;
        self.writer.flush().map_err(EncodeError::Disk)?;
        let (bytes, sha256) = self.writer.inner_mut().end_part();
        self.row_groups.push(RowGroup { rows, bytes, sha256 });
        Ok(())
    }

    /// Writes the end of the file.
    pub(crate) fn finish(mut self) -> Result<Encoded, EncodeError> {
        if self.pending_rows > 0 {
            self.write_group()?;
        }
        let mut written = self.writer.into_inner()?;
        written.flush().map_err(EncodeError::Disk)?;
        let (bytes, sha256) = written.end_part();
        let HashedFile { file, whole, bytes: all, .. } = written;
        Ok(Encoded {
            file,
            bytes: all,
            sha256: hex::encode(whole.finalize()),
            row_groups: self.row_groups,
            footer: Footer { bytes, sha256 },
            rows: self.hasher.finish(),
        })
    }
}

fn properties(schema: &TableSchema) -> Result<WriterProperties, EncodeError> {
    let sorting = schema.key.iter().filter_map(|name| schema.place(name)).map(|place| SortingColumn {
        column_idx: i32::try_from(place).unwrap_or(i32::MAX),
        descending: false,
        nulls_first: false,
    });
    let mut properties = WriterProperties::builder()
        .set_created_by(PRODUCT.to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_sorting_columns(Some(sorting.collect()));
    for column in &schema.columns {
        let path = ColumnPath::from(&*column.name);
        properties = match encoding(column) {
            Some(encoding) => properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding),
            None => properties.set_column_dictionary_enabled(path, true),
        };
    }
    Ok(properties.build())
}

/// The encoding of a column; `None` for a dictionary. Times and counters are stored by their differences; what has few different values, or long
/// ones, by its place in a dictionary.
fn encoding(column: &Column) -> Option<Encoding> {
    match column.kind {
        ColumnType::Timestamp | ColumnType::Int32 | ColumnType::Int64 => Some(Encoding::DELTA_BINARY_PACKED),
        ColumnType::Boolean => Some(Encoding::PLAIN),
        ColumnType::Uuid | ColumnType::Int16 | ColumnType::Float | ColumnType::Double | ColumnType::String | ColumnType::Binary => None,
    }
}

/// A file whose bytes are hashed as they are written, whole and in parts.
struct HashedFile {
    file: File,
    whole: Sha256,
    bytes: u64,
    part: Sha256,
    part_bytes: u64,
}

impl HashedFile {
    fn new(file: File) -> Self {
        Self { file, whole: Sha256::new(), bytes: 0, part: Sha256::new(), part_bytes: 0 }
    }

    /// Size and SHA-256 of what was written since the last part.
    fn end_part(&mut self) -> (u64, String) {
        let sha256 = hex::encode(std::mem::take(&mut self.part).finalize());
        (std::mem::take(&mut self.part_bytes), sha256)
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.whole.update(&bytes[..count]);
        self.part.update(&bytes[..count]);
        self.bytes += count as u64;
        self.part_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
