//! Canonical forms of names that have none: of earlier builds, or of nodes that still run one.

use std::collections::HashMap;

use domain::name::{Assigned, CanonicalName, Unassigned, assign};
use uuid::Uuid;

use crate::pool::Connection;
use crate::{Store, StoreError};

/// Setting of a connection that keeps the canonical columns; the triggers of the schema look at it.
pub(crate) const KEEPS_CANONICAL_NAMES: (&str, &str) = ("nexmdm.canonical_names", "on");
/// Serializes the nodes that start together.
const LOCK: i64 = 0x6e65_786d_646d_0d01;
/// Rows of a statement.
const BATCH: i64 = 5000;

/// A name whose canonical form another name has already; both stay usable as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameCollision {
    /// `account`, `alias` or `saved filter`.
    pub kind: &'static str,
    /// The later one.
    pub name: String,
    /// The one that has the form.
    pub first: String,
}

struct Row {
    scope: Uuid,
    id: Uuid,
    name: String,
}

type Taken = HashMap<(Uuid, CanonicalName), String>;

fn unassigned(rows: Vec<Row>) -> Vec<Unassigned<Uuid, Uuid>> {
    rows.into_iter().map(|Row { scope, id, name }| Unassigned { scope, id, name }).collect()
}

fn forms(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| CanonicalName::of(&row.name).into_string()).collect()
}

/// The names that have a form already. A form that is set apart is nobody else's.
fn taken(rows: Vec<Row>) -> Taken {
    rows.into_iter().map(|row| ((row.scope, CanonicalName::of(&row.name)), row.name)).collect()
}

fn columns(assigned: &[Assigned<Uuid>]) -> (Vec<Uuid>, Vec<String>) {
    assigned.iter().map(|one| (one.id, one.canonical.clone())).unzip()
}

fn collisions(kind: &'static str, assigned: Vec<Assigned<Uuid>>) -> impl Iterator<Item = NameCollision> {
    assigned.into_iter().filter_map(|one| one.collision).map(move |(name, first)| NameCollision { kind, name, first })
}

/// Canonical forms of tags or groups, for a column of arrays.
pub(crate) fn canonical_labels(labels: &[String]) -> Vec<String> {
    labels.iter().map(|label| CanonicalName::of(label).into_string()).collect()
}

impl Store {
    /// Gives every name without a canonical form one, and tries again those that were set apart: the other may be gone.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn assign_canonical_names(&self) -> Result<Vec<NameCollision>, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK).execute(&mut *tx).await?;
        let mut notified: Vec<_> = collisions("account", accounts(&mut tx).await?).collect();
        notified.extend(collisions("alias", aliases(&mut tx).await?));
        notified.extend(collisions("saved filter", saved_filters(&mut tx).await?));
        tx.commit().await?;
        let mut after = Uuid::nil();
        while let Some(last) = self.assign_labels(after).await? {
            after = last;
        }
        self.assign_audit_names().await?;
        Ok(notified)
    }

    /// Canonical forms of tags and groups, of the devices behind `after`. Returns the last of them, if there are any.
    async fn assign_labels(&self, after: Uuid) -> Result<Option<Uuid>, StoreError> {
        let rows = sqlx::query!(
            "SELECT device_id, tags, groups FROM device WHERE (tags_canonical IS NULL OR groups_canonical IS NULL) AND device_id > $2
             ORDER BY device_id LIMIT $1",
            BATCH,
            after
        );
        let rows = rows.fetch_all(&self.pool).await?;
        let Some(last) = rows.last().map(|row| row.device_id) else { return Ok(None) };
        let ids: Vec<_> = rows.iter().map(|row| row.device_id).collect();
        let json = |labels: &[String]| serde_json::json!(labels).to_string();
        let columns = |of: fn(&[String]) -> Vec<String>, labels: Vec<&Vec<String>>| -> Vec<String> {
            labels.into_iter().map(|labels| json(&of(labels))).collect()
        };
        let tags = || rows.iter().map(|row| &row.tags).collect();
        let groups = || rows.iter().map(|row| &row.groups).collect();
        sqlx::query!(
            // Not those that were changed in between, whose columns are filled already, or by the next start.
            "UPDATE device d SET tags_canonical = ARRAY(SELECT jsonb_array_elements_text(e.tags_canonical::jsonb)),
                 groups_canonical = ARRAY(SELECT jsonb_array_elements_text(e.groups_canonical::jsonb))
             FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
                 AS e(device_id, tags, groups, tags_canonical, groups_canonical)
             WHERE d.device_id = e.device_id AND d.tags = ARRAY(SELECT jsonb_array_elements_text(e.tags::jsonb))
                 AND d.groups = ARRAY(SELECT jsonb_array_elements_text(e.groups::jsonb))",
            &ids,
            &columns(<[String]>::to_vec, tags()),
            &columns(<[String]>::to_vec, groups()),
            &columns(canonical_labels, tags()),
            &columns(canonical_labels, groups())
        )
        .execute(&self.pool)
        .await?;
        Ok(Some(last))
    }

    /// Canonical forms of the names of the audit trail.
    pub(crate) async fn assign_audit_names(&self) -> Result<(), StoreError> {
        loop {
            let names = sqlx::query_scalar!("SELECT name FROM audit_name WHERE canonical IS NULL LIMIT $1", BATCH);
            let names = names.fetch_all(&self.pool).await?;
            if names.is_empty() {
                return Ok(());
            }
            let forms: Vec<_> = names.iter().map(|name| CanonicalName::of(name).into_string()).collect();
            sqlx::query!(
                "UPDATE audit_name a SET canonical = f.canonical FROM UNNEST($1::text[], $2::text[]) AS f(name, canonical)
                 WHERE a.name = f.name",
                &names,
                &forms
            )
            .execute(&self.pool)
            .await?;
        }
    }
}

