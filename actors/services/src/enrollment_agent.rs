//! The agent that new devices get from this node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::ServiceError;
use domain::access::{Permission, Principal};
use enrollment_kit::PACKAGE;
use enrollment_kit::agent_apk::ApkFacts;
use enrollment_kit::how_to_get_one;
use enrollment_kit::location::ApkSource;

use super::EnrollmentService;
use super::agent_builds::{AgentBuildService, AgentUpdate};

/// The agent that scripts and codes install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentAgent {
    /// APK; `None`: this node has none.
    pub apk: Option<EnrollmentApk>,
    /// Reason why new devices cannot be enrolled with it, and the remedy.
    pub problem: Option<String>,
    /// Builds that devices update themselves to after enrollment, the newest first.
    pub updates: Vec<AgentUpdate>,
}

/// The APK of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentApk {
    /// Setting or folder that names the location.
    pub source: ApkSource,
    /// Path on the node, for principals that manage agent builds.
    pub file: Option<PathBuf>,
    /// Properties; `None`: it cannot be read.
    pub facts: Option<Arc<ApkFacts>>,
    /// SHA-256 of the certificate that codes name as its signer.
    pub signer_sha256: Option<[u8; 32]>,
}

impl EnrollmentService {
    /// The agent that new devices get, as this node has it now.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn agent(&self, principal: &Principal, builds: &AgentBuildService) -> Result<EnrollmentAgent, ServiceError> {
        principal.require(Permission::ViewEnrollment)?;
        let Some(location) = self.kit.apk.location().await else {
            let problem = Some(concat!("this node has no agent APK: ", how_to_get_one!()).to_owned());
            return Ok(EnrollmentAgent { apk: None, problem, updates: Vec::new() });
        };
        let read = self.kit.apk.read(location).await;
        let facts = read.as_ref().ok();
        let version = facts.and_then(|facts| facts.version.as_ref().ok()).filter(|version| version.package == PACKAGE);
        Ok(EnrollmentAgent {
            problem: problem(location.source, &read),
            updates: version.map(|version| builds.updates_from(version.version_code)).unwrap_or_default(),
            apk: Some(EnrollmentApk {
                source: location.source,
                file: principal.may(Permission::ManageAgentBuilds).then(|| absolute(&location.file)),
                signer_sha256: self.kit.configured_signer.or(facts.and_then(|facts| facts.signer_sha256)),
                facts: facts.cloned(),
            }),
        })
    }
}

/// The path, whatever folder it is read in.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Problem of an APK that was found.
fn problem(source: ApkSource, read: &Result<Arc<ApkFacts>, Arc<str>>) -> Option<String> {
    match read {
        Err(cause) if source == ApkSource::Setting => Some(format!("the file of enrollment.agent_apk_file cannot be read: {cause}")),
        Err(cause) => Some(format!("the agent APK cannot be read: {cause}")),
        Ok(facts) => match &facts.version {
            Err(problem) => Some(format!("devices will reject the agent APK: {problem}")),
            Ok(version) if version.package != PACKAGE => Some(format!(
                concat!("the APK is one of {}, not of the agent {}; to get the agent, ", how_to_get_one!()),
                version.package, PACKAGE
            )),
            Ok(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enrollment_kit::agent_apk::ApkVersion;

    #[test]
    fn what_is_wrong_is_said_and_a_good_agent_has_no_problem() {
        let of_package = |package: &str| {
            let version = ApkVersion { package: package.into(), version_code: 1, version_name: "1.0".into(), debuggable: Some(false) };
            Ok(Arc::new(ApkFacts { sha256: "00".into(), size: 1, signer_sha256: None, version: Ok(version) }))
        };
        assert_eq!(problem(ApkSource::DataFolder, &of_package(PACKAGE)), None);
        let other = problem(ApkSource::DataFolder, &of_package("com.example.till")).unwrap();
        assert!(other.contains("com.example.till") && other.contains("make agent"), "{other}");
        let unsigned = Ok(Arc::new(ApkFacts { sha256: "00".into(), size: 1, signer_sha256: None, version: Err("not signed".into()) }));
        assert!(problem(ApkSource::DataFolder, &unsigned).unwrap().contains("not signed"));
        let unreadable = Err("Permission denied".into());
        assert!(problem(ApkSource::Setting, &unreadable).unwrap().contains("enrollment.agent_apk_file cannot be read: Permission denied"));
        assert!(!problem(ApkSource::DataFolder, &unreadable).unwrap().contains("enrollment.agent_apk_file"));
    }
}
