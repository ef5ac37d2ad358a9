//! `ctl apks inspect`: a file of this machine, read and verified as the server does it with an upload. Asks no node.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use apk::reader;
use serde_json::{Value, json};

use super::args::Format;
use super::output::{self, Column};

const FACTS: &[Column] = &[
    ("Package", "/package"),
    ("Version code", "/version_code"),
    ("Version", "/version_name"),
    ("Label", "/label"),
    ("Min API level", "/min_sdk"),
    ("Target API level", "/target_sdk"),
    ("Native ABIs", "/native_abis"),
    ("Signed by", "/signers_sha256"),
    ("Rotated keys", "/lineage_sha256"),
];

/// `ctl apks inspect FILE`.
pub(super) async fn run(format: Format, path: PathBuf) -> anyhow::Result<()> {
    let facts = tokio::task::spawn_blocking(move || inspect(&path)).await??;
    output::one(format, &facts, FACTS)
}

fn inspect(path: &Path) -> anyhow::Result<Value> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let facts = reader::read(&file).map_err(|refusal| anyhow::anyhow!("{}: {refusal}", path.display()))?;
    Ok(json!({
        "package": facts.package, "version_code": facts.version_code, "version_name": facts.version_name, "label": facts.label,
        "min_sdk": facts.min_sdk, "target_sdk": facts.target_sdk, "native_abis": facts.native_abis,
        "signers_sha256": facts.signing.signers, "lineage_sha256": facts.signing.lineage
    }))
}
