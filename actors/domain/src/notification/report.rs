//! Report of the fleet as a message: lines, and a table.

/// Report as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportMessage {
    /// Path of its page, with its query.
    pub path: String,
    /// Name of the table as a file: letters, digits, dots and hyphens.
    pub file_name: String,
    /// Label, value, and the difference to the period before; without one it is empty.
    pub lines: Vec<(String, String, String)>,
    /// The table (RFC 4180).
    pub csv: String,
}

impl ReportMessage {
    /// Lines as text: "Online: 98.4 % (+1.5 points)".
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.iter().map(|(label, value, difference)| match difference.as_str() {
            "" => format!("{label}: {value}"),
            difference => format!("{label}: {value} ({difference})"),
        })
    }
}
