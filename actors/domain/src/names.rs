//! Names of enums in the API, the database and metrics. `strum` derives them from the variants; [`named!`](crate::named) gives an
//! enum the functions by which it is used, so that no caller imports a trait.

use std::str::FromStr;

use strum::VariantArray;

use crate::Invalid;

/// The values of an enum as an array, in the order of their declaration.
pub const fn all<T: Copy, const N: usize>(variants: &[T]) -> [T; N] {
    match variants.first_chunk() {
        Some(all) => *all,
        None => panic!("as many variants as the array has elements"),
    }
}

/// The names of an enum, as refusals list them.
pub fn list<T: VariantArray + Copy + Into<&'static str>>() -> String {
    T::VARIANTS.iter().map(|value| (*value).into()).collect::<Vec<&str>>().join(", ")
}

/// Parses a name that stands in `field`.
///
/// # Errors
/// It is not one of the names; the problem lists them.
pub fn parse<T: FromStr + VariantArray + Copy + Into<&'static str>>(field: &str, name: &str) -> Result<T, Invalid> {
    name.parse().map_err(|_| Invalid::new(field, format!("not one of {}", list::<T>())))
}

/// Gives an enum that derives `strum`'s `IntoStaticStr` and `VariantArray` its values and names, and one that derives
/// `EnumString` its `parse`: an `Option` for names that were stored, a `Result` that names the field for what people send.
#[macro_export]
macro_rules! named {
    ($vis:vis $name:ident) => {
        impl $name {
            /// Every value.
            $vis const ALL: [Self; <Self as strum::VariantArray>::VARIANTS.len()] =
                $crate::names::all(<Self as strum::VariantArray>::VARIANTS);

            /// Name.
            $vis fn as_str(self) -> &'static str {
                self.into()
            }
        }
    };
    ($vis:vis $name:ident, parse -> Option) => {
        $crate::named!($vis $name);

        impl $name {
            /// Parses a name.
            $vis fn parse(name: &str) -> Option<Self> {
                name.parse().ok()
            }
        }
    };
    ($vis:vis $name:ident, parse -> Result) => {
        $crate::named!($vis $name);

        impl $name {
            /// Parses the name in `field`.
            ///
            /// # Errors
            /// It is not one of the names; the problem lists them.
            $vis fn parse(field: &str, name: &str) -> Result<Self, $crate::Invalid> {
                $crate::names::parse(field, name)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
    #[strum(serialize_all = "snake_case")]
    enum Fruit {
        Apple,
        RedCurrant,
        #[strum(serialize = "fig:dried")]
        Fig,
    }

    crate::named!(Fruit, parse -> Result);

    #[test]
    fn names_read_back_and_a_refusal_lists_them_in_their_order() {
        assert_eq!(Fruit::ALL.map(Fruit::as_str), ["apple", "red_currant", "fig:dried"]);
        for fruit in Fruit::ALL {
            assert_eq!(Fruit::parse("fruit", fruit.as_str()).unwrap(), fruit);
        }
        for wrong in ["", "Apple", "apple ", "fig"] {
            let refused = Fruit::parse("fruit", wrong).unwrap_err();
            assert_eq!((refused.field.as_str(), refused.problem.as_str()), ("fruit", "not one of apple, red_currant, fig:dried"));
        }
    }
}
