//! Messages of the link: encoding and decoding, and macros that derive it from a list of numbered fields.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{BadBody, Format, leaf};

/// A value that travels between nodes.
pub(crate) trait Message: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Writer);
    /// Decodes the value at the front.
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody>;
    /// The value of a field that was not sent: an error for those that have no default.
    fn absent() -> Result<Self, BadBody> {
        Err(BadBody)
    }
    /// Whether the field need not be sent, since its absence reads the same.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Bytes of a message that is being written.
pub(crate) struct Writer {
    format: Format,
    out: Vec<u8>,
}

/// Bytes of a message that are still to be read.
pub(crate) struct Reader<'a> {
    format: Format,
    input: &'a [u8],
}

/// Ends the fields of a message.
const END: u16 = 0;
/// Longest field whose length takes one byte (bincode's varint).
const SHORT_MAX_BYTES: usize = 250;

impl Writer {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: Vec::with_capacity(256) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn leaf<T: Serialize>(&mut self, value: &T) {
        leaf::write(value, &mut self.out);
    }

    /// A field that protocol 3 has as well.
    pub(crate) fn field<T: Message>(&mut self, number: u16, value: &T) {
        match self.format {
            Format::Positional => value.write(self),
            Format::Numbered => self.numbered(number, value),
        }
    }

    /// A field that came after protocol 3.
    pub(crate) fn later_field<T: Message>(&mut self, number: u16, value: &T) {
        if self.format == Format::Numbered {
            self.numbered(number, value);
        }
    }

    fn numbered<T: Message>(&mut self, number: u16, value: &T) {
        if value.is_absent() {
            return;
        }
        self.leaf(&number);
        let start = self.out.len();
        self.out.push(0);
        value.write(self);
        let length = self.out.len() - start - 1;
        match u8::try_from(length) {
            Ok(short) if length <= SHORT_MAX_BYTES => self.out[start] = short,
            _ => {
                let mut prefix = Vec::with_capacity(5);
                leaf::write(&length, &mut prefix);
                self.out.splice(start..=start, prefix);
            }
        }
    }

