//! `ctl audit`: who did what to what.

use super::Ctl;
use super::args::AuditCommand;
use super::output::{self, Column};

const ENTRIES: &[Column] = &[
    ("SEQ", "/seq"),
    ("AT", "/at"),
    ("ACTOR", "/actor/name"),
    ("KIND", "/actor/kind"),
    ("ACTION", "/action"),
    ("TARGET", "/target/name"),
    ("ADDRESS", "/address"),
    ("REQUEST", "/request_id"),
];

/// `ctl audit ...`.
pub(super) async fn run(ctl: &mut Ctl, command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::List { actor, action, target, request_id, text, from, to, archived, limit } => {
            let given = [
                ("actor", actor),
                ("action", action),
                ("target", target),
                ("request_id", request_id),
                ("text", text),
                ("from", from),
                ("to", to),
                ("archived", archived.then(|| "true".to_owned())),
            ];
            let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let entries = ctl.api.list("/v1/audit", &query, limit).await?;
            output::rows(ctl.format, &entries, ENTRIES)
        }
        AuditCommand::Head => {
            let head = ctl.api.get("/v1/audit/head", &[]).await?;
            output::one(ctl.format, &head, &[("SEQ", "/seq"), ("HASH", "/hash"), ("EXPECT", "/expect")])
        }
    }
}
