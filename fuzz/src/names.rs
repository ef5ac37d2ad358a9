//! Names of accounts, devices, tags and filters: canonical once and for all, and found by what they are displayed as.

use domain::name::{self, CanonicalName, Skeleton};
use domain::text;

const MAX_CHARS: usize = 64;

pub(super) fn run(data: &[u8]) {
    let Ok(given) = std::str::from_utf8(data) else { return };
    let fold = CanonicalName::of(given);
    assert_eq!(CanonicalName::of(fold.as_str()).as_str(), fold.as_str(), "folded twice is something else");
    let _ = Skeleton::of(given).looks_like(given);
    if let Ok(displayed) = name::displayed("name", given, MAX_CHARS) {
        assert!(displayed.chars().count() <= MAX_CHARS && !displayed.contains(char::is_control));
        assert_eq!(name::displayed("name", &displayed, MAX_CHARS).as_deref(), Ok(displayed.as_str()), "it is not canonical");
        let text = given.trim();
        assert!(name::same(&displayed, text) && name::contains(&displayed, text), "not found by what was given");
    }
    if let Ok(account) = name::account("username", given, MAX_CHARS) {
        assert_eq!(name::account("username", &account, MAX_CHARS).as_deref(), Ok(account.as_str()), "it is not canonical");
    }
    if let Ok(labels) = text::labels("tags", text::label_list(given)) {
        assert_eq!(text::labels("tags", labels.clone()).as_ref(), Ok(&labels), "they are not canonical");
    }
}
