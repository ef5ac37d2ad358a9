//! What the answer to one try of an order means.

/// For the order, and for what is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It exists.
    Accepted,
    /// The access token has run out.
    SignInAgain,
    /// It was not looked at: the same again.
    Later,
    /// It may exist: the same again.
    Unknown,
    /// It will never be taken.
    Refused,
}

/// Of a status, or of no answer at all.
pub(super) fn meaning(status: Option<u16>) -> Meaning {
    match status {
        Some(200..=299) => Meaning::Accepted,
        Some(401) => Meaning::SignInAgain,
        Some(425 | 429) => Meaning::Later,
        // A timeout, a lost connection, trouble half-way; 409 while a try with the same
        // key is under way.
        None | Some(408 | 409 | 500..=599) => Meaning::Unknown,
        Some(_) => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_does_not_exist_is_refused() {
        for (status, want) in [
            (Some(201), Meaning::Accepted),
            (Some(200), Meaning::Accepted),
            (Some(401), Meaning::SignInAgain),
            (Some(429), Meaning::Later),
            (Some(503), Meaning::Unknown),
            (Some(409), Meaning::Unknown),
            (None, Meaning::Unknown),
            (Some(404), Meaning::Refused),
            (Some(422), Meaning::Refused),
        ] {
            assert_eq!(meaning(status), want, "{status:?}");
        }
    }
}
