//! The commands that `exec` may run.

use domain::Timestamp;
use domain::access::Principal;
use domain::action::{AllowedExecCommand, ExecCommand};
use domain::audit::{AuditAction, Target};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::cluster_lock::hold_limit;
use crate::{Store, StoreError};

impl Store {
    /// Every allowed command, by name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn exec_commands(&self) -> Result<Vec<AllowedExecCommand>, StoreError> {
        let rows = sqlx::query!("SELECT name, argv, description, updated_by, updated_at FROM exec_command ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        let command = |name, argv, description| ExecCommand { name, argv, description };
        Ok(rows
            .into_iter()
            .map(|row| AllowedExecCommand {
                command: command(row.name, row.argv, row.description),
                updated_by: row.updated_by,
                updated_at: row.updated_at,
            })
            .collect())
    }

    /// An allowed command.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn exec_command(&self, name: &str) -> Result<Option<ExecCommand>, StoreError> {
        let row = sqlx::query!("SELECT name, argv, description FROM exec_command WHERE name = $1", name).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| ExecCommand { name: row.name, argv: row.argv, description: row.description }))
    }

    /// Allows a command, or changes it. `false`: there would be more than `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_exec_command(&self, command: &ExecCommand, by: &Principal, now: Timestamp, most: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        hold_limit(&mut tx, "exec_command").await?;
        let before = sqlx::query!("SELECT argv, description FROM exec_command WHERE name = $1 FOR UPDATE", command.name)
            .fetch_optional(&mut *tx)
            .await?;
        let put = sqlx::query!(
            "INSERT INTO exec_command (name, argv, description, updated_by, updated_at)
             SELECT $1, $2, $3, $4, $5
             WHERE (SELECT count(*) FROM exec_command) < $6 OR EXISTS (SELECT FROM exec_command WHERE name = $1)
             ON CONFLICT (name) DO UPDATE SET argv = excluded.argv, description = excluded.description,
                 updated_by = excluded.updated_by, updated_at = excluded.updated_at",
            command.name,
            &command.argv,
            command.description,
            by.username(),
            now,
            most
        );
        if put.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let mut entry = AuditEntry::new(by, AuditAction::ExecCommandAllowed, target(&command.name));
        if let Some(before) = before {
            entry = entry.before(json!({ "argv": before.argv, "description": before.description }));
        }
        append(&mut tx, &entry.after(json!({ "argv": command.argv, "description": command.description })), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Removes an allowed command. `false`: there is none of this name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_exec_command(&self, name: &str, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let gone =
            sqlx::query!("DELETE FROM exec_command WHERE name = $1 RETURNING argv, description", name).fetch_optional(&mut *tx).await?;
        let Some(gone) = gone else { return Ok(false) };
        let entry = AuditEntry::new(by, AuditAction::ExecCommandRemoved, target(name));
        append(&mut tx, &entry.before(json!({ "argv": gone.argv, "description": gone.description })), now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn target(name: &str) -> Target {
    Target::Other { kind: "exec_command", id: None, name: Some(name.to_owned()) }
}
