//! Who may read a file that holds a secret.

/// Bits of a mode by which others than owner and group read, write or execute, and those by which the group writes or executes.
const OTHERS_AND_GROUP_CHANGES: u32 = 0o037;
/// The bit by which the group reads.
const GROUP_READS: u32 = 0o040;
/// Owner of files that the machine hands to its services.
const ROOT: u32 = 0;

/// Whether a file of this mode and owner is open to others than the service that reads it. A group may read what root owns: service managers
/// hand out secrets like that (volumes of Kubernetes, credentials of systemd, files of a Debian package), and the service's user cannot
/// change the mode.
pub const fn is_open_to_others(mode: u32, owner: u32) -> bool {
    mode & OTHERS_AND_GROUP_CHANGES != 0 || (mode & GROUP_READS != 0 && owner != ROOT)
}

#[cfg(test)]
mod tests {
    use super::is_open_to_others;

    #[test]
    fn a_group_reads_only_what_root_owns() {
        for (mode, owner, is_open) in [
            (0o100_600, 1000, false),
            (0o100_400, 1000, false),
            (0o100_600, 0, false),
            (0o100_440, 0, false),
            (0o100_640, 0, false),
            (0o100_440, 1000, true),
            (0o100_640, 1000, true),
            (0o100_660, 0, true),
            (0o100_650, 0, true),
            (0o100_604, 0, true),
            (0o100_644, 0, true),
            (0o100_601, 1000, true),
            (0o100_602, 1000, true),
        ] {
            assert_eq!(is_open_to_others(mode, owner), is_open, "{mode:o} of {owner}");
        }
    }
}
