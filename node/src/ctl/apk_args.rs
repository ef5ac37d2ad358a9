//! Arguments of `nexmdm ctl apks` and `nexmdm ctl packages`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum ApkCommand {
    /// List APKs, newest first
    List {
        /// Only this package
        #[arg(long)]
        package: Option<String>,
        /// Maximum number of rows; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Upload an APK in parts; an interrupted upload can be resumed
    Upload {
        /// APK file
        file: PathBuf,
        /// Id of the older APK that this file is the rollback build of
        #[arg(long, value_name = "ID")]
        rollback_of: Option<String>,
        /// Internal note
        #[arg(long, default_value = "")]
        notes: String,
        /// Id of an interrupted upload of the same file, to resume it
        #[arg(long, value_name = "UPLOAD")]
        resume: Option<String>,
    },
    /// List unfinished uploads, newest first: everybody's for those who manage packages, else one's own
    Uploads,
    /// Abort an unfinished upload and free its place
    RemoveUpload {
        /// Upload id
        id: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Read and verify a local file as the server does; offline
    Inspect {
        /// APK file
        file: PathBuf,
    },
    /// Show an APK and its uses
    Show {
        /// APK id
        id: String,
    },
    /// Delete an unused APK
    Delete {
        /// APK id
        id: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Create a signed download URL with a limited lifetime
    DownloadUrl {
        /// APK id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum PackageCommand {
    /// List managed packages
    List,
    /// Allow a package, or change its signers
    Allow {
        /// Package name
        package: String,
        /// SHA-256 of an allowed signer certificate; repeatable
        #[arg(long, required = true, value_name = "HEX")]
        signer: Vec<String>,
        /// Internal note
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Remove a managed package
    Remove {
        /// Package name
        package: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}
