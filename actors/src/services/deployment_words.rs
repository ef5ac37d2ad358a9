//! What devices say of their deployments: on record before it is acknowledged.

use store::{DeploymentWord, WordTaken};

use super::AgentService;
use crate::ServiceError;
use crate::messages::DeviceCredentials;

impl AgentService {
    /// Puts a device's word on record; answers after commit. The same again changes nothing. A device that is refused here
    /// does not go on.
    ///
    /// # Errors
    /// The credentials no longer hold or are another device's, the device is deleted, it has no such deployment, the word is refused,
    /// or the database is unavailable.
    pub async fn take_deployment_word(&self, credentials: DeviceCredentials, word: DeploymentWord) -> Result<(), ServiceError> {
        if word.device != credentials.device_id {
            return Err(ServiceError::ForeignDevice);
        }
        self.check(credentials).await?;
        match self.deployments.take(word).await? {
            WordTaken::Changed { .. } | WordTaken::Nothing => Ok(()),
            WordTaken::Refused(refusal) => Err(ServiceError::DeploymentRefused(refusal)),
            WordTaken::Unknown => Err(ServiceError::NotFound("deployment of this device")),
        }
    }
}
