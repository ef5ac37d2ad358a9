//! Archives of the audit trail: entries leave the database once they were read back, and the chain goes through the archives.

use std::path::PathBuf;

use actors::audit_archive::AuditArchiver;
use archive::{ArchiveSettings, Archives};
use chrono::TimeDelta;

use crate::common::{Bench, clock, nexmdm, options};

/// A bench with some entries, of which those beyond 30 days are archived.
struct Archived {
    bench: Bench,
    archives: Archives,
}

impl Archived {
    async fn new() -> Self {
        let bench = Bench::with(options()).await;
        let archives = Archives::open(ArchiveSettings::in_folder(bench.node.data_dir())).unwrap();
        Self { bench, archives }
    }

    fn archiver(&self) -> AuditArchiver {
        AuditArchiver { store: self.bench.store(), archives: self.archives.clone(), kept: TimeDelta::days(30) }
    }

    /// Archives as of so many days from now.
    async fn archive(&self, days: i64) -> Result<u64, String> {
        self.archiver().archive_due(clock(days * 86_400), || true).await.map_err(|cause| cause.to_string())
    }

    fn verify(&self) -> (bool, String) {
        let (whole, out, error) = nexmdm(&self.bench.node, &["audit", "verify"], "");
        (whole, out + &error)
    }

    fn left(&self) -> String {
        self.bench.sql("SELECT count(*) FROM audit_entry")
    }

