//! Bytes as they are: values that serialize as bytes or as a sequence of `u8`.

use serde::de::value::U8Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor,
};
use serde::ser::{
    Impossible, Serialize, SerializeSeq, SerializeTuple, SerializeTupleStruct, Serializer,
};

use super::json::unquoted;
use super::text::{Refused, refuse};
use crate::error::{Error, ErrorKind, Result};

/// The bytes of `&[u8]`, `Vec<u8>`, `[u8; N]` and whatever else serializes as bytes.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    value.serialize(AllBytes).map_err(|Refused(_)| {
        Error::new(
            ErrorKind::Encode,
            "the bytes format takes bytes, and the value is something else",
        )
        .remedy("pass bytes, or use json or string")
    })
}

/// Hands the bytes to `T` as bytes or as a sequence, whichever it asks for.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    T::deserialize(Stored(bytes)).map_err(|Refused(message)| {
        let cause = format!("the bytes are not of the type asked for: {}", unquoted(&message));
        Error::new(ErrorKind::Decode, cause)
    })
}

#[derive(Clone, Copy)]
struct AllBytes;

/// A sequence on its way to bytes.
struct Gathered(Vec<u8>);

impl Gathered {
    /// A length is a hint of the value's own making, so no more than this is set aside for it.
    const TRUSTED: usize = 1 << 20;

    fn new(len: Option<usize>) -> Self {
        Self(Vec::with_capacity(len.unwrap_or(0).min(Self::TRUSTED)))
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.0.push(value.serialize(OneByte)?);
        Ok(())
    }
}

impl Serializer for AllBytes {
    type Ok = Vec<u8>;
    type Error = Refused;
    type SerializeSeq = Gathered;
    type SerializeTuple = Gathered;
    type SerializeTupleStruct = Gathered;
    type SerializeTupleVariant = Impossible<Vec<u8>, Refused>;
    type SerializeMap = Impossible<Vec<u8>, Refused>;
    type SerializeStruct = Impossible<Vec<u8>, Refused>;
    type SerializeStructVariant = Impossible<Vec<u8>, Refused>;

    refuse!(@values);
    refuse! {
        serialize_u8(u8) -> Vec<u8>;
        serialize_char(char) -> Vec<u8>;
        serialize_str(&str) -> Vec<u8>;
        serialize_unit_variant(&'static str, u32, &'static str) -> Vec<u8>;
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Vec<u8>, Refused> {
        Ok(value.to_vec())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Gathered, Refused> {
        Ok(Gathered::new(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Gathered, Refused> {
        Ok(Gathered::new(Some(len)))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Gathered, Refused> {
        Ok(Gathered::new(Some(len)))
    }
}

macro_rules! gather {
    ($($part:ident: $method:ident;)*) => {$(
        impl $part for Gathered {
            type Ok = Vec<u8>;
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.push(value)
            }

            fn end(self) -> Result<Vec<u8>, Refused> {
                Ok(self.0)
            }
        }
    )*};
}

gather! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
}

struct OneByte;

impl Serializer for OneByte {
    type Ok = u8;
    type Error = Refused;
    type SerializeSeq = Impossible<u8, Refused>;
    type SerializeTuple = Impossible<u8, Refused>;
    type SerializeTupleStruct = Impossible<u8, Refused>;
    type SerializeTupleVariant = Impossible<u8, Refused>;
    type SerializeMap = Impossible<u8, Refused>;
    type SerializeStruct = Impossible<u8, Refused>;
    type SerializeStructVariant = Impossible<u8, Refused>;

    refuse!(@values);
    refuse! {
        serialize_char(char) -> u8;
        serialize_str(&str) -> u8;
        serialize_bytes(&[u8]) -> u8;
        serialize_unit_variant(&'static str, u32, &'static str) -> u8;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
    }

    fn serialize_u8(self, value: u8) -> Result<u8, Refused> {
        Ok(value)
    }
}

struct Stored<'a>(&'a [u8]);

impl<'a> Stored<'a> {
    fn visit_seq<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let len = self.0.len();
        let mut left = Elements(self.0.iter());
        let value = visitor.visit_seq(&mut left)?;
        if left.0.len() == 0 {
            return Ok(value);
        }
        Err(Refused(format!("invalid length {len}, expected {}", len - left.0.len())))
    }
}

struct Elements<'a>(std::slice::Iter<'a, u8>);

impl<'de> SeqAccess<'de> for &mut Elements<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        let Some(byte) = self.0.next() else { return Ok(None) };
        let byte: U8Deserializer<Refused> = (*byte).into_deserializer();
        seed.deserialize(byte).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<'de> Deserializer<'de> for Stored<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bytes(self.0)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.visit_seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Refused> {
        self.visit_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.visit_seq(visitor)
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

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        // String takes bytes that happen to be UTF-8, which would hide a wrong format.
        self.refuse_text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.refuse_text(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct map
        struct enum identifier ignored_any
    }
}

impl Stored<'_> {
    fn refuse_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        use serde::de::{Error as _, Unexpected};
        Err(Refused::invalid_type(Unexpected::Bytes(&[]), &visitor))
    }
}
