//! Digest of what passes by: the same for what is written and what is read back.

use sha2::{Digest as _, Sha256};

use crate::manifest::DigestEntry;
use crate::member::Member;

/// Running size, row count and digest of each member.
#[derive(Default)]
pub(crate) struct Tally {
    done: Vec<DigestEntry>,
    open: Option<Open>,
    /// Bytes of all members.
    pub(crate) bytes: u64,
}

struct Open {
    name: String,
    parts: u32,
    bytes: u64,
    rows: Option<u64>,
    tabs: u64,
    ends_with_newline: bool,
    sha256: Sha256,
}

impl Tally {
    /// A member begins. It is counted with the one before if both are parts of a table.
    pub(crate) fn begin(&mut self, member: &Member) {
        let name = member.entry();
        match &mut self.open {
            Some(open) if open.name == name => open.parts += 1,
            _ => {
                self.close();
                let rows = matches!(member, Member::Rows { .. }).then_some(0);
                self.open = Some(Open { name, parts: 1, bytes: 0, rows, tabs: 0, ends_with_newline: true, sha256: Sha256::new() });
            }
        }
    }

    /// Bytes of the member.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        self.bytes += bytes.len() as u64;
        open.bytes += bytes.len() as u64;
        open.sha256.update(bytes);
        if let (Some(rows), Some(last)) = (&mut open.rows, bytes.last()) {
            for byte in bytes {
                *rows += u64::from(*byte == b'\n');
                open.tabs += u64::from(*byte == b'\t');
            }
            open.ends_with_newline = *last == b'\n';
        }
    }

    /// Whether the rows of the table under way are whole, and have so many values each.
    pub(crate) fn is_table_of(&self, columns: usize) -> bool {
        self.open.as_ref().is_none_or(|open| {
            let separators = open.rows.unwrap_or(0) * (columns as u64).saturating_sub(1);
            open.rows.is_none() || (open.ends_with_newline && open.tabs == separators)
        })
    }

    fn close(&mut self) {
        if let Some(Open { name, parts, bytes, rows, sha256, .. }) = self.open.take() {
            self.done.push(DigestEntry { name, parts, bytes, rows, sha256: hex::encode(sha256.finalize()) });
        }
    }

    /// Everything that passed by.
    pub(crate) fn entries(&mut self) -> Vec<DigestEntry> {
        self.close();
        self.done.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_table_are_counted_together() {
        let mut tally = Tally::default();
        let rows = |part| Member::Rows { table: "device".to_owned(), part };
        tally.begin(&rows(0));
        tally.add(b"1\ta\n2\tb\n");
        tally.begin(&rows(1));
        tally.add(b"3\tc");
        assert!(!tally.is_table_of(2), "a row is cut off");
        tally.add(b"\n");
        assert!(tally.is_table_of(2));
        assert!(!tally.is_table_of(3));
        tally.begin(&Member::Key("jwt"));
        tally.add(b"ab");
        let entries = tally.entries();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.parts, entry.bytes, entry.rows)).collect();
        assert_eq!(seen, [("database/device", 2, 12, Some(3)), ("keys/jwt.key", 1, 2, None)]);
        assert_eq!(entries[0].sha256, hex::encode(Sha256::digest(b"1\ta\n2\tb\n3\tc\n")));
    }
}
