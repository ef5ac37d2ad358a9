//! Names of the members of a backup.

use std::fmt;

use domain::ApkId;

use crate::keys::KEY_NAMES;

/// Longest name of a member: what a plain tar header holds.
const NAME_MAX_BYTES: usize = 100;
/// Parts of one table.
pub(crate) const PARTS_MAX: u32 = 999_999;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// What it holds.
    Manifest,
    /// A key of the cluster, by its name.
    Key(&'static str),
    /// Rows of a table, and the number of the part.
    Rows { table: String, part: u32 },
    /// File of an APK.
    Apk(ApkId),
    /// File of an archive, by its key in the store.
    Archive(String),
    /// What was written.
    Digest,
}

impl Member {
    /// The member of this name; `None`: no backup has such a one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.len() > NAME_MAX_BYTES {
            return None;
        }
        let (folder, rest) = match name {
            "manifest.json" => return Some(Self::Manifest),
            "digest.json" => return Some(Self::Digest),
            name => name.split_once('/')?,
        };
        match folder {
            "keys" => {
                let key = rest.strip_suffix(".key")?;
                KEY_NAMES.into_iter().find(|name| *name == key).map(Self::Key)
            }
            "database" => {
                let (table, part) = rest.split_once('/')?;
                let part = part.strip_suffix(".copy").filter(|part| part.len() == 6 && part.bytes().all(|b| b.is_ascii_digit()))?;
                is_identifier(table).then_some(())?;
                Some(Self::Rows { table: table.to_owned(), part: part.parse().ok()? })
            }
            "apks" => rest.strip_suffix(".apk")?.parse().ok().map(Self::Apk),
            "archives" => is_key(rest).then(|| Self::Archive(rest.to_owned())),
            _ => None,
        }
    }

    /// Entry of the digest that its bytes count for; one for all parts of a table.
    pub(crate) fn entry(&self) -> String {
        match self {
            Self::Rows { table, .. } => format!("database/{table}"),
            member => member.to_string(),
        }
    }

    /// Whether a name fits into a header.
    pub(crate) fn fits(&self) -> bool {
        self.to_string().len() <= NAME_MAX_BYTES
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest.json"),
            Self::Key(name) => write!(f, "keys/{name}.key"),
            Self::Rows { table, part } => write!(f, "database/{table}/{part:06}.copy"),
            Self::Apk(id) => write!(f, "apks/{id}.apk"),
            Self::Archive(key) => write!(f, "archives/{key}"),
            Self::Digest => f.write_str("digest.json"),
        }
    }
}

/// Whether a text is a name of a table or column as our migrations make them.
pub(crate) fn is_identifier(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a text is a key of a store that leads nowhere else.
pub(crate) fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.split('/').all(|part| {
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let apk = ApkId(uuid::Uuid::from_u128(7));
        let rows = |table: &str, part| Member::Rows { table: table.to_owned(), part };
        for member in [
            Member::Manifest,
            Member::Digest,
            Member::Key("master"),
            rows("heartbeats_20260901", 0),
            rows("device", PARTS_MAX),
            Member::Apk(apk),
            Member::Archive("heartbeats/2026-09-01.parquet".to_owned()),
        ] {
            assert_eq!(Member::parse(&member.to_string()), Some(member.clone()), "{member}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in [
            "",
            "/etc/passwd",
            "manifest.json/",
            "keys/other.key",
            "keys/../master.key",
            "database/device/1.copy",
            "database/Device/000001.copy",
            "database/de\"vice/000001.copy",
            "database/../000001.copy",
            "apks/x.apk",
            "archives/",
            "archives/../x",
            "archives//x",
            "archives/.hidden",
            "other/x",
        ] {
            assert_eq!(Member::parse(name), None, "{name}");
        }
        assert_eq!(Member::parse(&format!("archives/{}", "x".repeat(100))), None);
    }
}
