//! `AndroidManifest.xml` in its binary form: the few attributes that matter here.

use domain::Invalid;

use super::bytes::{Chunk, Chunks, index, u16_at, u32_at};
use super::strings::{POOL, Strings};
use super::{Deadline, refused};

const XML: u16 = 0x0003;
const RESOURCE_MAP: u16 = 0x0180;
const START_ELEMENT: u16 = 0x0102;
const END_ELEMENT: u16 = 0x0103;
/// Absent, where a number of a string could stand.
const NONE: u32 = u32::MAX;
/// Elements between two looks at the time.
const LOOK_EVERY: usize = 4096;

// Attributes of the framework, by their resource ids (android.R.attr).
const LABEL: u32 = 0x0101_0001;
const ICON: u32 = 0x0101_0002;
const NAME: u32 = 0x0101_0003;
const HAS_CODE: u32 = 0x0101_000c;
const DEBUGGABLE: u32 = 0x0101_000f;
const VALUE: u32 = 0x0101_0024;
const MIN_SDK: u32 = 0x0101_020c;
const VERSION_CODE: u32 = 0x0101_021b;
const VERSION_NAME: u32 = 0x0101_021c;
const TARGET_SDK: u32 = 0x0101_0270;
const MAX_SDK: u32 = 0x0101_0271;
const TEST_ONLY: u32 = 0x0101_0272;
const EXTRACT_NATIVE_LIBS: u32 = 0x0101_04ea;
const IS_FEATURE_SPLIT: u32 = 0x0101_055b;
const VERSION_CODE_MAJOR: u32 = 0x0101_0576;
const IS_SPLIT_REQUIRED: u32 = 0x0101_0591;
const REQUIRED_SPLIT_TYPES: u32 = 0x0101_064e;

/// Entry of `<application>` that the Play store writes into the base of an app in several parts.
const SPLITS_REQUIRED: &str = "com.android.vending.splits.required";

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(u32),
    /// Yes or no.
    Flag(bool),
    /// A resource.
    Reference(u32),
    /// Something else, such as a fraction or a colour.
    Other,
}

/// Attributes of the manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) package: String,
    pub(super) version_code: Option<Value>,
    /// Upper half of the version code.
    pub(super) version_code_major: Option<Value>,
    pub(super) version_name: Option<Value>,
    /// API level, or the code name of a preview.
    pub(super) min_sdk: Option<Value>,
    /// The same.
    pub(super) target_sdk: Option<Value>,
    /// API level.
    pub(super) max_sdk: Option<Value>,
    pub(super) label: Option<Value>,
    pub(super) icon: Option<Value>,
    pub(super) debuggable: Option<Value>,
    pub(super) split: Option<String>,
    pub(super) config_for_split: Option<String>,
    pub(super) feature_split: Option<Value>,
    pub(super) required_split_types: Option<Value>,
    pub(super) split_required: Option<Value>,
    pub(super) split_required_by_app: Option<Value>,
    pub(super) splits_required_by_store: Option<Value>,
    pub(super) test_only: Option<Value>,
    pub(super) has_code: Option<Value>,
    pub(super) extract_native_libs: Option<Value>,
    pub(super) has_application: bool,
    /// An application or an instrumentation: without either it is nothing to install.
    pub(super) has_content: bool,
}

