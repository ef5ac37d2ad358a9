//! `http.hosts`: names by which people reach the server beside that of `http.public_url`.

use domain::Invalid;
use domain::text::excerpt;
use url::{Host, Url};

/// Longest entry that is repeated in an error, in characters.
const SHOWN_MAX_CHARS: usize = 64;

/// Hosts that the server is known by.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownHosts {
    /// Those of `http.public_url` and `http.hosts`; empty: every host.
    pub(crate) names: Vec<Host>,
    /// `http.public_url`.
    pub(crate) public_url: String,
}

impl KnownHosts {
    /// The host of `public_url` and those of a setting, with commas between them; without that URL every host is known.
    ///
    /// # Errors
    /// Names the entry that is no host.
    pub(crate) fn new(public_url: Option<String>, setting: &str) -> Result<Self, Invalid> {
        let entries = setting.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let others = entries.map(|entry| {
            Host::parse(entry)
                .map_err(|_| Invalid::new("http.hosts", format!("{:?} is no host name and no address", excerpt(entry, SHOWN_MAX_CHARS))))
        });
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let Some(public_url) = public_url else { return Ok(Self::default()) };
        let own = Url::parse(&public_url).ok().and_then(|url| url.host().map(|host| host.to_owned()));
        Ok(Self { names: own.into_iter().chain(others).collect(), public_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_hosts_and_count_beside_a_public_url_only() {
        let known = |url: Option<&str>, setting| KnownHosts::new(url.map(str::to_owned), setting).map(|known| known.names.len());
        assert_eq!(known(Some("https://mdm.example.com"), " a.example , 192.0.2.7,[2001:db8::1],"), Ok(4));
        assert_eq!(known(None, "a.example"), Ok(0));
        for wrong in ["a b", "https://a.example", "a.example:8080", "a.example/x"] {
            assert_eq!(known(Some("https://mdm.example.com"), wrong).unwrap_err().field, "http.hosts", "{wrong}");
        }
    }
}
