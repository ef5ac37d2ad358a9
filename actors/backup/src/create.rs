//! Creation: a snapshot of every row, then the files that its rows name, into one file that is in place only when it is whole.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use secrecy::{ExposeSecret, SecretString};
use store::{Snapshot, SnapshotTable, Store};
use tempfile::NamedTempFile;

use crate::files::Files;
use crate::manifest::{ApkEntry, Digest, Manifest, TableEntry};
use crate::member::{Member, PARTS_MAX, is_identifier, is_key};
use crate::pipe::WritePipe;
use crate::writer::{WORK_FACTOR, Written};
use crate::{BackupError, Key, Progress, verify};

/// Bytes of one part of a table, at least.
const PART_BYTES: usize = 4 << 20;
/// Bytes that are handed on at a time.
const PIECE_BYTES: usize = 256 << 10;

/// End of the key of an archive's manifest.
const MANIFEST: &str = ".json";
/// Most bytes of a manifest that are looked at.
const HEAD_MAX_BYTES: usize = 16 << 20;
/// Folder of archives that are being written.
const INCOMING: &str = "incoming/";

/// Beginning of the name of a file that is being written.
pub(crate) const UNFINISHED_PREFIX: &str = ".nexmdm-backup-";
/// End of it.
pub(crate) const UNFINISHED_SUFFIX: &str = ".partial";

/// Sources of a backup: database, keys, APKs, archives.
#[derive(Clone)]
pub struct Sources {
    /// The database.
    pub store: Store,
    /// Keys of the cluster; none: they are left out.
    pub keys: Vec<Key>,
    /// Store of the APKs.
    pub apks: Arc<dyn ObjectStore>,
    /// Store of the archives, if there is one.
    pub archives: Option<Arc<dyn ObjectStore>>,
}

/// How a backup is made.
#[derive(Clone)]
pub struct CreateOptions {
    /// Passphrase; `None`: in the clear.
    pub passphrase: Option<SecretString>,
    /// Logarithm of the rounds of scrypt.
    pub work_factor: u8,
    /// Version of the product.
    pub version: String,
    /// Whether the file is read back and compared before it is put in place.
    pub verify: bool,
}

impl CreateOptions {
    /// Encrypted as strongly as usual.
    pub fn new(passphrase: Option<SecretString>, version: &str) -> Self {
        Self { passphrase, work_factor: WORK_FACTOR, version: version.to_owned(), verify: false }
    }
}

/// A backup that is in place.
#[derive(Debug, Clone)]
pub struct Created {
    /// Path of the backup.
    pub file: PathBuf,
    /// Size of the file.
    pub file_bytes: u64,
    /// What it holds.
    pub manifest: Manifest,
    /// What was written.
    pub digest: Digest,
    /// Whether it was read back and compared.
    pub is_verified: bool,
}

/// Makes a backup while nodes serve. The file appears under its name only when it is whole and on the disk, and replaces none.
///
/// # Errors
/// The database or a store is unavailable, or the file cannot be written; nothing is left of it then.
pub async fn create(sources: &Sources, file: &Path, options: &CreateOptions, progress: Progress) -> Result<Created, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.display().to_string()));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // For its owner only, as every file of this kind.
    let partial = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).suffix(UNFINISHED_SUFFIX).tempfile_in(folder);
    let partial = partial.map_err(BackupError::at(folder))?;
    // Reading it back may take long, and leaves its time as it is: whoever clears the folder sees the lock, where the file system has locks.
    let _ = partial.as_file().try_lock_shared();
    let out = BufWriter::with_capacity(1 << 20, partial.reopen().map_err(BackupError::at(file))?);
    let pipe = WritePipe::begin(out, options.passphrase.clone(), options.work_factor, Arc::clone(&progress));
    let (manifest, written) = write(sources, options, pipe).await?;
    let digest = written.digest.clone();
    synced(written, file).await?;
    let file_bytes = partial.as_file().metadata().map_err(BackupError::at(file))?.len();
    if options.verify {
        let verified = verify(partial.path(), options.passphrase.clone(), progress).await?;
        if verified.digest != digest {
            return Err(BackupError::damaged("what was read back is not what was written"));
        }
    }
    put_in_place(partial, folder, file)?;
    Ok(Created { file: file.to_owned(), file_bytes, manifest, digest, is_verified: options.verify })
}

