//! Fitness of the database server: a node refuses to start over one that it cannot work with, rather than failing later.

use sqlx::Row;

use crate::error::{ENCODING, OLDEST_VERSION_NUM, UnfitServer};
use crate::pool::Connection;
use crate::{Store, StoreError};

/// By the simple protocol, as everything here: a pooler in transaction mode loses prepared statements.
const FACTS: &str = "SELECT current_setting('server_version') AS version, current_setting('server_version_num') AS version_num,
    current_setting('server_encoding') AS encoding, current_database()::text AS database,
    CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END AS in_recovery, current_setting('transaction_read_only') AS read_only";
const BACKEND: &str = "SELECT pg_backend_pid()::text";

/// What a server and its database say of themselves.
#[derive(Debug)]
struct Facts {
    version: String,
    version_num: i32,
    encoding: String,
    database: String,
    in_recovery: bool,
    read_only: bool,
}

impl Facts {
    async fn read(connection: &mut Connection) -> Result<Self, StoreError> {
        let row = sqlx::raw_sql(FACTS).fetch_one(connection).await?;
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            version: text("version")?,
            version_num: text("version_num")?.parse().map_err(|_| StoreError::Corrupt("server_version_num"))?,
            encoding: text("encoding")?,
            database: text("database")?,
            in_recovery: text("in_recovery")? == "on",
            read_only: text("read_only")? == "on",
        })
    }

    fn check(self) -> Result<(), UnfitServer> {
        if self.version_num < OLDEST_VERSION_NUM {
            return Err(UnfitServer::Version { found: self.version });
        }
        if self.encoding != ENCODING {
            return Err(UnfitServer::Encoding { database: self.database, encoding: self.encoding });
        }
        // A standby is read-only as well, and has another remedy.
        if self.in_recovery {
            return Err(UnfitServer::Standby);
        }
        if self.read_only {
            return Err(UnfitServer::ReadOnly { database: self.database });
        }
        Ok(())
    }
}

/// Connections that a server takes of nodes, and the nodes that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConnections {
    /// Most connections of ordinary roles.
    pub most: i64,
    /// Nodes whose lease has not expired.
    pub nodes: i64,
}

impl Store {
    /// The connections that the server takes, and the nodes among which they are shared.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn server_connections(&self) -> Result<ServerConnections, StoreError> {
        let row = sqlx::query!(
            r#"SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                   - coalesce(current_setting('reserved_connections', true)::bigint, 0) AS "most!",
                   (SELECT count(*) FROM cluster_node WHERE state IN ('active', 'draining') AND expires_at > clock_timestamp()) AS "nodes!""#
        );
        let row = row.fetch_one(&self.pool).await?;
        Ok(ServerConnections { most: row.most, nodes: row.nodes })
    }

    /// Checks the server, its database and the way to them: version, encoding, writes, and that connections are sessions. Holds two of them.
    ///
    /// # Errors
    /// The database is unavailable, or [`StoreError::Unfit`].
    pub async fn check_server(&self) -> Result<(), StoreError> {
        self.check_places().await?;
        let mut first = self.pool.acquire().await?;
        Facts::read(&mut first).await?.check()?;
        let mut second = self.pool.acquire().await?;
        let checked = check_sessions(&mut first, &mut second).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut *second).await.ok();
        checked
    }
}

impl Store {
    /// Refuses servers of which some answer and none can be used, by what is wrong with them. Those that do not answer are left to whoever connects,
    /// who tries again for a while.
    async fn check_places(&self) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for (place, look) in self.pool.look().await {
            let facts = match look {
                Ok(mut connection) => Facts::read(&mut connection).await,
                Err(cause) => Err(cause.into()),
            };
            found.push((place, facts.map(Facts::check)));
        }
        judge_places(found).map_err(StoreError::from)
    }
}

/// Whether a server can be used, as far as it answered.
type PlaceFacts = Result<Result<(), UnfitServer>, StoreError>;

