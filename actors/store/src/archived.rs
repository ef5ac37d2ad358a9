//! Rows of tables on their way into archives and back: read in the order of the key, some at a time, and inserted column by column.
//!
//! Each part is a statement of its own, so that no snapshot is held for the minutes that a day takes, which would keep dead rows everywhere from
//! being removed, and so that a statement ends within the pool's timeout. A row that is inserted behind the reader's back is missed; whoever
//! drops a table compares its digest with the archive's before.

use std::sync::Arc;

use domain::archive::{Cell, ColumnData, ColumnType, RecordBatch, TableSchema, heartbeats};
use domain::{Invalid, Timestamp};
use futures_util::{Stream, stream};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::narrow::{NARROW_COLUMNS, SESSION_JOIN, unpacked};
use crate::{Store, StoreError};

impl Store {
    /// The rows of a table that has the columns of heartbeats, attached or not, in the order of device and bucket, `chunk_rows` at a time. A column
    /// that the table lacks, because it was detached before a later build added it, is empty.
    ///
    /// # Errors
    /// The database is unavailable, there is no such table, or it has a column that this build does not know and would leave out.
    pub fn partition_batches(&self, table: &str, chunk_rows: usize) -> impl Stream<Item = Result<RecordBatch, StoreError>> + Send + use<> {
        let (store, table) = (self.clone(), table.to_owned());
        stream::try_unfold(Next::First, move |next| {
            let (store, table) = (store.clone(), table.clone());
            async move {
                let (statement, after) = match next {
                    Next::First => (store.chunk_statement(&table, chunk_rows).await?, None),
                    Next::After(statement, after) => (statement, Some(after)),
                    Next::Nothing => return Ok(None),
                };
                let (schema, sql) = (heartbeats(), AssertSqlSafe(statement.sql(after.is_some())));
                // Not kept by the connection: the table is gone soon.
                let query = sqlx::query(sql).persistent(false);
                let query = match after {
                    None => query,
                    Some((device, bucket)) => query.bind(device).bind(bucket),
                };
                let rows = query.fetch_all(&store.pool).await?;
                let Some(last) = rows.last() else { return Ok(None) };
                let last = (last.try_get("device_id")?, last.try_get("bucket_at")?);
                let next = if rows.len() == chunk_rows { Next::After(statement, last) } else { Next::Nothing };
                Ok(Some((batch_of(schema, &rows)?, next)))
            }
        })
    }

    async fn chunk_statement(&self, table: &str, chunk_rows: usize) -> Result<ChunkStatement, StoreError> {
        let there = self.columns_of(table).await?;
        let schema = heartbeats();
        let is_known = |name: &String| schema.place(name).is_some() || NARROW_COLUMNS.contains(&name.as_str());
        if let Some(unknown) = there.iter().find(|name| !is_known(name)) {
            let problem = format!("{table} has the column {unknown}, which this build does not know and would leave out");
            return Err(StoreError::Invalid(Invalid::new(table, problem)));
        }
        // One that was detached before a later build added them has wide rows only.
        let may_be_narrow = NARROW_COLUMNS.iter().all(|narrow| there.iter().any(|name| name == narrow));
        let columns = schema.columns.iter().map(|column| {
            let wide = if there.iter().any(|name| *name == column.name) {
                format!("h.{}", quoted(&column.name))
            } else {
                format!("NULL::{}", sql_type(column.kind))
            };
            let value = if may_be_narrow { unpacked(&column.name, &wide) } else { wide };
            format!("{value} AS {}", quoted(&column.name))
        });
        let sessions = if may_be_narrow { SESSION_JOIN } else { "" };
        Ok(ChunkStatement { columns: columns.collect::<Vec<_>>().join(", "), table: quoted(table), sessions, chunk_rows })
    }