async fn accounts(connection: &mut Connection) -> Result<Vec<Assigned<Uuid>>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT '00000000-0000-0000-0000-000000000000'::uuid AS "scope!", user_id AS id, username AS name FROM app_user
           WHERE username_canonical IS NULL OR strpos(username_canonical, chr(1)) > 0 ORDER BY created_at, user_id FOR NO KEY UPDATE"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let holders = sqlx::query_as!(
        Row,
        r#"SELECT '00000000-0000-0000-0000-000000000000'::uuid AS "scope!", user_id AS id, username AS name FROM app_user
           WHERE username_canonical = ANY($1)"#,
        &forms(&rows)
    );
    let assigned = assign(unassigned(rows), taken(holders.fetch_all(&mut *connection).await?));
    let (ids, forms) = columns(&assigned);
    sqlx::query!(
        "UPDATE app_user u SET username_canonical = f.canonical FROM UNNEST($1::uuid[], $2::text[]) AS f(id, canonical)
         WHERE u.user_id = f.id AND u.username_canonical IS DISTINCT FROM f.canonical",
        &ids,
        &forms
    )
    .execute(connection)
    .await?;
    Ok(assigned)
}

async fn aliases(connection: &mut Connection) -> Result<Vec<Assigned<Uuid>>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT '00000000-0000-0000-0000-000000000000'::uuid AS "scope!", device_id AS id, alias AS name FROM device
           WHERE deleted_at IS NULL AND (alias_canonical IS NULL OR strpos(alias_canonical, chr(1)) > 0)
           ORDER BY enrolled_at, device_id FOR NO KEY UPDATE"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let holders = sqlx::query_as!(
        Row,
        r#"SELECT '00000000-0000-0000-0000-000000000000'::uuid AS "scope!", device_id AS id, alias AS name FROM device
           WHERE deleted_at IS NULL AND alias_canonical = ANY($1)"#,
        &forms(&rows)
    );
    let assigned = assign(unassigned(rows), taken(holders.fetch_all(&mut *connection).await?));
    let (ids, forms) = columns(&assigned);
    sqlx::query!(
        "UPDATE device d SET alias_canonical = f.canonical FROM UNNEST($1::uuid[], $2::text[]) AS f(id, canonical)
         WHERE d.device_id = f.id AND d.alias_canonical IS DISTINCT FROM f.canonical",
        &ids,
        &forms
    )
    .execute(connection)
    .await?;
    Ok(assigned)
}

async fn saved_filters(connection: &mut Connection) -> Result<Vec<Assigned<Uuid>>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT owner AS scope, saved_filter_id AS id, name FROM saved_filter
         WHERE name_canonical IS NULL OR strpos(name_canonical, chr(1)) > 0 ORDER BY created_at, saved_filter_id FOR NO KEY UPDATE"
    )
    .fetch_all(&mut *connection)
    .await?;
    let holders = sqlx::query_as!(
        Row,
        "SELECT owner AS scope, saved_filter_id AS id, name FROM saved_filter WHERE name_canonical = ANY($1)",
        &forms(&rows)
    );
    let assigned = assign(unassigned(rows), taken(holders.fetch_all(&mut *connection).await?));
    let (ids, forms) = columns(&assigned);
    sqlx::query!(
        "UPDATE saved_filter s SET name_canonical = f.canonical FROM UNNEST($1::uuid[], $2::text[]) AS f(id, canonical)
         WHERE s.saved_filter_id = f.id AND s.name_canonical IS DISTINCT FROM f.canonical",
        &ids,
        &forms
    )
    .execute(connection)
    .await?;
    Ok(assigned)
}
