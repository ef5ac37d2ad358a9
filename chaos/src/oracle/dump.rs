//! What the oracle knew of a run, as one file: it judges from it again without the run's database, records and archives.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::Hash;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::history::{Ack, DecidingOwner};
use super::{History, Names};
use crate::agent_command::DeviceKey;

/// How many times its size a file may unfold to: records are much alike, but not that much.
const UNFOLDED_TIMES_MAX: u64 = 1_000;

/// Acknowledged heartbeat as an array, as there are many: device, server, bucket, time of the device, sent, answered, owner and epoch.
pub(super) type AckRow = (u32, u32, Option<i64>, Option<i64>, i64, i64, Option<(u32, u64)>);

impl From<Ack> for AckRow {
    fn from(ack: Ack) -> Self {
        let decided = ack.decided.map(|by| (by.owner, by.epoch));
        (ack.device, ack.server, ack.bucket_s, ack.device_time_us, ack.sent_us, ack.answered_us, decided)
    }
}

impl From<AckRow> for Ack {
    fn from((device, server, bucket_s, device_time_us, sent_us, answered_us, decided): AckRow) -> Self {
        let decided = decided.map(|(owner, epoch)| DecidingOwner { owner, epoch });
        Self { device, server, bucket_s, device_time_us, sent_us, answered_us, decided }
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        (0..names.len() as u32).map(|number| names.text(number).to_owned()).collect()
    }
}

impl From<Vec<String>> for Names {
    fn from(texts: Vec<String>) -> Self {
        let mut names = Self::default();
        for text in &texts {
            names.number(text);
        }
        names
    }
}

impl History {
    /// Writes everything as compressed JSON, for the owner alone: keys of devices are in it. Answers the size, or `None` when it would have
    /// more than `bytes_max`; then there is no file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, bytes_max: u64) -> Result<Option<u64>> {
        let cannot = || format!("cannot write {}", path.display());
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).with_context(cannot)?;
        let limited = Limited { inner: BufWriter::new(file), left: bytes_max };
        let mut limited = match self.pack(limited) {
            Ok(limited) => limited,
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                std::fs::remove_file(path).with_context(cannot)?;
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(cannot),
        };
        limited.inner.flush().with_context(cannot)?;
        limited.inner.get_ref().sync_all().with_context(cannot)?;
        Ok(Some(bytes_max - limited.left))
    }

    fn pack<W: Write>(&self, writer: W) -> io::Result<W> {
        let mut buffered = BufWriter::new(GzEncoder::new(writer, Compression::fast()));
        serde_json::to_writer(&mut buffered, self)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, is of another build, or unfolds to more than a run has.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let limit = file.metadata()?.len().saturating_mul(UNFOLDED_TIMES_MAX);
        let mut unpacked = GzDecoder::new(BufReader::new(file)).take(limit);
        let history =
            serde_json::from_reader(BufReader::new(&mut unpacked)).with_context(|| format!("{} is not understood", path.display()));
        if unpacked.limit() == 0 {
            bail!("{} unfolds to more than {UNFOLDED_TIMES_MAX} times its size", path.display());
        }
        history
    }
}

/// Writer that ends when its bytes are used up.
struct Limited<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Maps whose keys JSON does not take, as pairs.
pub(super) mod pairs {
    use super::{Deserialize, Deserializer, Hash, HashMap, Serialize, Serializer};

    pub(in crate::oracle) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &HashMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(in crate::oracle) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Keys as hex texts.
pub(super) mod key_texts {
    use super::{Deserialize, Deserializer, DeviceKey, Serializer};

    pub(in crate::oracle) fn serialize<S: Serializer>(keys: &[DeviceKey], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(keys.iter().map(DeviceKey::text))
    }

