//! A layer over a serializer that refuses what serde_json would write but not read back equal:
//! NaN and infinities, which it writes as null, and more levels than it reads.

use std::fmt::Display;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

pub(super) const NOT_FINITE: &str = "the value has a NaN or an infinity, which JSON lacks";
pub(super) const TOO_DEEP: &str = "the value is nested more than 127 levels deep";

/// As many levels as serde_json reads.
const DEPTH_MAX: u8 = 127;

/// A value at a depth, serialized through the layer.
pub(super) struct Finite<'a, T: ?Sized> {
    value: &'a T,
    depth: u8,
}

impl<'a, T: ?Sized> Finite<'a, T> {
    pub(super) fn new(value: &'a T) -> Self {
        Self { value, depth: 0 }
    }
}

impl<T: Serialize + ?Sized> Serialize for Finite<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Layer { inner: serializer, depth: self.depth })
    }
}

/// A serializer, or a part of one, at a depth.
struct Layer<S> {
    inner: S,
    depth: u8,
}

impl<S: Serializer> Layer<S> {
    /// The depth `levels` further in.
    fn deeper(&self, levels: u8) -> Result<u8, S::Error> {
        let depth = self.depth.saturating_add(levels);
        if depth > DEPTH_MAX { Err(S::Error::custom(TOO_DEEP)) } else { Ok(depth) }
    }
}

macro_rules! forward {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

macro_rules! open {
    ($($method:ident($($name:ident: $type:ty),*) -> $part:ident, $levels:literal;)*) => {$(
        fn $method(self, $($name: $type),*) -> Result<Self::$part, S::Error> {
            let depth = self.deeper($levels)?;
            Ok(Layer { inner: self.inner.$method($($name),*)?, depth })
        }
    )*};
}

impl<S: Serializer> Serializer for Layer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Layer<S::SerializeSeq>;
    type SerializeTuple = Layer<S::SerializeTuple>;
    type SerializeTupleStruct = Layer<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Layer<S::SerializeTupleVariant>;
    type SerializeMap = Layer<S::SerializeMap>;
    type SerializeStruct = Layer<S::SerializeStruct>;
    type SerializeStructVariant = Layer<S::SerializeStructVariant>;

    forward! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit_struct(&'static str);
    }

    open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq, 1;
        serialize_tuple(len: usize) -> SerializeTuple, 1;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct, 1;
        serialize_map(len: Option<usize>) -> SerializeMap, 1;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct, 1;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant, 2;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant, 2;
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            self.inner.serialize_f32(value)
        } else {
            Err(S::Error::custom(NOT_FINITE))
        }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            self.inner.serialize_f64(value)
        } else {
            Err(S::Error::custom(NOT_FINITE))
        }
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Finite { value, depth: self.depth })
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Finite { value, depth: self.depth })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let depth = self.deeper(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &Finite { value, depth })
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($part:ident: $method:ident;)*) => {$(
        impl<S: $part> $part for Layer<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&Finite { value, depth: self.depth })
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! fields {
    ($($part:ident;)*) => {$(
        impl<S: $part> $part for Layer<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.inner.serialize_field(key, &Finite { value, depth: self.depth })
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Layer<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(&Finite { value: key, depth: self.depth })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&Finite { value, depth: self.depth })
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
