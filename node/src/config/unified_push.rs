//! `[unified_push]`: pushes to the endpoints of UnifiedPush distributors.

use std::time::Duration;

use domain::Invalid;
use push::UnifiedPushSettings;

use super::UnifiedPush;

impl UnifiedPush {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        for origin in self.origins() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).unwrap_or("");
            // An origin as it is written out: its default port left out.
            let port = if origin.starts_with("https") { ":443" } else { ":80" };
            if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) || host.ends_with(port) || host.chars().any(char::is_uppercase) {
                let problem =
                    format!("{origin:?} is not of the form https://push.example.com, in lower case, without path and default port");
                return Err(Invalid::new("unified_push.origins", problem));
            }
        }
        Ok(())
    }

    fn origins(&self) -> impl Iterator<Item = &str> {
        self.origins.split(',').map(str::trim).filter(|origin| !origin.is_empty())
    }

    pub(super) fn settings(&self) -> Option<UnifiedPushSettings> {
        let origins: Vec<String> = self.origins().map(str::to_owned).collect();
        (!origins.is_empty()).then(|| UnifiedPushSettings {
            origins,
            timeout: Duration::from_millis(self.timeout_ms),
            concurrency: self.concurrency,
            per_device_per_minute: self.per_device_per_minute,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(origins: &str) -> UnifiedPush {
        UnifiedPush { origins: origins.into(), timeout_ms: 10_000, concurrency: 64, per_device_per_minute: 30 }
    }

    #[test]
    fn origins_are_a_list_and_none_means_off() {
        assert!(section("").settings().is_none() && section(" , ").settings().is_none());
        let two = section("https://ntfy.example.com, http://10.0.0.5:8090");
        two.check().unwrap();
        assert_eq!(two.settings().unwrap().origins, ["https://ntfy.example.com", "http://10.0.0.5:8090"]);
        for wrong in ["ntfy.example.com", "https://", "https://a/b", "https://A", "https://a:443", "http://a:80", "ftp://a"] {
            assert_eq!(section(wrong).check().unwrap_err().field, "unified_push.origins", "{wrong}");
        }
    }
}
