//! Losses and duplicates that are planted into the record of a run that kept its promises: the judge has to see each.

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;

use crate::oracle::{History, judge};

/// Violations of a promise.
fn broken(history: &History, promise: &str) -> usize {
    judge(history).checks.iter().filter(|check| check.promise == promise).map(|check| check.violations.len()).sum()
}

/// Plants a row that is missing and one that is there twice in an archive, an archive that is altered and one that is gone, one after the
/// other; a note about what the judge saw.
pub(super) fn planted(history: &mut History) -> Result<String> {
    let acknowledged = |bucket: &(u32, i64)| history.acks.iter().any(|ack| (ack.device, ack.bucket_s) == (bucket.0, Some(bucket.1)));
    let in_archive_alone = |bucket: &&(u32, i64)| !history.stored.heartbeats.contains_key(*bucket) && acknowledged(bucket);
    let bucket = *history.archives.heartbeats.keys().find(in_archive_alone).context("no acknowledged row is in an archive alone")?;
    let dropped = |(_, recorded): &(&NaiveDate, &crate::oracle::RecordedDay)| recorded.state == "dropped";
    let day = *history.archives.recorded.iter().find(dropped).context("no day was dropped")?.0;

    let copies = history.archives.heartbeats.remove(&bucket).unwrap_or_default();
    let loss = broken(history, "P1");
    history.archives.heartbeats.insert(bucket, copies + 1);
    let duplicate = broken(history, "P1");
    history.archives.heartbeats.insert(bucket, copies);

    let archive = history.archives.archives.remove(&day).with_context(|| format!("{day} has no archive"))?;
    let gone = broken(history, "P8");
    let mut altered = archive.clone().map_err(anyhow::Error::msg)?;
    altered.file_sha256 = altered.file_sha256.chars().rev().collect();
    history.archives.archives.insert(day, Ok(altered));
    let altered = broken(history, "P8");
    history.archives.archives.insert(day, archive);

    for (what, seen) in [("loss", loss), ("duplicate", duplicate), ("missing archive", gone), ("altered archive", altered)] {
        ensure!(seen > 0, "the judge does not see a planted {what}");
    }
    ensure!(broken(history, "P1") + broken(history, "P8") == 0, "what was planted is still there");
    Ok(format!(
        "planted in this record: a loss is {loss}, a duplicate {duplicate}, a missing archive {gone}, an altered one {altered} violations"
    ))
}
