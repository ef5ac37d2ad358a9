//! Archives in the way of a day's archive that nothing recorded explains, or that cannot be read.

use archive::ArchiveError;
use domain::partition::ArchiveRecord;

use super::Working;
use crate::partition::Manager;
use crate::partition::report::PartitionError;

impl Manager {
    /// Keeps the rows of an archive that nothing here vouches for before it is replaced: brings them into the table. Answers whether it could be read;
    /// one that cannot is set aside.
    pub(super) async fn take_over(&self, working: &Working<'_>, recorded: Option<&ArchiveRecord>) -> Result<bool, PartitionError> {
        let damage = match self.archives.rows(&working.name(), None).await {
            Ok(archived) => {
                self.insert_archived(working, archived).await?;
                None
            }
            Err(error) if error.is_damage() => Some(error),
            Err(error) => return Err(error.into()),
        };
        self.has_archived(working, recorded).await?;
        if let Some(error) = &damage {
            self.set_aside(working, error).await?;
        }
        Ok(damage.is_none())
    }

    /// Refuses to go on where the table has fewer rows than were archived, as an earlier version of the archive would leave it: then the record is all
    /// that tells of the others. Rows of a table become more, and never fewer.
    pub(super) async fn has_archived(&self, working: &Working<'_>, recorded: Option<&ArchiveRecord>) -> Result<(), PartitionError> {
        let Some(recorded) = recorded else { return Ok(()) };
        let found = self.table_digest(working).await?.rows;
        if found >= recorded.rows {
            return Ok(());
        }
        let problem = format!(
            "the table has {found} rows, and {} are archived with the file digest {}, which is not what the store has: nothing is replaced",
            recorded.rows, recorded.sha256
        );
        Err(PartitionError::refused(working.day, problem))
    }

    /// Moves a damaged archive out of the way.
    pub(super) async fn set_aside(&self, working: &Working<'_>, damage: &ArchiveError) -> Result<(), PartitionError> {
        let aside = self.archives.set_aside(&working.name()).await?;
        tracing::warn!(event = "archive.set_aside", day = %working.day, aside, cause = %damage);
        Ok(())
    }
}
