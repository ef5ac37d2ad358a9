//! Text that people and devices give: length limits and forbidden characters.

use crate::{Invalid, name};

/// Longest alias, in characters.
pub const ALIAS_MAX_CHARS: usize = 200;
/// Longest tag or group name, in characters.
pub const LABEL_MAX_CHARS: usize = 64;
/// Longest push token, in characters.
pub const FCM_TOKEN_MAX_CHARS: usize = 4096;
/// Most tags, and most groups, that one device carries.
pub const LABELS_MAX: usize = 32;
/// Between the tags or groups of a list that is written as text; in none of them.
pub const LABEL_SEPARATORS: [char; 3] = [',', ';', '|'];

/// Checks `value` against a length limit in characters and for control characters.
///
/// # Errors
/// Names the field, its length and the limit, or the position of a NUL or other
/// control character. The value itself is never repeated.
pub fn bounded(field: &str, value: &str, max_chars: usize) -> Result<(), Invalid> {
    // A character takes at most four bytes, so long input is refused without counting it.
    if value.len() > max_chars && (value.len() > max_chars * 4 || value.chars().count() > max_chars) {
        return Err(Invalid::new(field, format!("{} bytes are more than the {max_chars} characters allowed", value.len())));
    }
    match value.chars().position(|c| c.is_control() && c != '\n' && c != '\t') {
        Some(at) => Err(Invalid::new(field, format!("control character at position {at}"))),
        None => Ok(()),
    }
}

/// Checks optional text and drops what is empty.
///
/// # Errors
/// As [`bounded`].
pub fn optional(field: &str, value: Option<String>, max_chars: usize) -> Result<Option<String>, Invalid> {
    match value {
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => bounded(field, &text, max_chars).map(|()| Some(text)),
        None => Ok(None),
    }
}

/// Fits text to a limit: control characters are left out, and what is longer is cut. Whether it was changed.
pub fn fit(value: &mut String, max_chars: usize) -> bool {
    let before = value.len();
    value.retain(|c| !c.is_control() || c == '\n' || c == '\t');
    if let Some((end, _)) = value.char_indices().nth(max_chars) {
        value.truncate(end);
    }
    value.len() != before
}

/// An alias as it is displayed: 1..200 characters.
///
/// # Errors
/// As [`name::displayed`].
pub fn alias(field: &str, value: &str) -> Result<String, Invalid> {
    name::displayed(field, value, ALIAS_MAX_CHARS)
}

/// Tags or groups of a list that is written as text, between commas, semicolons, bars or line breaks; empty ones are left out.
pub fn label_list(text: &str) -> Vec<String> {
    let parts = text.split(|c| LABEL_SEPARATORS.contains(&c) || matches!(c, '\n' | '\r' | '\t'));
    parts.map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

/// Tags or groups as they are displayed: each 1..64 characters without a separator of lists, without repeats, sorted.
///
/// # Errors
/// Names the element that is wrong, or the limit on their number.
pub fn labels(field: &str, values: Vec<String>) -> Result<Vec<String>, Invalid> {
    if values.len() > LABELS_MAX {
        return Err(Invalid::new(field, format!("{} entries are more than the {LABELS_MAX} allowed", values.len())));
    }
    let label = |(i, value): (usize, &String)| {
        let field = format!("{field}[{i}]");
        let label = name::displayed(&field, value, LABEL_MAX_CHARS)?;
        match label.contains(LABEL_SEPARATORS) {
            true => Err(Invalid::new(field, "commas, semicolons and bars separate entries; they are not allowed within one")),
            false => Ok(label),
        }
    };
    let labels = values.iter().enumerate().map(label).collect::<Result<Vec<_>, _>>()?;
    Ok(label_set(labels))
}

/// Tags or groups to be removed: whatever may be stored, also by an earlier build.
///
/// # Errors
/// Names the limit on their number or length.
pub fn removed_labels(field: &str, values: Vec<String>) -> Result<Vec<String>, Invalid> {
    if values.len() > LABELS_MAX {
        return Err(Invalid::new(field, format!("{} entries are more than the {LABELS_MAX} allowed", values.len())));
    }
    values.iter().enumerate().try_for_each(|(i, value)| bounded(&format!("{field}[{i}]"), value, LABEL_MAX_CHARS))?;
    Ok(label_set(values))
}

/// Labels sorted, each once: of those that are the same name, the first.
pub fn label_set(labels: Vec<String>) -> Vec<String> {
    let mut set: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        if !set.iter().any(|known| name::same(known, &label)) {
            set.push(label);
        }
    }
    set.sort_unstable();
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_takes_1_to_200_characters_without_control_characters() {
        assert_eq!(alias("alias", "  kiosk-17 ").unwrap(), "kiosk-17");
        assert_eq!(alias("alias", &"ä".repeat(200)).unwrap().chars().count(), 200);
        for bad in ["", "   ", "a\0b", "a\nb", &"x".repeat(201), &"x".repeat(10_000_000)] {
            let refused = alias("alias", bad).unwrap_err();
            assert_eq!(refused.field, "alias");
            assert!(refused.problem.len() < 200);
        }
    }

    #[test]
    fn labels_are_a_sorted_set_with_a_limit() {
        let given = vec!["b".into(), " a".into(), "b".into()];
        assert_eq!(labels("tags", given).unwrap(), ["a", "b"]);
        assert_eq!(labels("tags", vec!["a".into(), "\0".into()]).unwrap_err().field, "tags[1]");
        assert_eq!(labels("tags", vec!["Cafe\u{301}".into(), "café".into(), "Till".into(), "till".into()]).unwrap(), ["Café", "Till"]);
        assert!(labels("tags", (0..33).map(|i| i.to_string()).collect()).is_err());
    }

    #[test]
    fn no_label_contains_what_separates_labels() {
        for bad in ["front, sale", "a;b", "a|b", "a\nb", "a\tb", ","] {
            let refused = labels("tags", vec!["ok".into(), bad.into()]).unwrap_err();
            assert_eq!(refused.field, "tags[1]", "{bad:?}");
        }
        assert_eq!(label_list(" front, sale;;x|y\r\nz,"), ["front", "sale", "x", "y", "z"]);
        assert_eq!(removed_labels("tags", vec!["front, sale".into()]).unwrap(), ["front, sale"], "one of an earlier build goes");
    }

    #[test]
    fn text_that_is_fitted_is_within_its_limit() {
        for (given, fitted, changed) in [("shop", "shop", false), ("a\0b", "ab", true), ("a\nb", "a\nb", false), ("ääää", "äää", true)]
        {
            let mut text = given.to_owned();
            assert_eq!((fit(&mut text, 3.max(fitted.chars().count())), text.as_str()), (changed, fitted));
            assert!(bounded("field", &text, 4).is_ok());
        }
    }

    #[test]
    fn optional_text_reads_empty_as_absent() {
        assert_eq!(optional("ssid", Some(String::new()), 64).unwrap(), None);
        assert_eq!(optional("ssid", Some("shop".into()), 64).unwrap().as_deref(), Some("shop"));
        assert!(optional("ssid", Some("x".repeat(65)), 64).is_err());
    }
}
