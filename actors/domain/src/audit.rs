//! The audit trail: entries, the hash chain over them, and checks of the chain.

mod action;
mod archive;
mod cap;

use std::fmt;
use std::ops::RangeInclusive;

use chrono::Datelike;
use sha2::{Digest, Sha256};

use crate::access::Principal;
use crate::name::{CanonicalName, contains};
use crate::text::opaque;
use crate::{ApiTokenId, DeviceId, EnrollTokenId, Invalid, SavedFilterId, SessionId, Timestamp, UserId};

pub use action::{AuditAction, AuditSubject};
pub use archive::{ArchiveDue, AuditArchive, archive_range, audit_table, chained_at, push_chained};
pub use cap::EntryCap;

/// Previous hash of the first entry.
pub const GENESIS: Hash = [0; 32];
/// Longest value of a search, in characters.
const SEARCH_MAX_CHARS: usize = 200;
/// Years that are searched; a database knows few beyond.
const YEARS: RangeInclusive<i32> = 0..=9999;
/// Largest distance at which the original place of a moved entry is looked for.
const MOVED_WITHIN: i64 = 1000;

/// SHA-256.
pub type Hash = [u8; 32];

/// Author of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `person`, `token`, `system` or `device`.
    pub kind: &'static str,
    /// Identity of the account, API token or device; `console` or `server`.
    pub id: Option<String>,
    /// Name for people: the account's, also of a token; the device's alias; who runs the command line.
    pub name: String,
}

impl Actor {
    /// Author of what a service does for a principal.
    pub fn of(principal: &Principal) -> Self {
        let (kind, id, name) = match principal {
            Principal::User { user_id, username, .. } => ("person", Some(user_id.to_string()), username.clone()),
            Principal::Token { token_id, username, .. } => ("token", Some(token_id.to_string()), username.clone()),
            Principal::Console { os_user } => ("system", Some("console".to_owned()), os_user.clone()),
            Principal::System { .. } => ("system", Some("server".to_owned()), "server".to_owned()),
        };
        Self { kind, id, name }
    }

    /// A device.
    pub fn device(id: DeviceId, alias: &str) -> Self {
        Self { kind: "device", id: Some(id.to_string()), name: alias.to_owned() }
    }
}

/// Target of a change. The texts are names for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account(UserId, String),
    /// Name of an attempted sign-in; omitted when there is no such account.
    SignInName(Option<(UserId, String)>),
    /// A sign-in, and the name of its account.
    SignIn(SessionId, String),
    /// An API token.
    ApiToken(ApiTokenId, String),
    /// An enrollment token, and the alias that it fixes.
    EnrollToken(EnrollTokenId, Option<String>),
    /// Several enrollment tokens.
    EnrollTokens(usize),
    /// A device, and its alias.
    Device(DeviceId, String),
    /// Several devices.
    Devices(usize),
    /// A saved filter.
    Filter(SavedFilterId, String),
    /// A node, by its name.
    Node(String),
    /// Anything else.
    Other {
        /// Kind of thing: one lower-case word, or two joined by `_`.
        kind: &'static str,
        /// Id.
        id: Option<String>,
        /// Name.
        name: Option<String>,
    },
}