    /// Names of the columns of a table; none if it is not there.
    async fn columns_of(&self, table: &str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT attname::text AS "name!" FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"#,
            quoted(table)
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Inserts rows into a table; those whose key is there stay as they are. Returns how many were inserted.
    ///
    /// # Errors
    /// The database is unavailable, or refused a value; or the rows have something in a column that the table does not have.
    pub async fn insert_batch(&self, table: &str, batch: &RecordBatch) -> Result<u64, StoreError> {
        self.insert_rows(table, batch, "ON CONFLICT DO NOTHING").await
    }

    /// Inserts rows into a table, which `on_conflict` knows as `h`.
    pub(crate) async fn insert_rows(&self, table: &str, batch: &RecordBatch, on_conflict: &str) -> Result<u64, StoreError> {
        let there = self.columns_of(table).await?;
        let mut columns = Vec::new();
        let mut arguments = PgArguments::default();
        for (column, data) in batch.schema().columns.iter().zip(batch.columns()) {
            if there.iter().any(|name| *name == column.name) {
                bind(&mut arguments, data)?;
                columns.push((quoted(&column.name), sql_type(column.kind)));
            } else if (0..data.rows()).any(|row| data.cell(row) != Cell::Null) {
                return Err(StoreError::Invalid(Invalid::new(&*column.name, format!("there is no such column in {table}"))));
            }
        }
        let names = columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let values = columns.iter().enumerate().map(|(at, (_, kind))| format!("${}::{kind}[]", at + 1)).collect::<Vec<_>>().join(", ");
        let table = quoted(table);
        let statement = format!("INSERT INTO {table} AS h ({names}) SELECT {names} FROM UNNEST({values}) AS r({names}) {on_conflict}");
        let inserted = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(false).execute(&self.pool).await?;
        Ok(inserted.rows_affected())
    }
}

/// The part of a table that is read next.
enum Next {
    First,
    After(ChunkStatement, (Uuid, Timestamp)),
    Nothing,
}

/// What reads a part of a table.
struct ChunkStatement {
    columns: String,
    table: String,
    sessions: &'static str,
    chunk_rows: usize,
}

impl ChunkStatement {
    /// With a literal limit, for the planner: the index in order for some rows, not all of them sorted.
    fn sql(&self, is_continued: bool) -> String {
        let Self { columns, table, sessions, chunk_rows } = self;
        let after = if is_continued { "WHERE (h.device_id, h.bucket_at) > ($1, $2)" } else { "" };
        format!("SELECT {columns} FROM {table} h {sessions} {after} ORDER BY h.device_id, h.bucket_at LIMIT {chunk_rows}")
    }
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

macro_rules! by_type {
    ($($variant:ident $type:literal)*) => {
        /// The rows, whose columns are those of the table, in its order.
        pub(crate) fn batch_of(schema: Arc<TableSchema>, rows: &[PgRow]) -> Result<RecordBatch, StoreError> {
            let columns = schema.columns.iter().enumerate().map(|(place, column)| {
                let mut data = ColumnData::with_capacity(column.kind, rows.len());
                match &mut data {
                    $(ColumnData::$variant(values) => {
                        for row in rows {
                            values.push(row.try_get(place)?);
                        }
                    })*
                }
                Ok(data)
            });
            let columns = columns.collect::<Result<_, StoreError>>()?;
            Ok(RecordBatch::new(schema, columns)?)
        }

        fn bind(arguments: &mut PgArguments, data: &ColumnData) -> Result<(), StoreError> {
            let added = match data {
                $(ColumnData::$variant(values) => arguments.add(values),)*
            };
            added.map_err(|cause| StoreError::Failed(sqlx::Error::Encode(cause)))
        }

        fn sql_type(kind: ColumnType) -> &'static str {
            match kind {
                $(ColumnType::$variant => $type,)*
            }
        }
    };
}
by_type! {
    Uuid "uuid"
    Timestamp "timestamptz"
    Boolean "boolean"
    Int16 "smallint"
    Int32 "integer"
    Int64 "bigint"
    Float "real"
    Double "double precision"
    String "text"
    Binary "bytea"
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_name_stays_one_name() {
        assert_eq!(quoted("heartbeats_p20260901"), "\"heartbeats_p20260901\"");
        assert_eq!(quoted("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }
}
