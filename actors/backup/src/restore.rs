//! Restore: the whole file is verified first, then its rows come back in one transaction, and its files beside it.
//!
//! What is under way is marked, in the database and in the data folder: a node starts over neither until a restore has ended well.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Timestamp;
use domain::access::Principal;
use object_store::ObjectStore;
use secrecy::{ExposeSecret, SecretString};
use store::{RestoreTarget, RestoreTransaction, SnapshotSequence, SnapshotTable, Store};

use crate::files::Files;
use crate::manifest::{Digest, Manifest};
use crate::member::Member;
use crate::pipe::ReadPipe;
use crate::reader::Event;
use crate::{BackupError, KEY_NAMES, Progress, verify};

/// Most accounts of a database that counts as new: the admin that every first start makes.
const ACCOUNTS_OF_A_NEW_ONE: i64 = 1;

/// Names of tables that a refusal tells.
const NAMES_TOLD: usize = 5;

/// Where a backup is restored to.
pub struct Target {
    /// The database.
    pub store: Store,
    /// Keys that there are, in the order of [`KEY_NAMES`], and where each is kept.
    pub keys: [TargetKey; 3],
    /// Store of the APKs.
    pub apks: Arc<dyn ObjectStore>,
    /// Store of the archives, if there is one.
    pub archives: Option<Arc<dyn ObjectStore>>,
    /// File in the data folder that is there while a restore is under way.
    pub mark: PathBuf,
}

/// A key of the place that is restored to.
pub struct TargetKey {
    /// File of it in the data folder.
    pub file: PathBuf,
    /// The key that is there, or given by configuration, as hex.
    pub found: Option<SecretString>,
    /// Whether it is given by configuration, which a restore does not change.
    pub is_given: bool,
}

/// How a backup is restored.
pub struct RestoreOptions {
    /// Passphrase.
    pub passphrase: Option<SecretString>,
    /// Whether what is there may be lost.
    pub force: bool,
    /// Person or system that restores, for the audit trail.
    pub by: Principal,
    /// Now.
    pub now: Timestamp,
}

/// A restore that has ended well.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Manifest of the backup.
    pub manifest: Manifest,
    /// Digests and row counts that were restored.
    pub digest: Digest,
    /// Sign-ins that ended.
    pub sign_ins_ended: u64,
    /// Tables that are none of ours, whose rows were left out.
    pub tables_left_out: Vec<String>,
}

/// Restores a backup.
///
/// # Errors
/// The backup is damaged, or of a newer schema; a node lives; something would be lost without `force`. Nothing is changed then. Whatever fails later leaves a
/// mark, by which nodes refuse to start until the restore is repeated.
pub async fn restore(file: &Path, target: &Target, options: &RestoreOptions, progress: Progress) -> Result<Restored, BackupError> {
    let verified = verify(file, options.passphrase.clone(), Arc::clone(&progress)).await?;
    let there = target.store.restore_target().await?;
    refuse(&there, options.force)?;
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    // What a restore of this backup put there before it was cut off, it may put there again.
    let may_replace = options.force || there.unfinished.as_ref() == Some(&name);
    let archives_there = archives_there(target, &verified.digest, may_replace).await?;
    mark(&target.mark, file)?;
    let work = async {
        check_keys(file, target, options).await?;
        let begun = target.store.begin_restore(&name, verified.manifest.schema).await?;
        begun.ok_or_else(|| BackupError::Refused("a node of this database lives: stop every node first".to_owned()))
    };
    let transaction = match work.await {
        Ok(transaction) => transaction,
        Err(error) => {
            // Unless the database is marked, nothing was changed.
            if there.unfinished.is_none() && matches!(target.store.unfinished_restore().await, Ok(None)) {
                let _ = fs::remove_file(&target.mark);
            }
            return Err(error);
        }
    };
    let mut load = Load { target, transaction, force: options.force, archives_there, tables_left_out: Vec::new(), keys: Vec::new() };
    let mut pipe = open(file, options)?;
    load.all(&mut pipe, &verified.manifest, &progress).await?;
    let (manifest, digest) = pipe.end().await?;
    if digest != verified.digest {
        return Err(BackupError::damaged("the file changed after it was verified"));
    }
    let sequences: Vec<SnapshotSequence> = manifest.sequences.iter().map(Into::into).collect();
    load.transaction.set_sequences(&sequences).await?;
    let Load { transaction, tables_left_out, keys, .. } = load;
    let sign_ins_ended = transaction.commit(&name, manifest.created_at, &options.by, options.now).await?;
    // Only for rows that are there; no node starts before both are.
    place_keys(target, &keys)?;
    target.store.end_restore().await?;
    fs::remove_file(&target.mark).map_err(BackupError::at(&target.mark))?;
    Ok(Restored { manifest, digest, sign_ins_ended, tables_left_out })
}

