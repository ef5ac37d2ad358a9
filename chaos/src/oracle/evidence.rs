//! Evidence of a violation: what a person looks up in logs and tables.

use serde::{Deserialize, Serialize};

/// What shows a violation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Request id of the command, or another id that logs name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Times that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<Moment>,
    /// Rows of the database that are there or missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
}

/// Time with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What it is the time of, such as `acknowledged`.
    pub name: String,
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
}

/// Row of the database, or one that should be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Table.
    pub table: String,
    /// How often it is there: 0 when it is missing.
    pub copies: u32,
    /// Columns with their values.
    pub columns: Vec<(String, String)>,
}

impl Evidence {
    /// Evidence with a time.
    pub fn at(name: &str, at_us: i64) -> Self {
        Self::default().and_at(name, at_us)
    }

    /// Evidence about a request.
    pub fn of_request(request_id: &str) -> Self {
        Self { request: Some(request_id.to_owned()), ..Self::default() }
    }

    /// With a further time.
    #[must_use]
    pub fn and_at(mut self, name: &str, at_us: i64) -> Self {
        self.times.push(Moment { name: name.to_owned(), at_us });
        self
    }

    /// With a further row.
    #[must_use]
    pub fn and_row(mut self, table: &str, copies: u32, columns: &[(&str, &str)]) -> Self {
        let columns = columns.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.rows.push(Row { table: table.to_owned(), copies, columns });
        self
    }
}
