//! Pages at any address, and any messages of their browsers: a line is the address, each further one a message.

use web_dioxus::fuzzing;

use crate::samples::{admin, view};

/// More than these have no other effect than to take time.
const MESSAGES_MAX: usize = 8;

pub(super) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let address = lines.next().unwrap_or_default();
    let canonical = fuzzing::canonical_address(address);
    assert_eq!(fuzzing::canonical_address(&canonical), canonical, "{address} leads elsewhere when it is opened again");
    let messages: Vec<_> = lines.take(MESSAGES_MAX).collect();
    let drawn = fuzzing::browse(admin(), &[view()], address, &messages);
    assert!(!drawn.is_empty(), "{address} shows nothing");
    assert!(!contains(&drawn, b"This page failed"), "{address} fails");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