/// Waits until what was written is on the disk.
async fn synced(written: Written<BufWriter<File>>, file: &Path) -> Result<(), BackupError> {
    let out = written.out.into_inner().map_err(|cause| BackupError::at(file)(cause.into_error()))?;
    let synced = tokio::task::spawn_blocking(move || out.sync_all()).await;
    synced.map_err(std::io::Error::other).and_then(|done| done).map_err(BackupError::at(file))
}

fn put_in_place(partial: NamedTempFile, folder: &Path, file: &Path) -> Result<(), BackupError> {
    partial.persist_noclobber(file).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(file.display().to_string()),
        _ => BackupError::at(file)(error.error),
    })?;
    // The name as well.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BackupError::at(folder))
}

type Pipe = WritePipe<BufWriter<File>>;

async fn write(sources: &Sources, options: &CreateOptions, mut pipe: Pipe) -> Result<(Manifest, Written<BufWriter<File>>), BackupError> {
    let mut snapshot = sources.store.snapshot().await?;
    let tables = std::mem::take(&mut snapshot.tables);
    let (named, odd): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|table| is_identifier(&table.name) && table.columns.iter().all(|column| is_identifier(column)));
    let apks: Vec<ApkEntry> =
        snapshot.apks().await?.into_iter().map(|apk| ApkEntry { id: apk.id, bytes: apk.bytes, sha256: apk.sha256 }).collect();
    let manifest = Manifest {
        created_at: snapshot.at,
        schema: snapshot.schema,
        cluster: snapshot.cluster.clone(),
        devices: snapshot.devices,
        tables: named.iter().cloned().map(TableEntry::from).collect(),
        sequences: snapshot.sequences().await?.into_iter().map(Into::into).collect(),
        keys: sources.keys.iter().map(|key| key.name.to_owned()).collect(),
        apks: Some(apks.clone()),
        archives: sources.archives.is_some(),
        ..Manifest::new(&options.version)
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|cause| BackupError::damaged(format!("manifest.json: {cause}")))?;
    pipe.whole(Member::Manifest, json.into()).await?;
    for key in &sources.keys {
        pipe.whole(Member::Key(key.name), Bytes::copy_from_slice(key.hex.expose_secret().trim().as_bytes())).await?;
    }
    for table in &named {
        write_table(&mut snapshot, table, &mut pipe).await?;
    }
    // Partitions may be dropped again; an APK that is deleted from now on is missed, and that is said.
    snapshot.end().await?;
    let mut problems: Vec<String> =
        odd.iter().map(|table| format!("the table {:?} has a name that no table of NexMDM has, and was left out", table.name)).collect();
    let files = Files(Arc::clone(&sources.apks));
    for apk in &apks {
        if !write_file(&files, &Member::Apk(apk.id), &format!("apks/{}.apk", apk.id), &mut pipe, None).await? {
            problems.push(format!("the store of APKs has no file of APK {}", apk.id));
        }
    }
    let mut named_files = Vec::new();
    if let Some(archives) = &sources.archives {
        let files = Files(Arc::clone(archives));
        let mut keys = files.keys().await?;
        // The file before its manifest: what is put over it in this order is no archive until it is whole.
        keys.sort_by_cached_key(|key| {
            let (stem, kind) = key.rsplit_once('.').unwrap_or((key.as_str(), ""));
            (stem.to_owned(), kind == "json")
        });
        for key in keys.into_iter().filter(|key| is_key(key) && !key.starts_with(INCOMING)) {
            let member = Member::Archive(key.clone());
            let mut manifest = key.ends_with(MANIFEST).then(Vec::new);
            if !member.fits() {
                problems.push(format!("the archive {key} has a name that is too long, and was left out"));
            } else if !write_file(&files, &member, &key, &mut pipe, manifest.as_mut()).await? {
                problems.push(format!("the archive {key} was deleted meanwhile"));
            }
            named_files.extend(manifest.and_then(|json| named_file(&key, &json)));
        }
    }
    let written = pipe
        .finish(move |digest| digest.problems = [problems, damaged_apks(&apks, digest), torn_archives(&named_files, digest)].concat())
        .await?;
    Ok((manifest, written))
}