/// Judges several servers by what they answered: one that can be used is enough.
fn judge_places(found: Vec<(String, PlaceFacts)>) -> Result<(), UnfitServer> {
    let (mut unfit, mut told) = (Vec::new(), Vec::new());
    let is_one = found.len() == 1;
    for (place, facts) in found {
        match facts {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => {
                let short = if why == UnfitServer::Standby { "a standby".to_owned() } else { why.to_string() };
                told.push(format!("{place}: {short}"));
                unfit.push(why);
            }
            Err(cause) => told.push(format!("{place}: {cause}")),
        }
    }
    match unfit.into_iter().next() {
        None => Ok(()),
        Some(only) if is_one => Err(only),
        Some(_) => Err(UnfitServer::NoPrimary { hosts: told.join("; ") }),
    }
}

/// Checks that a connection keeps its backend while another one is used; `second` is left in a transaction.
async fn check_sessions(first: &mut Connection, second: &mut Connection) -> Result<(), StoreError> {
    let before = backend(first).await?;
    match sqlx::raw_sql("BEGIN").execute(&mut *second).await {
        // PgBouncer in statement mode refuses it.
        Err(error) if error.to_string().contains("pooling mode") => return Err(UnfitServer::TransactionPooling.into()),
        begun => begun?,
    };
    // The transaction holds what a pooler took as free, or the first has to take another.
    if backend(second).await? == before || backend(first).await? != before {
        return Err(UnfitServer::TransactionPooling.into());
    }
    Ok(())
}

async fn backend(connection: &mut Connection) -> Result<String, StoreError> {
    Ok(sqlx::raw_sql(BACKEND).fetch_one(connection).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let (version, encoding, database) = ("15.8".into(), ENCODING.into(), "mdm".into());
        Facts { version, version_num: 150_008, encoding, database, in_recovery: false, read_only: false }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_the_remedy() {
        facts().check().unwrap();
        Facts { version_num: 180_000, ..facts() }.check().unwrap();
        let refused = |facts: Facts| facts.check().unwrap_err().to_string();
        let old = refused(Facts { version: "14.12".into(), version_num: 140_012, ..facts() });
        assert!(old.contains("PostgreSQL 14.12") && old.contains("is 15"), "{old}");
        for encoding in ["LATIN1", "SQL_ASCII"] {
            let refused = refused(Facts { encoding: encoding.into(), ..facts() });
            assert!(refused.contains(encoding) && refused.contains("\"mdm\"") && refused.contains("template0"), "{refused}");
        }
        let standby = refused(Facts { in_recovery: true, read_only: true, ..facts() });
        assert!(standby.contains("standby") && standby.contains("primary"), "{standby}");
        let read_only = refused(Facts { read_only: true, ..facts() });
        assert!(read_only.contains("default_transaction_read_only"), "{read_only}");
    }

    #[test]
    fn of_several_servers_one_that_can_be_used_is_enough() {
        let standby = || Ok(Facts { in_recovery: true, read_only: true, ..facts() }.check());
        let fit = || Ok(facts().check());
        let away = || Err(StoreError::TimedOut(std::time::Duration::from_secs(1)));
        let judged = |found: Vec<Result<Result<(), UnfitServer>, StoreError>>| {
            judge_places(found.into_iter().enumerate().map(|(n, one)| (format!("host-{n}"), one)).collect())
        };
        for found in [vec![fit()], vec![standby(), fit()], vec![away(), fit(), standby()], vec![away()], vec![away(), away()]] {
            judged(found).unwrap();
        }
        assert_eq!(judged(vec![standby()]), Err(UnfitServer::Standby));
        let told = judged(vec![standby(), away()]).unwrap_err().to_string();
        assert!(told.contains("host-0: a standby") && told.contains("host-1: no answer") && told.contains("pg_ctl promote"), "{told}");
    }
}
