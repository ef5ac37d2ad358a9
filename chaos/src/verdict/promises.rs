//! Texts of the promises that the oracle checks.

/// Promises by id.
const PROMISES: [(&str, &str); 18] = [
    ("P1", "A heartbeat answered 200 is stored exactly once, and the last status of its device is not older"),
    ("P2", "A command runs at most once on its device; a result answered 200 is never lost or changed"),
    ("P3", "Unsigned, altered, replayed, expired or foreign commands never run"),
    ("P4", "At most one node acts for a shard; a deposed owner's writes are refused"),
    ("P5", "A deployment never exceeds its limits, its canary and its window, and its counters equal its tasks"),
    ("P6", "Pause, cancel and the kill switch are in force on every node within 10 s"),
    ("P7", "A single-use enrollment token enrolls exactly one device"),
    ("P8", "A day is dropped only after its archive was read back and matched"),
    ("P9", "Every alert raised or resolved is notified, and not again within its cooldown"),
    ("P10", "No route but a short list answers without credentials"),
    ("P11", "Without the database nothing is acknowledged; when it returns, service resumes without a restart"),
    ("P12", "When a node dies, its devices are acknowledged by another within 5 s"),
    ("P13", "What a backup holds can be restored"),
    ("P14", "An agent loses no result and runs nothing twice, whenever its process is killed"),
    ("calm", "All nodes run and every device is heard when everything is healed"),
    ("end", "Every agent comes to an end of its work"),
    ("faults", "What faults themselves look at is as it should be"),
    ("drill", "The drill has the expected result, and every promise was kept"),
];

/// What is promised; the id itself when it is not a promise of the product.
pub fn text(id: &str) -> &str {
    PROMISES.iter().find(|(known, _)| *known == id).map_or(id, |(_, text)| *text)
}

/// Ids of the promises that a scenario may name.
pub fn ids() -> impl Iterator<Item = &'static str> {
    PROMISES.iter().map(|(id, _)| *id)
}