/// The file that the manifest of an archive names, and its SHA-256 as hex.
fn named_file(manifest: &str, json: &[u8]) -> Option<(String, String)> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some((format!("{}.parquet", manifest.strip_suffix(MANIFEST)?), json.get("sha256")?.as_str()?.to_owned()))
}

/// Archives whose files are not those of their manifests.
fn torn_archives(named_files: &[(String, String)], digest: &Digest) -> Vec<String> {
    let is_torn = |(file, sha256): &&(String, String)| {
        let name = Member::Archive(file.clone()).to_string();
        digest.entries.iter().any(|entry| entry.name == name && entry.sha256 != *sha256)
    };
    let told =
        |(file, _): &(String, String)| format!("the archive {file} is not that of its manifest: it was replaced meanwhile, or is damaged");
    named_files.iter().filter(is_torn).map(told).collect()
}

/// APKs whose files are not what their rows say.
fn damaged_apks(apks: &[ApkEntry], digest: &Digest) -> Vec<String> {
    let entry = |apk: &ApkEntry| digest.entries.iter().find(|entry| entry.name == Member::Apk(apk.id).to_string());
    let is_damaged = |apk: &&ApkEntry| entry(apk).is_some_and(|entry| entry.sha256 != apk.sha256);
    apks.iter().filter(is_damaged).map(|apk| format!("the file of APK {} in the store is not the one that was uploaded", apk.id)).collect()
}

async fn write_table(snapshot: &mut Snapshot, table: &SnapshotTable, pipe: &mut Pipe) -> Result<(), BackupError> {
    let mut rows = snapshot.rows(table).await?;
    let (mut part, mut lines) = (0, BytesMut::new());
    while let Some(row) = rows.try_next().await? {
        lines.extend_from_slice(&row);
        // Only between two rows: each part is whole in itself.
        if lines.len() >= PART_BYTES && lines.ends_with(b"\n") {
            write_part(pipe, table, part, lines.split().freeze()).await?;
            part += 1;
        }
    }
    if part == 0 || !lines.is_empty() {
        write_part(pipe, table, part, lines.freeze()).await?;
    }
    Ok(())
}

async fn write_part(pipe: &mut Pipe, table: &SnapshotTable, part: u32, lines: Bytes) -> Result<(), BackupError> {
    if part > PARTS_MAX {
        return Err(BackupError::Refused(format!("the table {} has more than {PARTS_MAX} parts of {PART_BYTES} bytes", table.name)));
    }
    pipe.member(Member::Rows { table: table.name.clone(), part }, lines.len() as u64).await?;
    for at in (0..lines.len()).step_by(PIECE_BYTES) {
        pipe.data(lines.slice(at..lines.len().min(at + PIECE_BYTES))).await?;
    }
    Ok(())
}

/// Copies a file, and its first bytes to `head`; answers whether it was there.
async fn write_file(
    files: &Files,
    member: &Member,
    key: &str,
    pipe: &mut Pipe,
    mut head: Option<&mut Vec<u8>>,
) -> Result<bool, BackupError> {
    let Some((size, mut bytes)) = files.open(key).await? else { return Ok(false) };
    pipe.member(member.clone(), size).await?;
    while let Some(piece) = bytes.next().await? {
        if let Some(head) = head.as_mut().filter(|head| head.len() + piece.len() <= HEAD_MAX_BYTES) {
            head.extend_from_slice(&piece);
        }
        pipe.data(piece).await?;
    }
    Ok(true)
}
