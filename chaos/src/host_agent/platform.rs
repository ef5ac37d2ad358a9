//! State of the simulated platform of a host agent: the folder `platform`, which survives kills and is independent of the
//! agent.

use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Action that the platform performed for the agent.
#[derive(Debug, Clone, Deserialize)]
pub struct PlatformAction {
    /// Time.
    pub ts: DateTime<Utc>,
    /// Name of the action, such as `ring`.
    pub action: String,
    /// Recorded parameters, without secrets.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// All actions of a state folder, the oldest first; a truncated line is skipped.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_actions(state_dir: &Path) -> Result<Vec<PlatformAction>> {
    let path = state_dir.join("platform/actions.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The version code of an installed app.
pub fn installed_version(state_dir: &Path, package: &str) -> Option<i64> {
    let apps: Value = serde_json::from_slice(&std::fs::read(state_dir.join("platform/apps.json")).ok()?).ok()?;
    apps[package]["version_code"].as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn actions_and_apps_are_read() {
        let folder = TempDir::new("platform").unwrap();
        assert!(read_actions(folder.path()).unwrap().is_empty() && installed_version(folder.path(), "com.nexmdm").is_none());
        std::fs::create_dir(folder.path().join("platform")).unwrap();
        std::fs::write(folder.path().join("platform/apps.json"), r#"{"com.nexmdm":{"version_code":120,"version_name":"1.0.120"}}"#)
            .unwrap();
        assert_eq!(installed_version(folder.path(), "com.nexmdm"), Some(120));
        let lines = "{\"ts\":\"2026-11-21T15:36:17.001Z\",\"action\":\"ring\",\"duration_s\":3}\n{\"ts\":\"2026-11-21T15:36:18Z\",\"act";
        std::fs::write(folder.path().join("platform/actions.jsonl"), lines).unwrap();
        let actions = read_actions(folder.path()).unwrap();
        assert!(actions.len() == 1 && actions[0].action == "ring" && actions[0].fields["duration_s"] == 3, "{actions:?}");
    }
}