    /// Ends the fields.
    pub(crate) fn end(&mut self) {
        if self.format == Format::Numbered {
            self.leaf(&END);
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(format: Format, input: &'a [u8]) -> Self {
        Self { format, input }
    }

    pub(crate) fn leaf<T: DeserializeOwned>(&mut self) -> Result<T, BadBody> {
        leaf::read(&mut self.input)
    }

    pub(crate) fn is_positional(&self) -> bool {
        self.format == Format::Positional
    }

    /// Number and value of the next field; `None` after the last one.
    pub(crate) fn next_field(&mut self) -> Result<Option<(u16, Reader<'a>)>, BadBody> {
        let number: u16 = self.leaf()?;
        if number == END {
            return Ok(None);
        }
        let length: usize = self.leaf()?;
        let (value, rest) = self.input.split_at_checked(length).ok_or(BadBody)?;
        self.input = rest;
        Ok(Some((number, Reader { format: self.format, input: value })))
    }

    /// The value that all of the bytes make.
    pub(crate) fn whole<T: Message>(mut self) -> Result<T, BadBody> {
        let value = T::read(&mut self)?;
        if self.input.is_empty() { Ok(value) } else { Err(BadBody) }
    }
}

/// Implements [`Message`] for a struct: fields of protocol 3 by number and in their order there; those that came later after a `;`.
macro_rules! message_struct {
    ($type:ident { $($number:literal: $field:ident),* $(; $($later:literal: $added:ident),+)? $(,)? }) => {
        impl $crate::codec::Message for $type {
            fn write(&self, out: &mut $crate::codec::message::Writer) {
                let Self { $($field,)* $($($added),+)? } = self;
                $(out.field($number, $field);)*
                $($(out.later_field($later, $added);)+)?
                out.end();
            }
            fn read(input: &mut $crate::codec::message::Reader<'_>) -> Result<Self, $crate::codec::BadBody> {
                use $crate::codec::message::or_absent;
                $(let mut $field = None;)*
                $($(let mut $added = None;)+)?
                if input.is_positional() {
                    $($field = Some($crate::codec::Message::read(input)?);)*
                } else {
                    while let Some((number, value)) = input.next_field()? {
                        match number {
                            $($number => $field = Some(value.whole()?),)*
                            $($($later => $added = Some(value.whole()?),)+)?
                            _ => {}
                        }
                    }
                }
                Ok(Self { $($field: or_absent($field)?,)* $($($added: or_absent($added)?),+)? })
            }
        }
    };
}

/// Implements [`Message`] for an enum: variants by number, the place that they had in protocol 3, each with its fields; those that came later
/// after a `;`.
macro_rules! message_enum {
    ($type:ident { $($variant_number:literal: $variant:ident
        $({ $($number:literal: $field:ident),+ $(; $($later:literal: $added:ident),+)? $(,)? })?
        $(( $newtype_number:literal: $newtype:ident ))?
    ),+ $(,)? }) => {
        impl $crate::codec::Message for $type {
            fn write(&self, out: &mut $crate::codec::message::Writer) {
                match self {
                    $(Self::$variant $({ $($field),+ $(, $($added),+)? })? $(($newtype))? => {
                        out.leaf::<u32>(&$variant_number);
                        $($(out.field($number, $field);)+ $($(out.later_field($later, $added);)+)?)?
                        $(out.field($newtype_number, $newtype);)?
                    })+
                }
                out.end();
            }
            fn read(input: &mut $crate::codec::message::Reader<'_>) -> Result<Self, $crate::codec::BadBody> {
                #[allow(unused_imports, reason = "variants without fields")]
                use $crate::codec::message::or_absent;
                match input.leaf::<u32>()? {
                    $($variant_number => {
                        $($(let mut $field = None;)+ $($(let mut $added = None;)+)?)?
                        $(let mut $newtype = None;)?
                        if input.is_positional() {
                            $($($field = Some($crate::codec::Message::read(input)?);)+)?
                            $($newtype = Some($crate::codec::Message::read(input)?);)?
                        } else {
                            #[allow(unused_variables, clippy::match_single_binding, reason = "variants without fields")]
                            while let Some((number, value)) = input.next_field()? {
                                match number {
                                    $($($number => $field = Some(value.whole()?),)+ $($($later => $added = Some(value.whole()?),)+)?)?
                                    $($newtype_number => $newtype = Some(value.whole()?),)?
                                    _ => {}
                                }
                            }
                        }
                        Ok(Self::$variant $({ $($field: or_absent($field)?),+ $(, $($added: or_absent($added)?),+)? })? $((or_absent($newtype)?))?)
                    })+
                    _ => Err($crate::codec::BadBody),
                }
            }
        }
    };
}

pub(crate) use {message_enum, message_struct};

/// A field as it was sent, else its default.
pub(crate) fn or_absent<T: Message>(sent: Option<T>) -> Result<T, BadBody> {
    sent.map_or_else(T::absent, Ok)
}

impl<T: Message> Message for Option<T> {
    fn write(&self, out: &mut Writer) {
        out.leaf(&self.is_some());
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        if input.leaf::<bool>()? { T::read(input).map(Some) } else { Ok(None) }
    }
    fn absent() -> Result<Self, BadBody> {
        Ok(None)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Message> Message for Vec<T> {
    fn write(&self, out: &mut Writer) {
        out.leaf(&self.len());
        self.iter().for_each(|item| item.write(out));
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        let count: usize = input.leaf()?;
        // Each takes a byte at least.
        if count > input.input.len() {
            return Err(BadBody);
        }
        let mut items = Self::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(T::read(input)?);
        }
        Ok(items)
    }
    fn absent() -> Result<Self, BadBody> {
        Ok(Self::new())
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<A: Message, B: Message> Message for (A, B) {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        Ok((A::read(input)?, B::read(input)?))
    }
}

impl<T: Message> Message for Box<T> {
    fn write(&self, out: &mut Writer) {
        (**self).write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        T::read(input).map(Self::new)
    }
}

impl<T: Message> Message for Arc<T> {
    fn write(&self, out: &mut Writer) {
        (**self).write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, BadBody> {
        T::read(input).map(Self::new)
    }
}

/// Empty answer.
impl Message for () {
    fn write(&self, _out: &mut Writer) {}
    fn read(_input: &mut Reader<'_>) -> Result<Self, BadBody> {
        Ok(())
    }
}
