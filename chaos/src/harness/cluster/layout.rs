//! Names, ports and secrets of a cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::harness::free_port;

/// Shared keys of a cluster, stored beside its data.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) admin_password: String,
    pub(super) master_key: String,
    pub(super) jwt_key: String,
    pub(super) cluster_key: String,
}

pub(super) fn node_name(index: usize) -> String {
    // Two digits would not sort as text does.
    format!("node-{}", char::from_digit(index as u32 + 1, 36).unwrap_or('z'))
}

/// Index of a node of [`node_name`].
pub(super) fn node_index(name: &str) -> Option<usize> {
    (0..36).find(|index| node_name(*index) == name)
}

pub(super) fn distinct_ports(count: usize) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = free_port()?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// The shared keys: those of an earlier run in the same folder, or new ones.
pub(super) fn secrets(folder: &Path) -> Result<Secrets> {
    let path = folder.join("cluster.json");
    if let Ok(bytes) = fs::read(&path) {
        return serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()));
    }
    let key = || rand::rng().random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let admin_password = key()[..20].to_owned();
    let secrets = Secrets { admin_password, master_key: key(), jwt_key: key(), cluster_key: key() };
    fs::write(&path, serde_json::to_vec_pretty(&secrets)?)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn names_sort_in_the_order_nodes_are_added_and_pairs_have_one_order() {
        let names: Vec<String> = (0..13).map(node_name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!((names[0].as_str(), names[2].as_str()), ("node-1", "node-3"));
        assert!(names.iter().enumerate().all(|(index, name)| node_index(name) == Some(index)));
        assert_eq!(node_index("somebody"), None);
    }

    #[test]
    fn a_second_run_has_the_secrets_of_the_first() {
        let folder = TempDir::new("secrets").unwrap();
        let first = secrets(folder.path()).unwrap();
        let second = secrets(folder.path()).unwrap();
        assert_eq!((first.master_key.len(), &first.cluster_key), (64, &second.cluster_key));
        assert_eq!(fs::metadata(folder.path().join("cluster.json")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