/// Reads a manifest.
///
/// # Errors
/// The file is no binary XML, or has no `manifest` element or no package.
pub(super) fn read(bytes: &[u8], deadline: Deadline) -> Result<Manifest, Invalid> {
    let document = Chunks(bytes).next().filter(|chunk| chunk.kind == XML);
    let document = document.ok_or_else(|| refused("AndroidManifest.xml is not in Android's binary format"))?;
    let (mut strings, mut ids): (Strings<'_>, &[u8]) = (Strings::default(), &[]);
    let mut manifest = None;
    let mut depth = 0_usize;
    // The element of the second level that is open.
    let mut within_application = false;
    for (n, chunk) in Chunks(document.body()).enumerate() {
        if n % LOOK_EVERY == 0 {
            deadline.check()?;
        }
        match chunk.kind {
            POOL => strings = Strings::of(&chunk),
            RESOURCE_MAP => ids = chunk.body(),
            END_ELEMENT => depth = depth.saturating_sub(1),
            START_ELEMENT => {
                depth += 1;
                let Some(name) = element_name(&chunk).filter(|_| depth <= 3).and_then(|name| strings.get(name)) else { continue };
                let attributes = Attributes { chunk: &chunk, strings, ids };
                match (depth, name.as_str()) {
                    (1, "manifest") => {
                        let read = manifest.insert(Manifest::default());
                        read.package = attributes.named("package").unwrap_or_default();
                        read.version_code = attributes.given(VERSION_CODE);
                        read.version_code_major = attributes.given(VERSION_CODE_MAJOR);
                        read.version_name = attributes.value(VERSION_NAME);
                        read.split = attributes.named("split");
                        read.config_for_split = attributes.named("configForSplit");
                        read.feature_split = attributes.value(IS_FEATURE_SPLIT);
                        read.split_required = attributes.value(IS_SPLIT_REQUIRED);
                        read.required_split_types = attributes.value(REQUIRED_SPLIT_TYPES);
                    }
                    (2, "uses-sdk") => {
                        if let Some(read) = &mut manifest {
                            read.min_sdk = attributes.given(MIN_SDK);
                            read.target_sdk = attributes.given(TARGET_SDK);
                            read.max_sdk = attributes.given(MAX_SDK);
                        }
                    }
                    (2, "application") => {
                        within_application = true;
                        if let Some(read) = &mut manifest {
                            read.label = attributes.value(LABEL);
                            read.icon = attributes.value(ICON);
                            read.debuggable = attributes.value(DEBUGGABLE);
                            read.test_only = attributes.value(TEST_ONLY);
                            read.has_code = attributes.value(HAS_CODE);
                            read.extract_native_libs = attributes.value(EXTRACT_NATIVE_LIBS);
                            read.split_required_by_app = attributes.value(IS_SPLIT_REQUIRED);
                            (read.has_application, read.has_content) = (true, true);
                        }
                    }
                    (2, other) => {
                        within_application = false;
                        if let Some(read) = manifest.as_mut().filter(|_| other == "instrumentation") {
                            read.has_content = true;
                        }
                    }
                    (3, "meta-data") if within_application && attributes.value(NAME) == Some(Value::Text(SPLITS_REQUIRED.to_owned())) => {
                        if let Some(read) = &mut manifest {
                            read.splits_required_by_store = attributes.value(VALUE);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    manifest.ok_or_else(|| refused("AndroidManifest.xml has no manifest element"))
}

fn element_name(chunk: &Chunk<'_>) -> Option<u32> {
    u32_at(chunk.body(), 4)
}

/// The attributes of an element.
struct Attributes<'a> {
    chunk: &'a Chunk<'a>,
    strings: Strings<'a>,
    ids: &'a [u8],
}

impl<'a> Attributes<'a> {
    fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        let body = self.chunk.body();
        let numbers = || {
            let (start, size, count) = (u16_at(body, 8)?, u16_at(body, 10)?, u16_at(body, 12)?);
            (size >= 20).then_some((usize::from(start), usize::from(size), usize::from(count)))
        };
        let (start, size, count) = numbers().unwrap_or((0, 20, 0));
        body.get(start..).unwrap_or_default().chunks_exact(size).take(count)
    }

    /// The text of an attribute without a namespace.
    fn named(&self, name: &str) -> Option<String> {
        let own = |attribute: &&[u8]| {
            u32_at(attribute, 0) == Some(NONE) && u32_at(attribute, 4).and_then(|at| self.strings.get(at)).as_deref() == Some(name)
        };
        match self.each().find(own).and_then(|attribute| self.read(attribute))? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an attribute of the framework.
    fn value(&self, id: u32) -> Option<Value> {
        self.read(self.of_id(id)?)
    }

    fn of_id(&self, id: u32) -> Option<&'a [u8]> {
        self.each().find(|attribute| {
            let at = u32_at(attribute, 4).map(index).and_then(|at| at.checked_mul(4));
            at.and_then(|at| u32_at(self.ids, at)) == Some(id)
        })
    }

    /// The value of an attribute of the framework that must not be overlooked: of a kind that is not read it is [`Value::Other`].
    fn given(&self, id: u32) -> Option<Value> {
        let attribute = self.of_id(id)?;
        match attribute.get(15) {
            // Null: as if it were not there.
            Some(0x00) => None,
            _ => Some(self.read(attribute).unwrap_or(Value::Other)),
        }
    }

    fn read(&self, attribute: &[u8]) -> Option<Value> {
        typed(*attribute.get(15)?, u32_at(attribute, 16)?, &self.strings)
    }
}

/// A typed value (`Res_value`).
pub(super) fn typed(kind: u8, data: u32, strings: &Strings<'_>) -> Option<Value> {
    match kind {
        // A reference, and the same of a library that is numbered at run time.
        0x01 | 0x07 => Some(Value::Reference(data)),
        0x03 => strings.get(data).map(Value::Text),
        0x10 | 0x11 => Some(Value::Number(data)),
        0x12 => Some(Value::Flag(data != 0)),
        _ => None,
    }
}