impl Target {
    /// Kind, id and name, as they are stored.
    pub fn parts(self) -> (&'static str, Option<String>, Option<String>) {
        match self {
            Self::Account(id, name) => ("account", Some(id.to_string()), Some(name)),
            Self::SignInName(Some((id, name))) => ("account", Some(id.to_string()), Some(name)),
            Self::SignInName(None) => ("account", None, None),
            Self::SignIn(id, name) => ("sign_in", Some(id.to_string()), Some(name)),
            Self::ApiToken(id, name) => ("api_token", Some(id.to_string()), Some(name)),
            Self::EnrollToken(id, alias) => ("enroll_token", Some(id.to_string()), alias),
            Self::EnrollTokens(count) => ("enroll_tokens", None, Some(counted(count, "token"))),
            Self::Device(id, alias) => ("device", Some(id.to_string()), Some(alias)),
            Self::Devices(count) => ("devices", None, Some(counted(count, "device"))),
            Self::Filter(id, name) => ("filter", Some(id.to_string()), Some(name)),
            Self::Node(name) => ("node", None, Some(name)),
            Self::Other { kind, id, name } => (kind, id, name),
        }
    }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Stored entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Sequence number, from 1, without gaps.
    pub seq: i64,
    /// Time, to the microsecond.
    pub at: Timestamp,
    /// Kind of the author.
    pub actor_kind: String,
    /// Id of the author.
    pub actor_id: Option<String>,
    /// Name of the author.
    pub actor_name: String,
    /// Action, such as `device.edited`.
    pub action: String,
    /// Kind of the target.
    pub target_kind: String,
    /// Id of the target.
    pub target_id: Option<String>,
    /// Name of the target.
    pub target_name: Option<String>,
    /// State before, JSON.
    pub before: Option<String>,
    /// State after, JSON.
    pub after: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Address of the client.
    pub address: Option<String>,
}

impl Entry {
    /// The bytes that are hashed, version 1.
    ///
    /// First the line `nexmdm-audit-v1\n`. Then `seq` and `at` (microseconds since 1970), each as eight
    /// bytes, big-endian, two's complement. Then these fields in this order: `actor_kind`, `actor_id`,
    /// `actor_name`, `action`, `target_kind`, `target_id`, `target_name`, `before`, `after`, `request_id`,
    /// `address`. One that is not there is the byte 0; any other is the byte 1, its length in bytes as
    /// eight bytes, big-endian, and the bytes of its UTF-8 text. Last the 32 bytes of the hash before.
    ///
    /// Every part says where it ends, so no two entries are written alike.
    pub fn encoded(&self, prev_hash: &[u8]) -> Vec<u8> {
        let mut bytes = b"nexmdm-audit-v1\n".to_vec();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.at.timestamp_micros().to_be_bytes());
        let fields = [
            Some(&self.actor_kind),
            self.actor_id.as_ref(),
            Some(&self.actor_name),
            Some(&self.action),
            Some(&self.target_kind),
            self.target_id.as_ref(),
            self.target_name.as_ref(),
            self.before.as_ref(),
            self.after.as_ref(),
            self.request_id.as_ref(),
            self.address.as_ref(),
        ];
        for field in fields {
            match field {
                None => bytes.push(0),
                Some(text) => {
                    bytes.push(1);
                    bytes.extend((text.len() as u64).to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes.extend(prev_hash);
        bytes
    }

    /// SHA-256 of [`Self::encoded`].
    pub fn hash(&self, prev_hash: &[u8]) -> Hash {
        Sha256::digest(self.encoded(prev_hash)).into()
    }
}

/// Entry with its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainedEntry {
    /// The entry.
    pub entry: Entry,
    /// The hash of the entry before.
    pub prev_hash: Vec<u8>,
    /// Hash of this entry.
    pub hash: Vec<u8>,
}

/// Sequence number and hash of the newest entry; zero and [`GENESIS`] when there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// Sequence number.
    pub seq: i64,
    /// Hash.
    pub hash: Vec<u8>,
}

impl Head {
    /// Reads `<seq>:<hash in hex>`, as [`fmt::Display`] writes it.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(field, "not of the form <seq>:<64 hexadecimal digits>");
        let (seq, hash) = text.trim().split_once(':').ok_or_else(invalid)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or_else(invalid)?;
        let digit = |digit: u8| (digit as char).to_digit(16);
        let byte = |pair: &[u8]| Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8);
        let hash = hash.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().filter(|hash| hash.len() == 32);
        Ok(Self { seq, hash: hash.ok_or_else(invalid)? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({self})")
    }
}

/// Problem of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Entries are missing.
    #[error("{}", missing(.0))]
    Missing(RangeInclusive<i64>),
    /// The entry was changed.
    #[error("entry {0} was changed: its hash does not match its content")]
    Changed(i64),
    /// The entry was moved.
    #[error("entry {seq} is out of order: it was written as {written_as}")]
    Moved {
        /// Sequence number under which it is stored.
        seq: i64,
        /// Sequence number under which it was written.
        written_as: i64,
    },
    /// The entry is not linked to the one before.
    #[error("entry {0} does not follow entry {before}: one of the two was replaced", before = .0 - 1)]
    Unlinked(i64),
    /// The archive of entries cannot be read, or is not what was written.
    #[error("{}: the archive does not match: {problem}", entries(.range))]
    Archive {
        /// Its entries.
        range: RangeInclusive<i64>,
        /// What is wrong with it.
        problem: String,
    },
    /// The newest entries are missing.
    #[error("{}; the newest entry according to the head is {}", missing(.0), .0.end())]
    TailMissing(RangeInclusive<i64>),
    /// There are entries beyond the head.
    #[error("entry {seq} is the newest, but according to the head it is {head}")]
    BeyondHead {
        /// The newest entry.
        seq: i64,
        /// Sequence number of the head.
        head: i64,
    },
    /// The head has another hash.
    #[error("the head's hash does not match entry {0}: one of the two was replaced")]
    HeadDiffers(i64),
    /// The entry differs from the expected head.
    #[error("entry {0} is not the expected one: the chain was rewritten at least up to there")]
    NotExpected(i64),
    /// The entry of the expected head is missing.
    #[error("entry {expected} is expected, but {newest} is the newest")]
    ExpectedMissing {
        /// Hash that was noted.
        expected: i64,
        /// The newest entry.
        newest: i64,
    },
}

