//! Text as it is: values that serialize as one string.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::ser::{Impossible, Serialize, Serializer};

use super::json::unquoted;
use crate::error::{Error, ErrorKind, Result};

/// The UTF-8 bytes of a value that serializes as a string, a char or a variant without data.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    value.serialize(OneString).map_err(|Refused(_)| {
        Error::new(
            ErrorKind::Encode,
            "the string format takes text, and the value is something else",
        )
        .remedy("pass text, or use json or bytes")
    })
}

/// Reads text, which must be whole UTF-8.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let cause = format!("the text is not UTF-8 from byte {} on", error.valid_up_to());
        Error::new(ErrorKind::Decode, cause).remedy("load it as bytes")
    })?;
    T::deserialize(OneText(text)).map_err(|Refused(message)| {
        let cause = format!("the text is not of the type asked for: {}", unquoted(&message));
        Error::new(ErrorKind::Decode, cause)
    })
}

/// Why serde stopped; never shown as it is, since it may quote the value.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The rest of a serializer that takes one kind of value and refuses all others.
macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $type),*) -> std::result::Result<$ok, Refused> {
            Err(Refused(String::new()))
        }
    )*};
    (@values) => {
        $crate::format::text::refuse! {
            serialize_bool(bool) -> Self::Ok;
            serialize_i8(i8) -> Self::Ok;
            serialize_i16(i16) -> Self::Ok;
            serialize_i32(i32) -> Self::Ok;
            serialize_i64(i64) -> Self::Ok;
            serialize_u16(u16) -> Self::Ok;
            serialize_u32(u32) -> Self::Ok;
            serialize_u64(u64) -> Self::Ok;
            serialize_f32(f32) -> Self::Ok;
            serialize_f64(f64) -> Self::Ok;
            serialize_none() -> Self::Ok;
            serialize_unit() -> Self::Ok;
            serialize_unit_struct(&'static str) -> Self::Ok;
            serialize_map(Option<usize>) -> Self::SerializeMap;
            serialize_struct(&'static str, usize) -> Self::SerializeStruct;
            serialize_tuple_variant(&'static str, u32, &'static str, usize)
                -> Self::SerializeTupleVariant;
            serialize_struct_variant(&'static str, u32, &'static str, usize)
                -> Self::SerializeStructVariant;
        }

        fn serialize_some<T: Serialize + ?Sized>(
            self,
            value: &T,
        ) -> std::result::Result<Self::Ok, Refused> {
            value.serialize(self)
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            value: &T,
        ) -> std::result::Result<Self::Ok, Refused> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> std::result::Result<Self::Ok, Refused> {
            Err(Refused(String::new()))
        }
    };
}
pub(super) use refuse;

struct OneString;

impl Serializer for OneString {
    type Ok = Vec<u8>;
    type Error = Refused;
    type SerializeSeq = Impossible<Vec<u8>, Refused>;
    type SerializeTuple = Impossible<Vec<u8>, Refused>;
    type SerializeTupleStruct = Impossible<Vec<u8>, Refused>;
    type SerializeTupleVariant = Impossible<Vec<u8>, Refused>;
    type SerializeMap = Impossible<Vec<u8>, Refused>;
    type SerializeStruct = Impossible<Vec<u8>, Refused>;
    type SerializeStructVariant = Impossible<Vec<u8>, Refused>;

    refuse!(@values);
    refuse! {
        serialize_u8(u8) -> Vec<u8>;
        serialize_bytes(&[u8]) -> Vec<u8>;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
    }

    fn serialize_char(self, value: char) -> Result<Vec<u8>, Refused> {
        Ok(value.to_string().into_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<Vec<u8>, Refused> {
        Ok(value.as_bytes().to_vec())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Vec<u8>, Refused> {
        Ok(variant.as_bytes().to_vec())
    }
}

struct OneText<'a>(&'a str);

impl<'de> Deserializer<'de> for OneText<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let text: StrDeserializer<'_, Refused> = self.0.into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
