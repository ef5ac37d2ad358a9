//! Error of a request body whose caller lost their rights while it was on its way, found in whatever wraps it.

use std::fmt;

use domain::ServiceError;

/// Error at the end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revalidation {
    /// The credentials no longer hold, or grant something else than when the request began.
    Lost,
    /// The database could not say.
    Unknown,
}

impl fmt::Display for Revalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "the credentials no longer hold",
            Self::Unknown => "the credentials could not be checked again",
        })
    }
}

impl std::error::Error for Revalidation {}

impl Revalidation {
    /// The one within an error of a body, whatever wraps it.
    pub fn within(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref().copied())
    }

    /// The caller's answer.
    pub fn refusal(self) -> ServiceError {
        match self {
            Self::Lost => ServiceError::Unauthorized,
            Self::Unknown => ServiceError::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapper(Box<dyn std::error::Error + Send + Sync>);

    impl fmt::Display for Wrapper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl std::error::Error for Wrapper {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self.0.as_ref())
        }
    }

    #[test]
    fn a_refusal_is_found_in_whatever_wraps_it() {
        let wrapped = Wrapper(Box::new(Wrapper(Box::new(Revalidation::Lost))));
        assert_eq!(Revalidation::within(&wrapped), Some(Revalidation::Lost));
        assert_eq!(Revalidation::within(&std::io::Error::other("cut off")), None);
    }
}