fn open(file: &Path, options: &RestoreOptions) -> Result<ReadPipe, BackupError> {
    let input = fs::File::open(file).map_err(BackupError::at(file))?;
    Ok(ReadPipe::begin(input, options.passphrase.clone()))
}

/// Refuses where a node lives, or where something would be lost that nobody agreed to.
fn refuse(there: &RestoreTarget, force: bool) -> Result<(), BackupError> {
    if !there.live_nodes.is_empty() {
        let nodes = there.live_nodes.join(", ");
        return Err(BackupError::Refused(format!(
            "the lease of a node of this database holds ({nodes}): stop every node, and wait for the 5 s that a lease outlives one"
        )));
    }
    if !there.foreign_tables.is_empty() {
        let told: Vec<&str> = there.foreign_tables.iter().take(NAMES_TOLD).map(String::as_str).collect();
        return Err(BackupError::Refused(format!(
            "the schema of the database holds {} tables or views that are none of NexMDM's ({}{}), which no restore removes: give a database or \
             schema of its own",
            there.foreign_tables.len(),
            told.join(", "),
            if there.foreign_tables.len() > NAMES_TOLD { ", ..." } else { "" }
        )));
    }
    let holds_something = there.devices > 0 || there.accounts > ACCOUNTS_OF_A_NEW_ONE;
    if holds_something && there.unfinished.is_none() && !force {
        return Err(BackupError::Refused(format!(
            "the database holds {} devices and {} accounts, which a restore removes with all of their history: give --force to lose them",
            there.devices, there.accounts
        )));
    }
    Ok(())
}

/// Archives of the backup that the store has already, byte for byte. Others under the same key are refused: theirs may be newer, and the store that of
/// a cluster that lives.
async fn archives_there(target: &Target, digest: &Digest, may_replace: bool) -> Result<BTreeSet<String>, BackupError> {
    let mut same = BTreeSet::new();
    let Some(archives) = &target.archives else { return Ok(same) };
    let files = Files(Arc::clone(archives));
    for entry in &digest.entries {
        let Some(Member::Archive(key)) = Member::parse(&entry.name) else { continue };
        match files.holds(&key, entry.bytes, &entry.sha256).await? {
            Some(true) => {
                same.insert(key);
            }
            Some(false) if !may_replace => {
                return Err(BackupError::Refused(format!(
                    "the store of archives holds another {key} than the backup: give a store of its own, or --force to replace it and all that differ"
                )));
            }
            Some(false) | None => {}
        }
    }
    Ok(same)
}

fn mark(path: &Path, backup: &Path) -> Result<(), BackupError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(BackupError::at(folder))?;
    }
    let mut file = fs::File::create(path).map_err(BackupError::at(path))?;
    file.write_all(backup.display().to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(BackupError::at(path))
}

/// Reads the keys, which come first, and refuses those that differ from what is there.
async fn check_keys(file: &Path, target: &Target, options: &RestoreOptions) -> Result<(), BackupError> {
    let mut pipe = open(file, options)?;
    let mut found: Option<&'static str> = None;
    while let Some(event) = pipe.next().await {
        match event {
            Event::Manifest(_) | Event::End => {}
            Event::Member { member: Member::Key(name) } => found = Some(name),
            Event::Member { .. } => break,
            Event::Data(hex) => {
                if let Some(name) = found {
                    check_key(name, &hex, target, options.force)?;
                }
            }
        }
    }
    // What is left of it is read later: this reader is given up.
    let _ = pipe.end().await;
    Ok(())
}