fn missing(range: &RangeInclusive<i64>) -> String {
    let verb = if range.start() == range.end() { "is" } else { "are" };
    format!("{} {verb} missing", entries(range))
}

fn entries(range: &RangeInclusive<i64>) -> String {
    if range.start() == range.end() { format!("entry {}", range.start()) } else { format!("entries {} to {}", range.start(), range.end()) }
}

/// A check of a chain, entry by entry.
#[derive(Debug)]
pub struct ChainCheck {
    last_seq: i64,
    last_hash: Vec<u8>,
    /// Whether the entry before was found to be wrong; what follows it is then no news.
    last_wrong: bool,
    expected: Option<Head>,
}

impl ChainCheck {
    /// The check of a chain from its first entry on. `expected` is a head that was noted elsewhere.
    pub fn new(expected: Option<Head>) -> Self {
        Self { last_seq: 0, last_hash: GENESIS.to_vec(), last_wrong: false, expected }
    }

    /// Goes on behind this entry, whatever was checked before it: what stands there is checked elsewhere, or known to be wrong.
    pub fn resume(&mut self, after: &Head) {
        (self.last_seq, self.last_hash, self.last_wrong) = (after.seq, after.hash.clone(), false);
    }

    /// Place and hash of the last checked entry.
    pub fn last(&self) -> Head {
        Head { seq: self.last_seq, hash: self.last_hash.clone() }
    }

    /// Sequence number of the last checked entry.
    pub fn last_seq(&self) -> i64 {
        self.last_seq
    }

    /// Checks the next entry; entries come in the order of their sequence numbers.
    pub fn next(&mut self, row: &ChainedEntry) -> Vec<Problem> {
        let (seq, mut found) = (row.entry.seq, Vec::new());
        let gap = seq > self.last_seq + 1;
        if gap {
            found.push(Problem::Missing(self.last_seq + 1..=seq - 1));
        }
        let wrong = row.entry.hash(&row.prev_hash).as_slice() != row.hash;
        if wrong {
            found.push(match written_as(row) {
                Some(written_as) => Problem::Moved { seq, written_as },
                None => Problem::Changed(seq),
            });
        } else if row.prev_hash != self.last_hash && !gap && !self.last_wrong {
            found.push(Problem::Unlinked(seq));
        }
        if self.expected.as_ref().is_some_and(|expected| expected.seq == seq && expected.hash != row.hash) {
            found.push(Problem::NotExpected(seq));
        }
        (self.last_seq, self.last_hash, self.last_wrong) = (seq, row.hash.clone(), wrong);
        found
    }