    pub(in crate::oracle) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DeviceKey>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| DeviceKey::from_hex(text).ok_or_else(|| serde::de::Error::custom("a key that is no hex text"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::oracle::{FaultPeriod, FaultPeriodKind, FoundArchive, KeyPeriod, judge};

    /// A history with something of everything, of which one acknowledged row is missing.
    fn history() -> History {
        let mut history = History { requested_are_all: true, ..History::default() };
        for line in [
            r#"{"device_id":"d1","timestamp_utc":"2026-11-21T15:36:17Z","bucket_at":"2026-11-21T15:36:10Z","status":200,"repeat":false,"what":"heartbeat","sent_at":"2026-11-21T15:36:17.000001Z","answered_at":"2026-11-21T15:36:17.002001Z","server":"http://n1","owner":"node-2","epoch":3}"#,
            r#"{"device_id":"d1","bucket_at":"2026-11-21T15:36:20Z","status":200,"repeat":false,"what":"heartbeat","sent_at":"2026-11-21T15:36:27.000001Z","answered_at":"2026-11-21T15:36:27.002001Z","server":"http://n1"}"#,
            r#"{"device_id":"d1","what":"failure","sent_at":"2026-11-21T15:36:17Z","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","error":"http_503"}"#,
            r#"{"device_id":"d1","what":"executed","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","command":{"request_id":"r1","device_id":"d1","action":"ping","ts":"t","expires_at":"e","params":"{}","signature":"s","v":"1"}}"#,
        ] {
            history.read_line(line).unwrap();
        }
        let bucket = (0, history.acks[0].bucket_s.unwrap());
        history.stored.heartbeats.insert(bucket, 1);
        history.stored.device_times_us.insert(bucket, history.acks[0].device_time_us.unwrap());
        history.stored.last_status_s.insert(0, bucket.1);
        history.stored.commands = Some(HashMap::new());
        history.keys.insert(0, vec![KeyPeriod { since_us: i64::MIN, keys: vec![DeviceKey::from_hex("0a0b").unwrap()] }]);
        history.fault_periods.push(FaultPeriod {
            kind: FaultPeriodKind::Killed,
            text: "kill -9 node-1".into(),
            server: Some(0),
            node: None,
            began_us: 1,
            in_force_us: 2,
            healing_us: i64::MAX,
            healed_us: i64::MAX,
        });
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        let found = FoundArchive { file_sha256: "aa".into(), manifest_sha256: "aa".into(), rows: 1, manifest_rows: 1 };
        history.archives.archives.extend([(day, Ok(found)), (day.succ_opt().unwrap(), Err("row group 0".to_owned()))]);
        history.archives.heartbeats.insert((0, 7), 2);
        history
    }

    #[test]
    fn a_history_that_was_written_is_judged_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json.gz");
        let history = history();
        let bytes = history.write(&path, 1 << 20).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
        let again = History::read(&path).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&history).unwrap());
        let (before, after) = (judge(&history), judge(&again));
        assert!(before.violations() > 0, "{before}");
        assert_eq!(before.to_string(), after.to_string());
        assert_eq!(again.keys[&0][0].keys[0].text(), "0a0b");
    }

    #[test]
    fn a_heartbeat_costs_less_than_200_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::default();
        let server = history.names.number("http://127.0.0.1:8080");
        let count = 20_000;
        for n in 0..count {
            let device = history.devices.number(&format!("0190b2c4-0000-7000-8000-{:012x}", n % 2_000));
            let sent_us = 1_795_275_377_000_000 + n * 4_999 + (n * 7_919) % 977;
            let bucket_s = sent_us / 10_000_000 * 10;
            let decided = Some(DecidingOwner { owner: 0, epoch: 3 });
            let answered_us = sent_us + 1_500 + (n * 104_729) % 9_973;
            history.acks.push(Ack {
                device,
                server,
                bucket_s: Some(bucket_s),
                device_time_us: Some(sent_us),
                sent_us,
                answered_us,
                decided,
            });
            history.stored.heartbeats.insert((device, bucket_s), 1);
        }
        let bytes = history.write(&folder.path().join("h.gz"), 1 << 30).unwrap().unwrap();
        assert!(bytes / (count as u64) < 100, "{} bytes a heartbeat", bytes / count as u64);
    }

    #[test]
    fn what_would_be_too_large_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json.gz");
        assert_eq!(history().write(&path, 100).unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_history_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json.gz");
        std::fs::write(&path, b"no gzip").unwrap();
        let error = format!("{:#}", History::read(&path).unwrap_err());
        assert!(error.contains("history.json.gz is not understood"), "{error}");
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b' '; 8 << 20]).unwrap();
        std::fs::write(&path, bomb.finish().unwrap()).unwrap();
        let error = format!("{:#}", History::read(&path).unwrap_err());
        assert!(error.contains("1000 times its size"), "{error}");
    }
}