fn check_key(name: &'static str, hex: &[u8], target: &Target, force: bool) -> Result<(), BackupError> {
    let Some(key) = key_of(target, name) else { return Ok(()) };
    let is_same = key.found.as_ref().is_none_or(|found| found.expose_secret().trim().as_bytes() == hex);
    match (is_same, key.is_given) {
        (true, _) => Ok(()),
        (false, true) => Err(BackupError::Refused(format!(
            "secrets.{name}_key, or its file, is given by configuration and differs from the backup's: devices and nodes of the backup go by \
             that one; give it, or none"
        ))),
        (false, false) if !force => Err(BackupError::Refused(format!(
            "{} holds another key than the backup: restore into a new data folder, or give --force to replace it",
            key.file.display()
        ))),
        (false, false) => Ok(()),
    }
}

fn key_of<'a>(target: &'a Target, name: &str) -> Option<&'a TargetKey> {
    KEY_NAMES.iter().position(|known| *known == name).and_then(|at| target.keys.get(at))
}

/// A restore under way.
struct Load<'a> {
    target: &'a Target,
    transaction: RestoreTransaction,
    force: bool,
    /// Keys of archives that need not be written.
    archives_there: BTreeSet<String>,
    tables_left_out: Vec<String>,
    keys: Vec<(&'static str, SecretString)>,
}

impl Load<'_> {
    async fn all(&mut self, pipe: &mut ReadPipe, manifest: &Manifest, progress: &Progress) -> Result<(), BackupError> {
        let mut bytes = 0;
        let mut next = pipe.next().await;
        while let Some(event) = next {
            next = match event {
                Event::Member { member } => {
                    progress(&member.entry(), bytes);
                    match member {
                        Member::Rows { table, .. } => self.table(&table, manifest, pipe, &mut bytes, progress).await?,
                        Member::Key(name) => self.key(name, pipe).await?,
                        Member::Apk(id) => {
                            let files = Files(Arc::clone(&self.target.apks));
                            file(&files, &format!("apks/{id}.apk"), pipe, &mut bytes).await?
                        }
                        Member::Archive(key) => match &self.target.archives {
                            Some(archives) if !self.archives_there.contains(&key) => {
                                file(&Files(Arc::clone(archives)), &key, pipe, &mut bytes).await?
                            }
                            _ => skip(pipe, &mut bytes).await,
                        },
                        Member::Manifest | Member::Digest => pipe.next().await,
                    }
                }
                Event::Manifest(_) | Event::Data(_) | Event::End => pipe.next().await,
            };
        }
        Ok(())
    }

    /// Loads a table, part by part. Answers what follows.
    async fn table(
        &mut self,
        name: &str,
        manifest: &Manifest,
        pipe: &mut ReadPipe,
        bytes: &mut u64,
        progress: &Progress,
    ) -> Result<Option<Event>, BackupError> {
        let table = manifest.tables.iter().find(|table| table.name == name).map(SnapshotTable::from);
        let table = table.ok_or_else(|| BackupError::damaged(format!("the table {name} is not in its manifest")))?;
        if !self.transaction.ensure_table(&table).await? {
            self.tables_left_out.push(table.name);
            return Ok(skip(pipe, bytes).await);
        }
        let mut rows = self.transaction.rows(&table).await?;
        loop {
            match pipe.next().await {
                Some(Event::Data(lines)) => {
                    rows.send(&lines).await?;
                    *bytes += lines.len() as u64;
                    progress(name, *bytes);
                }
                Some(Event::Member { member: Member::Rows { table: same, .. } }) if same == name => {}
                next => {
                    rows.finish().await?;
                    return Ok(next);
                }
            }
        }
    }

    async fn key(&mut self, name: &'static str, pipe: &mut ReadPipe) -> Result<Option<Event>, BackupError> {
        let mut hex = Vec::new();
        loop {
            match pipe.next().await {
                Some(Event::Data(bytes)) => hex.extend_from_slice(&bytes),
                next => {
                    check_key(name, &hex, self.target, self.force)?;
                    let text = String::from_utf8(hex).map_err(|_| BackupError::damaged(format!("keys/{name}.key is no text")))?;
                    self.keys.push((name, text.into()));
                    return Ok(next);
                }
            }
        }
    }
}