    fn files(&self) -> Vec<PathBuf> {
        let folder = self.bench.node.data_dir().join("archive/audit");
        let mut files: Vec<_> = std::fs::read_dir(folder).map_or(vec![], |files| files.map(|file| file.unwrap().path()).collect());
        files.retain(|file| file.extension().is_some_and(|ending| ending == "parquet"));
        files.sort();
        files
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_leave_the_database_and_the_chain_goes_through_their_archives() {
    let trail = Archived::new().await;
    for n in 0..6 {
        trail.bench.add_user(&format!("u{n}"), "viewer");
    }
    assert_eq!(trail.archive(59).await, Ok(0), "a month has not gathered yet");
    let all: u64 = trail.left().parse().unwrap();
    assert!(all >= 6, "{all}");
    assert_eq!(trail.archive(61).await, Ok(all - 1));
    assert_eq!((trail.left().as_str(), trail.files().len()), ("1", 1), "the newest entry stays");
    let (whole, said) = trail.verify();
    assert!(whole && said.contains(&format!("{all} entries, {} of them in archives", all - 1)), "{said}");
    // Again, with a later archive behind the first.
    assert_eq!(trail.archive(61).await, Ok(0));
    for n in 6..9 {
        trail.bench.add_user(&format!("u{n}"), "viewer");
    }
    let removed = trail.archive(62).await.unwrap();
    assert_eq!((removed > 0, trail.left().as_str(), trail.files().len()), (true, "1", 2));
    let (whole, said) = trail.verify();
    assert!(whole, "{said}");
    let head = trail.bench.client.get_json("/v1/audit/head", &trail.bench.admin).await.unwrap();
    let (whole, out, error) = nexmdm(&trail.bench.node, &["audit", "verify", "--expect", head["expect"].as_str().unwrap()], "");
    assert!(whole, "{out}{error}");
    // Lists say where the rest is; names that no entry has are gone with them.
    let page = trail.bench.client.get_json("/v1/audit", &trail.bench.admin).await.unwrap();
    let last = head["seq"].as_i64().unwrap() - 1;
    assert_eq!(page["archived"]["last_seq"], last, "{page}");
    assert!(page["archived"]["newest_file"].as_str().unwrap().starts_with("audit/"), "{page}");
    assert_eq!(trail.bench.sql("SELECT count(*) FROM audit_name WHERE name = 'u0'"), "0");
    assert_eq!(page["items"].as_array().unwrap().len(), 1);

    // A search finds what left the database when it is asked to, page by page, and says that it read archives.
    let seqs =
        |page: &serde_json::Value| page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!((page["archives_read"].is_null(), page["next_cursor"].is_null()), (true, true), "{page}");
    let (mut found, mut cursor, mut read) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/v1/audit?archived=true&limit=4{cursor}");
        let page = trail.bench.client.get_json(&path, &trail.bench.admin).await.unwrap();
        found.extend(seqs(&page));
        read += page["archives_read"].as_u64().unwrap_or_default();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(found.iter().copied().eq((1..=last + 1).rev()), "every entry once, the newest first: {found:?}");
    assert!(read >= 2, "{read}");
    let of_one = trail.bench.client.get_json("/v1/audit?archived=true&target=U3", &trail.bench.admin).await.unwrap();
    assert_eq!((seqs(&of_one).len(), of_one["archives_read"].as_u64()), (1, Some(2)), "{of_one}");

    // A byte that is changed is found, and named by its entries; what follows is checked all the same.
    let first = trail.files()[0].clone();
    let kept = std::fs::read(&first).unwrap();
    let mut altered = kept.clone();
    altered[kept.len() / 3] ^= 1;
    std::fs::write(&first, &altered).unwrap();
    let (whole, said) = trail.verify();
    assert!(!whole && said.contains(&format!("entries 1 to {}: the archive does not match: audit/", all - 1)), "{said}");
    assert!(said.contains("1 problem"), "{said}");
    std::fs::rename(&first, first.with_extension("away")).unwrap();
    let (whole, said) = trail.verify();
    assert!(!whole && said.contains("does not match: audit/"), "{said}");
    std::fs::write(&first, &kept).unwrap();
    let (whole, said) = trail.verify();
    assert!(whole, "{said}");
    // Entries that no archive has are not removed, whoever asks.
    let refused = "DO $$ BEGIN DELETE FROM audit_entry; RAISE 'done'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";
    trail.bench.sql(refused);
    assert_eq!(trail.left(), "1");
}

/// Whoever archives may be killed between any two steps: here before the record, and before the removal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archiving_goes_on_where_it_was_killed() {
    let trail = Archived::new().await;
    for n in 0..4 {
        trail.bench.add_user(&format!("u{n}"), "viewer");
    }
    let all: u64 = trail.left().parse().unwrap();
    // Written and recorded, and then the lease was lost.
    let calls = std::sync::atomic::AtomicU32::new(0);
    let outcome =
        trail.archiver().archive_due(clock(61 * 86_400), || calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2).await.unwrap();
    assert_eq!((outcome, trail.left()), (0, all.to_string()), "nothing is removed");
    assert_eq!(trail.bench.sql("SELECT count(*) FROM audit_archive"), "1");
    // A file that is gone by then keeps its entries in the database.
    let file = trail.files()[0].clone();
    std::fs::rename(&file, file.with_extension("away")).unwrap();
    let said = trail.archive(61).await.unwrap_err();
    assert!(said.contains(".parquet") && trail.left() == all.to_string(), "{said}");
    std::fs::rename(file.with_extension("away"), &file).unwrap();
    assert_eq!(trail.archive(61).await, Ok(all - 1));
    assert_eq!(trail.bench.sql("SELECT count(*) FROM audit_archive WHERE removed_at IS NULL"), "0");
    // Written, and not recorded: what is there is used, with the entries that it has.
    trail.bench.add_user("next", "viewer");
    let calls = std::sync::atomic::AtomicU32::new(0);
    trail.archiver().archive_due(clock(62 * 86_400), || calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 1).await.unwrap();
    assert_eq!((trail.files().len(), trail.bench.sql("SELECT count(*) FROM audit_archive").as_str()), (2, "1"));
    trail.bench.add_user("another", "viewer");
    assert!(trail.archive(62).await.unwrap() > 0);
    let (whole, said) = trail.verify();
    assert!(whole && trail.files().len() >= 2, "{said}");
    assert_eq!(trail.left(), "1");
}

/// A file of another trail, that begins as this one does: planted, or written before the database was restored from a backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_other_entries_is_not_taken_for_an_archive() {
    let (trail, other) = (Archived::new().await, Archived::new().await);
    for n in 0..2 {
        other.bench.add_user(&format!("stranger{n}"), "viewer");
    }
    for n in 0..6 {
        trail.bench.add_user(&format!("u{n}"), "viewer");
    }
    let (all, planted): (u64, u64) = (trail.left().parse().unwrap(), other.left().parse().unwrap());
    assert!(planted >= 2 && planted < all, "{planted} of {all}");
    assert_eq!(other.archive(61).await, Ok(planted - 1));
    let (from, into) = (other.bench.node.data_dir().join("archive/audit"), trail.bench.node.data_dir().join("archive/audit"));
    std::fs::create_dir_all(&into).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), into.join(file.file_name())).unwrap();
    }
    assert_eq!(trail.files().len(), 1);
    assert_eq!(trail.archive(61).await, Ok(all - 1), "archived anew, beside it");
    let recorded = trail.bench.sql("SELECT name FROM audit_archive");
    assert_eq!((recorded, trail.files().len()), (format!("audit/{:012}-{:012}", 1, all - 1), 2));
    let (whole, said) = trail.verify();
    assert!(whole && said.contains(&format!("{all} entries, {} of them in archives", all - 1)), "{said}");
}

/// What somebody changed in the database is not archived as if it had not been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_does_not_hold_is_not_archived() {
    let trail = Archived::new().await;
    for n in 0..4 {
        trail.bench.add_user(&format!("u{n}"), "viewer");
    }
    let all = trail.left();
    trail.bench.sql(
        "ALTER TABLE audit_entry DISABLE TRIGGER USER; UPDATE audit_entry SET actor_name = 'nobody' WHERE seq = 3;
         ALTER TABLE audit_entry ENABLE TRIGGER USER",
    );
    assert!(trail.archive(61).await.is_err());
    assert_eq!((trail.left(), trail.bench.sql("SELECT count(*) FROM audit_archive").as_str()), (all, "0"));
    let (whole, said) = trail.verify();
    assert!(!whole && said.contains("entry 3 was changed"), "{said}");
}
