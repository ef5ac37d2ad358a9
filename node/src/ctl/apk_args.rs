//! Arguments of `nexmdm ctl apks` and `nexmdm ctl packages`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum ApkCommand {
    /// List APKs, newest first
    List {
        /// Only of this package
        #[arg(long)]
        package: Option<String>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Upload an APK in parts; what breaks off goes on where it was
    Upload {
        /// The file
        file: PathBuf,
        /// Id of the older APK that it brings back
        #[arg(long, value_name = "ID")]
        rollback_of: Option<String>,
        /// For people
        #[arg(long, default_value = "")]
        notes: String,
        /// Id of an upload of the same file that broke off
        #[arg(long, value_name = "UPLOAD")]
        resume: Option<String>,
    },
    /// Read and verify a file of this machine as the server would; needs no server
    Inspect {
        /// The file
        file: PathBuf,
    },
    /// One APK, and what uses it
    Show {
        /// Its id
        id: String,
    },
    /// Delete an APK that nothing uses
    Delete {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// An address that the file can be fetched from for a while, by whoever has it
    DownloadUrl {
        /// Its id
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum PackageCommand {
    /// List the packages that may be deployed
    List,
    /// Allow a package, or change who may sign it
    Allow {
        /// Its name
        package: String,
        /// SHA-256 of a certificate that may sign it; may be given again
        #[arg(long, required = true, value_name = "HEX")]
        signer: Vec<String>,
        /// For people
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Manage a package no longer
    Remove {
        /// Its name
        package: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
