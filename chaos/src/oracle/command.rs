//! `chaos oracle`: checks a finished run.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{History, judge, read_archives, read_rows};
use crate::harness::Psql;

/// Arguments of `chaos oracle`.
#[derive(Debug, Clone, Args)]
pub struct OracleArgs {
    /// Record files of `chaos fleet --record`, and `requests.jsonl` of `chaos cluster`; repeatable or comma-separated
    #[arg(long, value_name = "FILE", required = true, value_delimiter = ',')]
    pub record: Vec<PathBuf>,
    /// Database URL; printed by `chaos cluster`
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// State folder of the fleet, with the keys to verify signatures
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Injected faults: `faults.json` in the folder of `chaos cluster`
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Folder of the archives, as `archive.url` of the nodes; without it archived rows are not counted
    #[arg(long, value_name = "DIR")]
    pub archives: Option<PathBuf>,
    /// Output file for the verdict (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Prints the verdict; true when every promise was kept.
pub async fn run(args: OracleArgs) -> Result<bool> {
    let mut history = History::default();
    for record in &args.record {
        history.read_record(record)?;
    }
    if let Some(folder) = &args.state_dir {
        history.read_state_dir(folder)?;
    }
    if let Some(path) = &args.faults {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let spans: Vec<_> = serde_json::from_slice(&bytes).with_context(|| format!("{} is not understood", path.display()))?;
        history.add_faults(&spans);
    }
    let psql = Psql::of_url(&args.database_url);
    read_rows(&mut history, &psql).await?;
    if let Some(folder) = &args.archives {
        read_archives(&mut history, &psql, folder).await?;
    }
    let verdict = judge(&history);
    println!("{verdict}");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&verdict)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(verdict.violations() == 0)
}
