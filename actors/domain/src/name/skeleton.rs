//! Names that look alike without being the same.

use unicode_security::confusable_detection::skeleton;

use super::fold::CanonicalName;

/// What a name looks like: names that are easily mistaken for each other share one (UTS #39, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    as_written: String,
    canonical: String,
}

impl Skeleton {
    /// Skeleton of a name.
    pub fn of(name: &str) -> Self {
        Self { as_written: skeleton(name.trim()).collect(), canonical: skeleton(CanonicalName::of(name).as_str()).collect() }
    }

    /// Whether the other name looks like this one, as it is written or in another case.
    pub fn looks_like(&self, other: &str) -> bool {
        let written = |text: &str| skeleton(text).eq(self.as_written.chars());
        written(other.trim()) || skeleton(CanonicalName::of(other).as_str()).eq(self.canonical.chars())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_look_alike_are_told() {
        for (a, b) in [("kiosk-1", "kiosk-l"), ("Kiosk-O", "Kiosk-0"), ("КАССА", "KACCA"), ("modern", "modem"), ("KIOSK-1", "kiosk-l")]
        {
            assert!(Skeleton::of(a).looks_like(b) && Skeleton::of(b).looks_like(a), "{a} {b}");
        }
        for (a, b) in [("kiosk-1", "kiosk-2"), ("shop-10", "shop-11"), ("front", "back")] {
            assert!(!Skeleton::of(a).looks_like(b), "{a} {b}");
        }
    }
}