/// Puts the keys of the backup where they are kept. One that was there and differs stays beside it.
fn place_keys(target: &Target, keys: &[(&'static str, SecretString)]) -> Result<(), BackupError> {
    for (name, hex) in keys {
        let Some(key) = key_of(target, name) else { continue };
        let is_there = key.found.as_ref().is_some_and(|found| found.expose_secret().trim() == hex.expose_secret());
        if is_there || key.is_given {
            continue;
        }
        place(&key.file, hex).map_err(BackupError::at(&key.file))?;
    }
    Ok(())
}

fn place(path: &Path, hex: &SecretString) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let fresh = path.with_extension(format!("new.{}", std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    out.write_all(hex.expose_secret().as_bytes())?;
    out.sync_all()?;
    match fs::rename(path, path.with_extension("key.replaced")) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    fs::rename(&fresh, path)
}

/// Restores a file. Answers what follows.
async fn file(files: &Files, key: &str, pipe: &mut ReadPipe, bytes: &mut u64) -> Result<Option<Event>, BackupError> {
    let mut writer = files.begin(key).await?;
    loop {
        match pipe.next().await {
            Some(Event::Data(piece)) => {
                if let Err(error) = writer.add(&piece).await {
                    writer.abort().await;
                    return Err(error);
                }
                *bytes += piece.len() as u64;
            }
            // Cut off: it may be half of the file.
            None => {
                writer.abort().await;
                return Ok(None);
            }
            next => {
                writer.finish().await?;
                return Ok(next);
            }
        }
    }
}

/// Passes over a member. Answers what follows.
async fn skip(pipe: &mut ReadPipe, bytes: &mut u64) -> Option<Event> {
    loop {
        match pipe.next().await {
            Some(Event::Data(piece)) => *bytes += piece.len() as u64,
            next => return next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_is_named_and_live_nodes_are_never_overruled() {
        let of = |devices, accounts, live: &[&str], unfinished: Option<&str>| RestoreTarget {
            devices,
            accounts,
            live_nodes: live.iter().map(|name| (*name).to_owned()).collect(),
            unfinished: unfinished.map(str::to_owned),
            foreign_tables: Vec::new(),
        };
        let others: Vec<String> = (1..=7).map(|n| format!("orders_{n}")).collect();
        let foreign = RestoreTarget { foreign_tables: others, ..of(0, 1, &[], Some("x.backup")) };
        let error = refuse(&foreign, true).unwrap_err().to_string();
        assert!(error.contains("7 tables") && error.contains("orders_5, ...") && !error.contains("orders_6"), "{error}");
        assert!(refuse(&of(0, 0, &[], None), false).is_ok());
        assert!(refuse(&of(0, 1, &[], None), false).is_ok(), "a node that was started once");
        let error = refuse(&of(12, 1, &[], None), false).unwrap_err().to_string();
        assert!(error.contains("12 devices") && error.contains("--force"), "{error}");
        assert!(refuse(&of(0, 2, &[], None), false).is_err());
        assert!(refuse(&of(12, 1, &[], None), true).is_ok());
        assert!(refuse(&of(12, 1, &[], Some("x.backup")), false).is_ok(), "a restore is repeated");
        for force in [false, true] {
            let error = refuse(&of(0, 0, &["node-1"], None), force).unwrap_err().to_string();
            assert!(error.contains("node-1"), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_replaced_stays_beside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets/master.key");
        place(&file, &"aa".into()).unwrap();
        place(&file, &"bb".into()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join("secrets").join(name)).unwrap();
        assert_eq!((read("master.key"), read("master.key.replaced")), ("bb".to_owned(), "aa".to_owned()));
        assert_eq!(fs::read_dir(folder.path().join("secrets")).unwrap().count(), 2);
    }
}
