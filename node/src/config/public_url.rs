//! `http.public_url`: what it may be, and the form in which it is compared and handed out.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::Invalid;
use url::{Host, Url};

const SETTING: &str = "http.public_url";

/// The URL with scheme and host in lower case, without a default port or a slash at the end: the origin of the server (RFC 6454).
///
/// # Errors
/// Says what else stands in it. The text itself stays out of the message: it may hold a password.
pub(super) fn normalized(text: &str) -> Result<String, Invalid> {
    let invalid = |problem: &str| Invalid::new(SETTING, problem);
    if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control() || c.is_whitespace()) {
        return Err(invalid(&format!("has a blank or control character (U+{:04X}) at byte {at}", u32::from(c))));
    }
    if !text.is_ascii() {
        return Err(invalid("has a character that is not ASCII: write an international host name as browsers send it (xn--...)"));
    }
    let scheme =
        ["http://", "https://"].into_iter().find(|scheme| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)));
    let rest = scheme.and_then(|scheme| text.get(scheme.len()..)).ok_or_else(|| invalid("begins with neither http:// nor https://"))?;
    for (mark, problem) in [('?', "has a query"), ('#', "has a fragment"), ('@', "has a user name or password"), ('\\', "has a backslash")]
    {
        if rest.contains(mark) {
            return Err(invalid(&format!("{problem} ({mark}): write the scheme, the host and, where it is not the usual one, the port")));
        }
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() || authority.starts_with(':') {
        return Err(invalid("has no host, as https://mdm.example.com has"));
    }
    if !path.trim_matches('/').is_empty() {
        return Err(invalid(
            "has a path, and a server answers at the root of a host only: give it a host name or a port of its own in the proxy, such as \
             https://mdm.example.com or https://www.example.com:8443",
        ));
    }
    let url = Url::parse(text).map_err(|error| invalid(&format!("is no URL: {error}")))?;
    let host = url.host_str().unwrap_or_default();
    let is_literal = host.starts_with('[');
    if !is_literal && !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err(invalid("has a host with other characters than letters, digits, hyphens and dots"));
    }
    if matches!(url.host(), Some(Host::Ipv4(Ipv4Addr::UNSPECIFIED) | Host::Ipv6(Ipv6Addr::UNSPECIFIED))) {
        return Err(invalid("is an address to listen on (all of this machine), which devices cannot call"));
    }
    if url.port() == Some(0) {
        return Err(invalid("has the port 0, which nothing listens on"));
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_spellings_are_one_url() {
        for (text, url) in [
            ("https://mdm.example.com", "https://mdm.example.com"),
            ("https://mdm.example.com/", "https://mdm.example.com"),
            ("https://mdm.example.com//", "https://mdm.example.com"),
            ("https://mdm.example.com:443", "https://mdm.example.com"),
            ("HTTPS://Mdm.Example.COM:443/", "https://mdm.example.com"),
            ("http://mdm.example.com:80", "http://mdm.example.com"),
            ("https://mdm.example.com:80", "https://mdm.example.com:80"),
            ("https://mdm.example.com:8443/", "https://mdm.example.com:8443"),
            ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
            ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("http://mdm_1", "http://mdm_1"),
        ] {
            assert_eq!(normalized(text).unwrap(), url, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_problem_and_not_repeated() {
        for (text, problem) in [
            ("https://mdm.example.com\r", "U+000D"),
            ("https://mdm.example.com\n", "U+000A"),
            (" https://mdm.example.com", "U+0020) at byte 0"),
            ("https://mdm.example .com", "U+0020"),
            ("https://mdm.example.com\u{a0}", "U+00A0"),
            ("https://mdm.example.com\0", "U+0000"),
            ("https://mdm.example.com\u{200b}", "not ASCII"),
            ("https://b\u{fc}cher.example", "xn--"),
            ("https://mdm.example.com?x=1", "query"),
            ("https://mdm.example.com/?", "query"),
            ("https://mdm.example.com#top", "fragment"),
            ("https://ann:hunter2@mdm.example.com", "password"),
            ("https://ann@mdm.example.com", "user name"),
            ("https://", "no host"),
            ("https:///devices", "no host"),
            ("https://:8443", "no host"),
            ("https:mdm.example.com", "neither http:// nor https://"),
            ("mdm.example.com", "neither http:// nor https://"),
            ("wss://mdm.example.com", "neither http:// nor https://"),
            ("https:\\\\mdm.example.com", "neither http:// nor https://"),
            ("https://mdm.example.com\\x", "backslash"),
            ("https://mdm.example.com/mdm", "has a path"),
            ("https://mdm.example.com/mdm/", "has a path"),
            ("https://mdm.example.com:70000", "no URL"),
            ("https://mdm.example.com:x", "no URL"),
            ("https://mdm.example.com:0", "port 0"),
            ("https://300.1.1.1", "no URL"),
            ("https://*.example.com", "other characters"),
            ("https://mdm.example.com,https://b.example", "has a path"),
            ("https://a.example,b.example", "other characters"),
            ("https://[::1", "no URL"),
            ("http://0.0.0.0:8080", "listen on"),
            ("http://[::]:8080", "listen on"),
        ] {
            let refused = normalized(text).unwrap_err();
            assert_eq!(refused.field, SETTING);
            assert!(refused.problem.contains(problem), "{text:?}: {}", refused.problem);
            assert!(!refused.problem.contains("hunter2") && !refused.problem.contains(char::is_control), "{}", refused.problem);
        }
    }
}
