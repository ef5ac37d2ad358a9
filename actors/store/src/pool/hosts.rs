//! Hosts of a database URL. `sqlx` knows URLs of one host only.
//!
//! ```text
//! postgres://user@a:5432,b:5432,c/name?target_session_attrs=read-write
//! postgres:///name?host=a,b,c&port=5432&user=user
//! ```

use domain::Invalid;
use sqlx::postgres::PgConnectOptions;

/// Most hosts of a URL.
pub(crate) const HOSTS_MAX: usize = 16;
/// Servers that a URL may ask for; each is the primary.
const PRIMARY_ATTRIBUTES: [&str; 2] = ["read-write", "primary"];

/// The hosts of a URL, in its order; `field` holds it. Refusals do not repeat the URL, which may hold a password.
///
/// # Errors
/// It is no URL of PostgreSQL; lists that do not fit together; it asks for another server than the primary.
pub(crate) fn hosts(field: &str, url: &str) -> Result<Vec<PgConnectOptions>, Invalid> {
    let unreadable = || Invalid::new(field, "does not read as postgres://user@host:port/name, or with several host:port between commas");
    urls(field, url)?.iter().map(|url| url.parse().map_err(|_| unreadable())).collect()
}

/// A URL of one host for each of them.
fn urls(field: &str, url: &str) -> Result<Vec<String>, Invalid> {
    let refused = |problem: String| Invalid::new(field, problem);
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("has no scheme: it begins with postgres://".into()))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, places) = authority.rsplit_once('@').map_or(("", authority), |(user, places)| (user, places));
    let (mut others, mut named, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "host" | "hostaddr" => named = listed(value).into_iter().map(|host| format!("{key}={host}")).collect(),
            "port" => ports = listed(value),
            "target_session_attrs" if PRIMARY_ATTRIBUTES.contains(&value) => {}
            "target_session_attrs" => {
                return Err(refused("target_session_attrs: nodes use the primary only: write read-write, or leave it out".into()));
            }
            _ => others.push(pair.to_owned()),
        }
    }
    let of_authority: Vec<&str> = places.split(',').collect();
    let count = if named.is_empty() { of_authority.len() } else { named.len() };
    if count > HOSTS_MAX {
        return Err(refused(format!("{count} hosts are more than the {HOSTS_MAX} that are tried")));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(refused(format!("{count} hosts and {} ports: give one port for all, or one for each", ports.len())));
    }
    let is_list = of_authority.len() > 1;
    if is_list && of_authority.iter().any(|place| place.is_empty() || place.starts_with(':')) {
        return Err(refused("an empty name between the commas of its hosts".into()));
    }
    let of_one = |index: usize| {
        // A user needs a host beside it; that of the query is the one that counts.
        let place = match (of_authority.get(index), named.is_empty()) {
            (Some(place), true) => place,
            _ if user.is_empty() => "",
            _ => "localhost",
        };
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let mut query = others.clone();
        query.extend(named.get(index).cloned());
        query.extend(ports.get(index).or(ports.first().filter(|_| ports.len() == 1)).map(|port| format!("port={port}")));
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("{scheme}://{user}{place}{path}{query}")
    };
    Ok((0..count).map(of_one).collect())
}

/// Parts between commas, which may be encoded.
fn listed(value: &str) -> Vec<String> {
    value.replace("%2C", ",").replace("%2c", ",").split(',').map(str::to_owned).collect()
}

/// A host as messages name it.
pub(crate) fn place_of(host: &PgConnectOptions) -> String {
    match host.get_socket() {
        Some(socket) => format!("{}, port {}", socket.display(), host.get_port()),
        None => format!("{}, port {}", host.get_host(), host.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: &str = "DATABASE_URL (database.url)";

    fn places(url: &str) -> Vec<String> {
        hosts(FIELD, url).unwrap().iter().map(place_of).collect()
    }

    #[test]
    fn several_hosts_are_read_in_their_order() {
        for (url, expected) in [
            ("postgres://u@a/db", vec!["a, port 5432"]),
            ("postgres://u:p%40@a:6000/db?sslmode=disable", vec!["a, port 6000"]),
            ("postgres://u@a:5432,b:5433,c/db?target_session_attrs=read-write", vec!["a, port 5432", "b, port 5433", "c, port 5432"]),
            ("postgresql://u@[::1]:1,[::2]:2/db", vec!["[::1], port 1", "[::2], port 2"]),
            ("postgres:///db?host=a,b&port=1,2&user=u", vec!["a, port 1", "b, port 2"]),
            ("postgres://u@/db?host=a%2Cb&port=7&target_session_attrs=primary", vec!["a, port 7", "b, port 7"]),
            ("postgres://u@a,b/db?port=7", vec!["a, port 7", "b, port 7"]),
            ("postgres://u@%2Fvar%2Frun:5432/db", vec!["/var/run, port 5432"]),
            ("postgres:///db?host=/one,/two&user=u", vec!["/one, port 5432", "/two, port 5432"]),
        ] {
            assert_eq!(places(url), expected, "{url}");
        }
        let all = hosts(FIELD, "postgres://u@a,b/db?sslmode=disable&target_session_attrs=read-write").unwrap();
        for one in all {
            assert_eq!((one.get_username(), one.get_database()), ("u", Some("db")));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name_and_without_the_password() {
        let many = vec!["h"; HOSTS_MAX + 1].join(",");
        for (url, wanted) in [
            ("u:hunter2@a/db".to_owned(), "scheme"),
            ("postgres://u:hunter2@a,,b/db".to_owned(), "empty"),
            ("postgres://u:hunter2@a,:5432/db".to_owned(), "empty"),
            ("postgres://u:hunter2@a,b,c/db?port=1,2".to_owned(), "3 hosts and 2 ports"),
            ("postgres://u:hunter2@a,b/db?target_session_attrs=any".to_owned(), "target_session_attrs"),
            ("postgres://u:hunter2@a,b/db?target_session_attrs=standby".to_owned(), "target_session_attrs"),
            (format!("postgres://u:hunter2@{many}/db"), "17 hosts"),
            ("postgres://u:hunter2@a:x,b/db".to_owned(), "does not read"),
        ] {
            let refused = hosts(FIELD, &url).unwrap_err().to_string();
            assert!(refused.contains(wanted) && refused.contains("DATABASE_URL") && !refused.contains("hunter2"), "{url}: {refused}");
        }
    }
}
