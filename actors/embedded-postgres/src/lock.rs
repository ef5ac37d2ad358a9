//! File locks that the kernel lets go of when their process dies.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::paths::LockFile;
use super::{Deadline, EmbeddedError, blocking};

/// flock(2) knows no timeout, so a wait with a deadline has to ask again and again.
const RETRY_INTERVAL: Duration = Duration::from_millis(25);

/// A held flock(2), given up on drop.
#[derive(Debug)]
pub(super) struct FileLock {
    fd: OwnedFd,
    file: LockFile,
}

impl FileLock {
    /// Waits until nobody else holds `file` in any way.
    pub(super) async fn exclusive(file: LockFile, deadline: Deadline) -> Result<Self, EmbeddedError> {
        Self::acquire(file, FlockOperation::NonBlockingLockExclusive, deadline).await
    }

    /// Waits until nobody holds `file` exclusively.
    pub(super) async fn shared(file: LockFile, deadline: Deadline) -> Result<Self, EmbeddedError> {
        Self::acquire(file, FlockOperation::NonBlockingLockShared, deadline).await
    }

    async fn acquire(file: LockFile, operation: FlockOperation, deadline: Deadline) -> Result<Self, EmbeddedError> {
        let (fd, file) = blocking(move || Ok((file.open()?, file))).await?;
        loop {
            match flock(&fd, operation) {
                Ok(()) => return Ok(Self { fd, file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(EmbeddedError::io("lock", file.path())(error.into())),
            }
            if deadline.is_over() {
                let what = format!("another process that is starting or stopping PostgreSQL ({} is locked)", file.path().display());
                return Err(deadline.error(what, String::new()));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Turns a shared lock into an exclusive one if nobody else holds it. On `false` nothing may
    /// be held any more: the kernel lets go of the old lock first.
    pub(super) fn try_upgrade(&self) -> Result<bool, EmbeddedError> {
        match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(EmbeddedError::io("lock", self.file.path())(error.into())),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would keep the lock while a child between fork and exec has a copy.
        let _ = flock(&self.fd, FlockOperation::Unlock);
    }
}
