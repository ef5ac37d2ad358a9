//! Arguments of `nexmdm backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Subcommands for backups.
#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Create a backup while the server runs. It is encrypted with a passphrase, and appears under its name once it is whole.
    Create {
        /// File to create; it must not exist.
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Read it back and compare every digest before it gets its name.
        #[arg(long)]
        verify: bool,
        /// Leave the keys of the cluster out: a restore then needs them from elsewhere.
        #[arg(long)]
        without_keys: bool,
        /// Do not encrypt it. Only with --without-keys or --keys-in-clear.
        #[arg(long, conflicts_with = "passphrase_file")]
        unencrypted: bool,
        /// Keys in an unencrypted backup: whoever reads it can act as the server.
        #[arg(long, requires = "unencrypted", conflicts_with = "without_keys")]
        keys_in_clear: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Verify a backup: every digest, count and name, and whether this build could restore it. Needs no database.
    Verify {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Restore a backup into the database and data folder of this configuration. No node may run over them.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Lose what the database holds, and replace keys that differ.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// The passphrase. Never an argument: other users of the machine see those.
#[derive(Args)]
pub(crate) struct PassphraseArgs {
    /// File with the passphrase in its first line, mode 0600 [default: the variable NEXMDM_BACKUP_PASSPHRASE, or a prompt].
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Form of the result.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Form of the result on standard output.
    #[arg(long, value_enum, default_value_t = BackupOutput::Text)]
    pub(crate) output: BackupOutput,
}

/// Forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackupOutput {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}
