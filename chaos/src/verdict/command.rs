//! `chaos judge`: judges a run again from its record.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::files::VERDICT_TXT;
use super::{Outcome, judge};

/// Arguments of `chaos judge`.
#[derive(Debug, Clone, Args)]
pub struct JudgeArgs {
    /// Folder of the run: `--out` of `chaos run`
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Prints the verdict and writes it anew.
///
/// # Errors
/// The folder has no whole record.
pub fn run(args: &JudgeArgs) -> Result<Outcome> {
    let (_, verdict) = judge(&args.dir)?;
    let path = args.dir.join(VERDICT_TXT);
    print!("{}", std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    Ok(verdict.outcome)
}
