//! `nexmdm backup`: backups at the command line.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use backup::{CreateOptions, Created, Digest, Manifest, Progress, RestoreOptions, Sources, Target};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::backup_args::{BackupCommand, BackupOutput};
use crate::cluster::NodeLock;
use crate::commands::console_user;
use crate::config::Config;
use crate::database::{Database, ensure_exists, restore_mark};
use crate::{http, secrets, serve};

/// Variable with the passphrase.
const PASSPHRASE: &str = "NEXMDM_BACKUP_PASSPHRASE";
/// First schema that has the record of backups.
const RECORDED_SINCE: i64 = 35;
/// Time between two lines of progress: on a terminal, and in a log.
const PROGRESS_INTERVALS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// `nexmdm backup ...`.
///
/// # Errors
/// The backup cannot be made, read or restored; what is wrong is named.
pub(crate) async fn run(config: Config, command: BackupCommand) -> anyhow::Result<()> {
    match command {
        BackupCommand::Create { file, passphrase, verify, without_keys, unencrypted, keys_in_clear, output } => {
            let passphrase = match unencrypted {
                false => Some(new_passphrase(passphrase.passphrase_file.as_deref())?),
                true if without_keys || keys_in_clear => None,
                true => bail!(
                    "--unencrypted would write the keys of the cluster in the clear: give --without-keys to leave them out, or --keys-in-clear"
                ),
            };
            create(&config, &file, passphrase, verify, without_keys, output.output).await
        }
        BackupCommand::Verify { file, passphrase, output } => {
            let passphrase = passphrase_of(&file, passphrase.passphrase_file.as_deref())?;
            verify(&file, passphrase, output.output).await
        }
        BackupCommand::Restore { file, passphrase, force, output } => {
            let passphrase = passphrase_of(&file, passphrase.passphrase_file.as_deref())?;
            restore(&config, &file, passphrase, force, output.output).await
        }
    }
}

async fn create(
    config: &Config,
    file: &Path,
    passphrase: Option<SecretString>,
    verify: bool,
    without_keys: bool,
    output: BackupOutput,
) -> anyhow::Result<()> {
    ensure_exists(config)?;
    // A node's schema is left to it: a newer build takes the backup before an upgrade.
    let database = Database::open_unmigrated(config).await?;
    let made = async {
        if let Some(backup) = database.store.unfinished_restore().await? {
            bail!("the restore of the backup {backup} into this database did not end well: there is nothing whole to back up");
        }
        let keys = if without_keys { Vec::new() } else { secrets::for_backup(config)? };
        let apks = apk::open_store(&config.settings().runtime.apks)?;
        let archives = Some(config.archive_settings().open_store()?);
        let sources = Sources { store: database.store.clone(), keys, apks, archives };
        let is_encrypted = passphrase.is_some();
        let options = CreateOptions { work_factor: config.backup.work_factor, verify, ..CreateOptions::new(passphrase, &http::build_id()) };
        let created = backup::create(&sources, file, &options, progress("backup")).await?;
        if created.manifest.schema >= RECORDED_SINCE {
            let clock = database.clock().await?;
            let (by, machine) = (console_user(), config.node_name());
            let recorded = actors::backups::record_made(&database.store, &clock, &by, &machine, &created, is_encrypted);
            recorded.await.context("the backup was made, and could not be recorded")?;
        }
        Ok((created, is_encrypted))
    };
    let made = tokio::select! {
        made = made => made,
        stopped = serve::stop_signal() => stopped.map_err(Into::into).and_then(|()| Err(anyhow::anyhow!("stopped: nothing is left of the backup"))),
    };
    database.close().await?;
    let (created, is_encrypted) = made?;
    let Created { file, file_bytes, manifest, digest, is_verified } = &created;
    show(output, &summary(file, *file_bytes, manifest, digest, is_encrypted, *is_verified), || {
        format!("Backed up to {}: {}.", file.display(), told(*file_bytes, manifest, digest))
    })
}

async fn verify(file: &Path, passphrase: Option<SecretString>, output: BackupOutput) -> anyhow::Result<()> {
    let verified = backup::verify(file, passphrase, progress("verify")).await?;
    let (manifest, digest) = (&verified.manifest, &verified.digest);
    show(output, &summary(file, verified.file_bytes, manifest, digest, verified.is_encrypted, true), || {
        format!("{} is whole, of {}: {}.", file.display(), manifest.created_at.to_rfc3339(), told(verified.file_bytes, manifest, digest))
    })
}

