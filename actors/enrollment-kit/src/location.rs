//! The places where a node looks for the agent's APK.

use std::path::{Path, PathBuf};

/// The APK within the data folder.
const DATA_FOLDER_FILE: &str = "agent/nexmdm-agent.apk";
/// Output of `make agent-release` within a checkout.
const RELEASE_BUILD_FILE: &str = "android-agent/out/nexmdm-agent-release.apk";
/// Output of `make agent` within a checkout.
const DEBUG_BUILD_FILE: &str = "android-agent/out/nexmdm-agent-debug.apk";

/// Remedy for a node without an APK of the agent: text, as a literal so that refusals can be put together from it.
#[macro_export]
macro_rules! how_to_get_one {
    () => {
        "build it with `make agent` in the checkout, put it into the data folder as agent/nexmdm-agent.apk, or set \
         enrollment.agent_apk_file to its path"
    };
}

/// Origin of the agent's APK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ApkSource {
    /// The path of `enrollment.agent_apk_file`.
    Setting,
    /// The data folder of the node.
    DataFolder,
    /// A release build in the checkout that the node was started in.
    ReleaseBuild,
    /// A debug build there.
    DebugBuild,
}

impl ApkSource {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A path where the APK may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkLocation {
    /// Reason for looking there.
    pub source: ApkSource,
    /// The file; a relative path is relative to the working folder of the node.
    pub file: PathBuf,
}

/// The places in the order in which they are tried; the first file that exists is the agent's APK. The setting, where there is
/// one, is the only place: what it names is wanted, and a missing file is a mistake to be told.
pub fn locations(setting: Option<&Path>, data_dir: &Path) -> Vec<ApkLocation> {
    let location = |source, file: PathBuf| ApkLocation { source, file };
    match setting {
        Some(file) => vec![location(ApkSource::Setting, file.to_owned())],
        None => vec![
            location(ApkSource::DataFolder, data_dir.join(DATA_FOLDER_FILE)),
            location(ApkSource::ReleaseBuild, RELEASE_BUILD_FILE.into()),
            location(ApkSource::DebugBuild, DEBUG_BUILD_FILE.into()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_the_only_place_and_without_it_the_data_folder_comes_first() {
        let files = |setting: Option<&str>| -> Vec<_> {
            let locations = locations(setting.map(Path::new), Path::new("/var/lib/nexmdm"));
            locations.into_iter().map(|location| (location.source, location.file.to_string_lossy().into_owned())).collect()
        };
        assert_eq!(files(Some("/srv/agent.apk")), [(ApkSource::Setting, "/srv/agent.apk".to_owned())]);
        assert_eq!(
            files(None),
            [
                (ApkSource::DataFolder, "/var/lib/nexmdm/agent/nexmdm-agent.apk".to_owned()),
                (ApkSource::ReleaseBuild, "android-agent/out/nexmdm-agent-release.apk".to_owned()),
                (ApkSource::DebugBuild, "android-agent/out/nexmdm-agent-debug.apk".to_owned()),
            ]
        );
    }
}