    /// Compares the end with the head that was read before, and the newest entry that there is by now
    /// with the head of the same moment.
    pub fn end(self, head: &Head, newest: (i64, i64)) -> Vec<Problem> {
        let mut found = Vec::new();
        if self.last_seq < head.seq {
            found.push(Problem::TailMissing(self.last_seq + 1..=head.seq));
        } else if self.last_seq == head.seq && self.last_hash != head.hash {
            found.push(Problem::HeadDiffers(head.seq));
        }
        let (newest_seq, newest_head) = newest;
        if newest_seq > newest_head {
            found.push(Problem::BeyondHead { seq: newest_seq, head: newest_head });
        }
        match self.expected {
            Some(expected) if expected.seq > self.last_seq => {
                found.push(Problem::ExpectedMissing { expected: expected.seq, newest: self.last_seq });
            }
            _ => {}
        }
        found
    }
}

/// The place at which an entry has the hash that it has, if that is not far from where it is.
fn written_as(row: &ChainedEntry) -> Option<i64> {
    let mut entry = row.entry.clone();
    let mut fits = |seq| {
        entry.seq = seq;
        entry.hash(&row.prev_hash).as_slice() == row.hash
    };
    (1..=MOVED_WITHIN).flat_map(|away| [row.entry.seq - away, row.entry.seq + away]).find(|seq| *seq >= 1 && fits(*seq))
}

/// Filter of audit entries; all given conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Author: a name, ignoring case, or an id.
    pub actor: Option<String>,
    /// Prefix of the action, such as `device.` for everything about devices.
    pub action: Option<String>,
    /// Target: a name, ignoring case, or an id.
    pub target: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Text in a name, in before or in after, ignoring case.
    pub text: Option<String>,
    /// Earliest time.
    pub from: Option<Timestamp>,
    /// Latest time.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    /// Checks the filter; an empty value filters nothing.
    ///
    /// # Errors
    /// A value is too long or holds NUL, or the range of time is turned round.
    pub fn checked(self) -> Result<Self, Invalid> {
        let text = |field: &str, value: Option<String>| -> Result<Option<String>, Invalid> {
            let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) else { return Ok(None) };
            opaque(field, &value, SEARCH_MAX_CHARS)?;
            Ok(Some(value))
        };
        for (field, at) in [("from", self.from), ("to", self.to)] {
            if at.is_some_and(|at| !YEARS.contains(&at.year())) {
                return Err(Invalid::new(field, format!("not within the years {} and {}", YEARS.start(), YEARS.end())));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to < from
        {
            return Err(Invalid::new("to", "earlier than from"));
        }
        Ok(Self {
            actor: text("actor", self.actor)?,
            action: text("action", self.action)?,
            target: text("target", self.target)?,
            request_id: text("request_id", self.request_id)?,
            text: text("text", self.text)?,
            from: self.from,
            to: self.to,
        })
    }

    /// Whether an entry matches, as the database would tell.
    pub fn matches(&self, entry: &Entry) -> bool {
        let Self { actor, action, target, request_id, text, from, to } = self;
        let named = |wanted: &Option<String>, name: Option<&str>, id: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| id == Some(wanted) || name.is_some_and(|name| CanonicalName::of(name) == CanonicalName::of(wanted)))
        };
        let texts = [Some(&entry.actor_name), entry.target_name.as_ref(), entry.before.as_ref(), entry.after.as_ref()];
        from.is_none_or(|from| entry.at >= from)
            && to.is_none_or(|to| entry.at <= to)
            && action.as_deref().is_none_or(|prefix| entry.action.starts_with(prefix))
            && request_id.as_deref().is_none_or(|id| entry.request_id.as_deref() == Some(id))
            && named(actor, Some(&entry.actor_name), entry.actor_id.as_deref())
            && named(target, entry.target_name.as_deref(), entry.target_id.as_deref())
            && text.as_deref().is_none_or(|text| texts.into_iter().flatten().any(|hay| contains(hay, text)))
    }
}

#[cfg(test)]
mod tests;
