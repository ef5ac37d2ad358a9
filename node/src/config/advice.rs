//! Settings that work and are unsafe: named at start, and by `nexmdm config check`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Config, MetricsAccess};

/// A setting that works and is unsafe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The key.
    pub(crate) setting: &'static str,
    /// What is unsafe, and what to do.
    pub(crate) problem: String,
}

/// What is unsafe in a configuration.
pub(crate) fn advice(config: &Config) -> Vec<Advice> {
    let mut found = Vec::new();
    let mut add = |setting, problem: String| found.push(Advice { setting, problem });
    let http = &config.http;
    // Behind a proxy that ends TLS, it is the proxy's network that carries plain HTTP.
    let is_behind_tls = config.public_url().starts_with("https://") && !http.trusted_proxies.trim().is_empty();
    if !config.is_loopback() && http.tls_certificate_file.is_empty() && !is_behind_tls {
        add(
            "http.listen",
            format!(
                "{} is reached by others over plain HTTP, which shows passwords and tokens to the network: set http.tls_certificate_file \
                 and http.tls_key_file, or listen on a loopback address behind a proxy with TLS and set http.public_url and \
                 http.trusted_proxies",
                http.listen
            ),
        );
    }
    // Nothing else ends the TLS of a node without a certificate that nobody else reaches.
    let is_behind_proxy = config.is_loopback() && http.tls_certificate_file.is_empty() && config.public_url().starts_with("https://");
    if is_behind_proxy && http.trusted_proxies.trim().is_empty() {
        let problem = "empty, and http.public_url is that of a proxy: all clients count as the one address of the proxy, so that the failed \
                       sign-ins and the requests of one hold up all others: set it to the proxy's address, such as 127.0.0.1, and have the \
                       proxy send X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)";
        add("http.trusted_proxies", problem.into());
    }
    if http.public_url.is_empty() && !http.trusted_proxies.trim().is_empty() {
        let problem = format!(
            "empty, and http.trusted_proxies names a proxy: devices and download links get {}, where this node listens, and behind a proxy \
             that changes the Host no one can sign in: set it to the address of the proxy",
            config.public_url()
        );
        add("http.public_url", problem);
    }
    if http.public_url.is_empty() && !config.smtp.host.is_empty() && !config.is_loopback() {
        let problem = format!(
            "empty, and smtp.host is set: links in mail, by which people set passwords, lead to {}, where this node listens: set it to the address \
             that people open",
            config.public_url()
        );
        add("http.public_url", problem);
    }
    if config.backup.is_scheduled() && config.backup.work_factor < 16 {
        let problem = format!("{} makes it cheap to try passphrases for whoever has a backup: leave it at 18", config.backup.work_factor);
        add("backup.work_factor", problem);
    }
    if http.trusted_networks().is_ok_and(|networks| networks.iter().any(|network| network.prefix_len() == 0)) {
        let problem = "names every address, so that whoever calls can write any X-Forwarded-For, and with it get round limits and lock-outs: \
                       name the proxy's addresses";
        add("http.trusted_proxies", problem.into());
    }
    let is_plain_behind_proxy =
        config.is_loopback() && config.public_url().starts_with("http://") && !http.trusted_proxies.trim().is_empty();
    if is_plain_behind_proxy && !http.public_url.is_empty() {
        let problem =
            "http:// through a proxy, which shows passwords and tokens to the network: have the proxy serve https and say so here";
        add("http.public_url", problem.into());
    }
    if !config.is_loopback() && config.metrics_access() == MetricsAccess::Open {
        add("metrics.access", "open to whoever reaches the node: set it to \"token\" or \"listener\"".into());
    }
    if let Some(password) = config.admin.initial_password.get()
        && let Err(problem) = services::check_password("admin.initial_password", password, "admin")
    {
        add("admin.initial_password", format!("{}; it is refused where it is needed", problem.problem));
    }
    let keys: [(&'static str, &Path); 3] = [
        ("http.tls_key_file", Path::new(&http.tls_key_file)),
        ("cluster.certificate_key_file", Path::new(&config.cluster.certificate_key_file)),
        ("fcm.service_account_file", &config.fcm.service_account_file),
    ];
    for (setting, file) in keys {
        // A group of its own, such as Debian's ssl-cert, may read it.
        if let Ok(metadata) = fs::metadata(file)
            && metadata.permissions().mode() & 0o027 != 0
        {
            let mode = metadata.permissions().mode() & 0o777;
            add(setting, format!("{} has mode {mode:04o}, so that others may read or change it: chmod 600 it", file.display()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn named(variables: &[(&str, &str)]) -> Vec<&'static str> {
        advice(&parse(variables).unwrap()).into_iter().map(|advice| advice.setting).collect()
    }

    #[test]
    fn what_is_unsafe_is_named() {
        assert!(named(&[]).is_empty());
        let open = ("NEXMDM__HTTP__LISTEN", "0.0.0.0:8080");
        assert_eq!(named(&[open]), ["http.listen"]);
        let (url, proxies) = (("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com"), ("NEXMDM__HTTP__TRUSTED_PROXIES", "10.0.0.1"));
        assert_eq!(named(&[open, url]), ["http.listen"], "whoever reaches the port goes round the proxy");
        assert!(named(&[open, url, proxies]).is_empty());
        assert_eq!(named(&[url]), ["http.trusted_proxies"]);
        assert_eq!(named(&[proxies]), ["http.public_url"]);
        assert!(named(&[url, proxies]).is_empty());
        assert_eq!(named(&[open, url, proxies, ("NEXMDM__METRICS__ACCESS", "open")]), ["metrics.access"]);
        for all in ["0.0.0.0/0, ::/0", "::ffff:0.0.0.0/96"] {
            assert_eq!(named(&[open, url, ("NEXMDM__HTTP__TRUSTED_PROXIES", all)]), ["http.trusted_proxies"], "{all}");
        }
        assert_eq!(named(&[("NEXMDM__HTTP__PUBLIC_URL", "http://mdm.example.com"), proxies]), ["http.public_url"]);
        let mail = [("NEXMDM__SMTP__HOST", "mail.example.com"), ("NEXMDM__SMTP__FROM", "mdm@example.com")];
        assert!(named(&mail).is_empty(), "a node for this machine alone");
        assert_eq!(named(&[mail[0], mail[1], open]), ["http.listen", "http.public_url"]);
        assert!(named(&[mail[0], mail[1], open, url, proxies]).is_empty());
        for password in ["1234567890", "password123", "Passw0rd1!", "short"] {
            assert_eq!(named(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", password)]), ["admin.initial_password"], "{password}");
        }
        assert!(named(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", "a long password")]).is_empty());
    }

    #[test]
    fn keys_that_others_can_read_are_named_with_their_mode() {
        let folder = chaos::harness::TempDir::new("advice").unwrap();
        let file = folder.path().join("tls.key");
        fs::write(&file, "").unwrap();
        let text = file.to_str().unwrap();
        let of_mode = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            advice(&parse(&[("NEXMDM__HTTP__TLS_CERTIFICATE_FILE", "tls.pem"), ("NEXMDM__HTTP__TLS_KEY_FILE", text)]).unwrap())
        };
        for mode in [0o600, 0o400, 0o640] {
            assert!(of_mode(mode).is_empty(), "{mode:o}");
        }
        for mode in [0o644, 0o660, 0o604] {
            let found = of_mode(mode);
            assert!(found.len() == 1 && found[0].setting == "http.tls_key_file" && found[0].problem.contains(&format!("{mode:04o}")));
        }
    }
}
