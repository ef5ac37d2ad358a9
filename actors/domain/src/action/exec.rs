//! Commands that `exec` may run.

use crate::param::exec_name;
use crate::text::bounded;
use crate::{Invalid, Timestamp};

/// Most arguments of an allowed command.
const EXEC_ARGV_MAX: usize = 32;
/// Longest argument of an allowed command, in characters.
const EXEC_ARG_MAX_CHARS: usize = 500;
/// Programs that run a program named by their arguments; the agent refuses the same ones.
const EXEC_SHELLS: [&str; 32] = [
    "sh",
    "bash",
    "ash",
    "dash",
    "ksh",
    "mksh",
    "zsh",
    "toybox",
    "busybox",
    "su",
    "env",
    "xargs",
    "timeout",
    "nohup",
    "setsid",
    "nice",
    "ionice",
    "time",
    "chrt",
    "taskset",
    "watch",
    "find",
    "awk",
    "linker",
    "linker64",
    "app_process",
    "app_process32",
    "app_process64",
    "nsenter",
    "unshare",
    "flock",
    "run-as",
];
/// Longest description of an allowed command, in characters.
const EXEC_DESCRIPTION_MAX_CHARS: usize = 500;

/// Command that `exec` may run: a program and its arguments, never a shell line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    /// Name.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Description.
    pub description: String,
}

/// An allowed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedExecCommand {
    /// Program.
    pub command: ExecCommand,
    /// Account that allowed or changed the command last.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl ExecCommand {
    /// Checks the command against its limits.
    ///
    /// # Errors
    /// Names the field, the problem and the limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        exec_name("name", &self.name)?;
        if self.argv.is_empty() || self.argv.len() > EXEC_ARGV_MAX {
            return Err(Invalid::new("argv", format!("{} parts; must be 1..{EXEC_ARGV_MAX}", self.argv.len())));
        }
        for (index, part) in self.argv.iter().enumerate() {
            bounded(&format!("argv[{index}]"), part, EXEC_ARG_MAX_CHARS)?;
        }
        let program = self.argv.first().map_or("", String::as_str);
        if !program.starts_with('/') {
            return Err(Invalid::new("argv[0]", "not the absolute path of a program"));
        }
        if EXEC_SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()) {
            return Err(Invalid::new("argv[0]", "programs that run other programs are not allowed"));
        }
        bounded("description", &self.description, EXEC_DESCRIPTION_MAX_CHARS)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_with_arguments_are_allowed() {
        let field = |argv: &[&str]| {
            let argv = argv.iter().map(|&part| part.to_owned()).collect();
            ExecCommand { name: "n".into(), argv, description: String::new() }.checked().err().map(|invalid| invalid.field)
        };
        assert_eq!(field(&["/system/bin/logcat", "-d"]), None);
        assert_eq!(field(&[]).as_deref(), Some("argv"));
        assert_eq!(field(&["logcat"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/sh", "-c", "id"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/timeout", "5", "sh"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/logcat", &"x".repeat(501)]).as_deref(), Some("argv[1]"));
    }
}