async fn restore(config: &Config, file: &Path, passphrase: Option<SecretString>, force: bool, output: BackupOutput) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    // Neither a node of this data folder nor another restore may run.
    let _lock = NodeLock::take(&config.data_dir)?;
    let keys = secrets::for_restore(config)?;
    let apks = apk::open_store(&config.settings().runtime.apks)?;
    let archives = Some(config.archive_settings().open_store()?);
    let database = Database::open_unmigrated(config).await?;
    let restored = async {
        let clock = database.clock().await?;
        let target = Target { store: database.store.clone(), keys, apks, archives, mark: restore_mark(config) };
        let options = RestoreOptions { passphrase, force, by: console_user(), now: clock.now() };
        anyhow::Ok(backup::restore(file, &target, &options, progress("restore")).await?)
    };
    let restored = tokio::select! {
        restored = restored => restored,
        stopped = serve::stop_signal() => {
            stopped.map_err(Into::into).and_then(|()| Err(anyhow::anyhow!("stopped: repeat the restore, or no node starts over what it began")))
        }
    };
    database.close().await?;
    let restored = restored?;
    let (manifest, digest) = (&restored.manifest, &restored.digest);
    let file_bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let mut result = summary(file, file_bytes, manifest, digest, true, true);
    if let Some(result) = result.as_object_mut() {
        result.remove("encrypted");
        result.remove("verified");
        result.insert("sign_ins_ended".to_owned(), json!(restored.sign_ins_ended));
        result.insert("tables_left_out".to_owned(), json!(restored.tables_left_out));
    }
    for table in &restored.tables_left_out {
        eprintln!("warning: the table {table} is none of NexMDM's; its rows were left out");
    }
    if manifest.keys.is_empty() {
        eprintln!("warning: the backup holds no keys: give those of its cluster before a node is started, or devices have to enroll again");
    }
    show(output, &result, || {
        format!(
            "Restored {}: {}. {} sign-ins ended; start the node, and devices go on with their tokens.",
            file.display(),
            told(file_bytes, manifest, digest),
            restored.sign_ins_ended
        )
    })
}

/// The passphrase of a backup that is made: by file, variable or prompt.
fn new_passphrase(file: Option<&Path>) -> anyhow::Result<SecretString> {
    let passphrase = match given_passphrase(file)? {
        Some(passphrase) => passphrase,
        None => {
            let passphrase = prompted("Passphrase: ")?;
            let again = prompted("The same again: ")?;
            if secrecy::ExposeSecret::expose_secret(&passphrase) != secrecy::ExposeSecret::expose_secret(&again) {
                bail!("the two passphrases differ");
            }
            passphrase
        }
    };
    backup::check_passphrase(&passphrase)?;
    Ok(passphrase)
}

/// The passphrase of a backup that is read, if it has one.
fn passphrase_of(backup: &Path, file: Option<&Path>) -> anyhow::Result<Option<SecretString>> {
    if !backup::is_encrypted(backup)? {
        return Ok(None);
    }
    match given_passphrase(file)? {
        Some(passphrase) => Ok(Some(passphrase)),
        None => prompted("Passphrase: ").map(Some),
    }
}

fn given_passphrase(file: Option<&Path>) -> anyhow::Result<Option<SecretString>> {
    if let Some(file) = file {
        return Ok(Some(backup::read_passphrase_file(file).context("--passphrase-file")?));
    }
    match std::env::var(PASSPHRASE) {
        Ok(passphrase) if !passphrase.is_empty() => Ok(Some(passphrase.into())),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{PASSPHRASE} is not UTF-8"),
        _ => Ok(None),
    }
}

fn prompted(question: &str) -> anyhow::Result<SecretString> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "a passphrase is needed: give --passphrase-file, or {PASSPHRASE}");
    Ok(rpassword::prompt_password(question).context("cannot read a passphrase")?.into())
}

/// A result: JSON on standard output, or a sentence, and its problems as warnings.
fn show(output: BackupOutput, result: &Value, sentence: impl FnOnce() -> String) -> anyhow::Result<()> {
    for problem in result["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {problem}");
    }
    let mut out = std::io::stdout().lock();
    match output {
        BackupOutput::Json => writeln!(out, "{result}")?,
        BackupOutput::Text => writeln!(out, "{}", sentence())?,
    }
    Ok(out.flush()?)
}

fn summary(file: &Path, file_bytes: u64, manifest: &Manifest, digest: &Digest, is_encrypted: bool, is_verified: bool) -> Value {
    json!({
        "file": file.display().to_string(),
        "bytes": file_bytes,
        "created_at": manifest.created_at,
        "version": manifest.version,
        "schema": manifest.schema,
        "cluster": manifest.cluster,
        "devices": manifest.devices,
        "tables": manifest.tables.len(),
        "rows": digest.rows(),
        "keys": manifest.keys,
        "apks": digest.count_in("apks"),
        "archives": digest.count_in("archives"),
        "encrypted": is_encrypted,
        "verified": is_verified,
        "problems": digest.problems,
    })
}

fn told(file_bytes: u64, manifest: &Manifest, digest: &Digest) -> String {
    format!(
        "{} devices, {} rows of {} tables, {} keys, {} APKs, {} archives; {file_bytes} bytes",
        manifest.devices,
        digest.rows(),
        manifest.tables.len(),
        manifest.keys.len(),
        digest.count_in("apks"),
        digest.count_in("archives"),
    )
}

/// Progress on standard error: one line that is written over on a terminal, now and then one in a log.
fn progress(what: &'static str) -> Progress {
    let is_terminal = std::io::stderr().is_terminal();
    let interval = PROGRESS_INTERVALS[usize::from(!is_terminal)];
    let last = Mutex::new(Instant::now());
    Arc::new(move |entry, bytes| {
        // A time is whole after each change.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < interval {
            return;
        }
        *last = Instant::now();
        let megabytes = bytes >> 20;
        let mut err = std::io::stderr().lock();
        // Nobody is told of a line that could not be shown.
        let _ = match is_terminal {
            true => write!(err, "\r\x1b[K{what}: {megabytes} MiB, {entry}\r"),
            false => writeln!(err, "{what}: {megabytes} MiB, {entry}"),
        };
    })
}
