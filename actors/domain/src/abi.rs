//! ABIs of native code: those an APK has libraries for, and those a device runs.

/// Known ABIs, in the order of their bits.
const KNOWN: [&str; 8] = ["arm64-v8a", "armeabi-v7a", "armeabi", "x86_64", "x86", "riscv64", "mips64", "mips"];
/// Bit of every other name.
const OTHER: u16 = 1 << 15;

/// Set of ABIs. Names that are not known count as one and the same, so that they never tell two sets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AbiSet(u16);

impl AbiSet {
    /// The set of these names; those that are empty do not count.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let bit = |name: &str| KNOWN.iter().position(|known| *known == name).map_or(OTHER, |at| 1 << at);
        Self(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).fold(0, |set, name| set | bit(name)))
    }

    /// The set that a device reports: names with commas between; `None` where there is no name.
    pub fn reported(list: &str) -> Option<Self> {
        Some(Self::of(list.split(','))).filter(|set| *set != Self::default())
    }

    /// Whether an app with libraries for these ABIs installs on a device that runs `device`. One without libraries does.
    pub fn runs_on(self, device: Self) -> bool {
        self == Self::default() || self.0 & device.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_runs_where_one_of_its_abis_does() {
        let phone = AbiSet::reported("arm64-v8a,armeabi-v7a, armeabi").unwrap();
        let new_phone = AbiSet::reported("arm64-v8a").unwrap();
        for (app, on_phone, on_new_phone) in [
            (vec![], true, true),
            (vec!["arm64-v8a"], true, true),
            (vec!["armeabi-v7a"], true, false),
            (vec!["x86", "x86_64"], false, false),
            (vec!["x86_64", "armeabi-v7a"], true, false),
            (vec!["pdp11"], false, false),
        ] {
            let set = AbiSet::of(app.iter().copied());
            assert_eq!((set.runs_on(phone), set.runs_on(new_phone)), (on_phone, on_new_phone), "{app:?}");
        }
        assert!(AbiSet::of(["pdp11"]).runs_on(AbiSet::reported("vax").unwrap()), "nothing is known of either");
        assert_eq!([AbiSet::reported(""), AbiSet::reported(" , ")], [None, None]);
    }
}
