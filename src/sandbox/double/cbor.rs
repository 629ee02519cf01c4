//! Just enough CBOR for Smithy's RPC v2: JSON's values, and a tag on timestamps.
//!
//! The reader takes what SDKs write (maps and lists of known and of unknown length, floats of any width) and nothing
//! that no member of ours has: no byte strings, no undefined, no numbers that are none.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use minicbor::data::{Tag, Type};
use minicbor::encode::Error;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};

/// How deep a body may nest: far more than any request does, and little enough for the stack.
const MAX_DEPTH: usize = 32;
/// The tag of seconds since 1970 (RFC 8949, section 3.4.2).
const EPOCH: Tag = Tag::new(1);
/// Members with this ending are timestamps.
const TIMESTAMP: &str = "Timestamp";

/// Seconds since 1970 with milliseconds behind the point, as both JSON and CBOR have timestamps.
pub(super) fn epoch(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

/// Reads a body; `None` when it is not one item of CBOR, or has what no request has.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    let mut decoder = Decoder::new(bytes);
    let value = item(&mut decoder, 0)?;
    (decoder.position() == bytes.len()).then_some(value)
}

fn item(decoder: &mut Decoder<'_>, depth: usize) -> Option<Value> {
    if depth == MAX_DEPTH {
        return None;
    }
    Some(match decoder.datatype().ok()? {
        Type::Null => {
            decoder.null().ok()?;
            Value::Null
        }
        Type::Bool => decoder.bool().ok()?.into(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64().ok()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => decoder.i64().ok()?.into(),
        Type::F16 => Number::from_f64(decoder.f16().ok()?.into())?.into(),
        Type::F32 => Number::from_f64(decoder.f32().ok()?.into())?.into(),
        Type::F64 => Number::from_f64(decoder.f64().ok()?)?.into(),
        Type::String | Type::StringIndef => text(decoder)?.into(),
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array().ok()?;
            let mut items = Vec::new();
            while goes_on(decoder, length, items.len())? {
                items.push(item(decoder, depth + 1)?);
            }
            items.into()
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map().ok()?;
            let mut members = Map::new();
            while goes_on(decoder, length, members.len())? {
                let name = text(decoder)?;
                // A name that comes twice makes a map invalid (RFC 8949, section 5.6).
                if members.insert(name, item(decoder, depth + 1)?).is_some() {
                    return None;
                }
            }
            members.into()
        }
        Type::Tag if decoder.tag().ok()? == EPOCH => item(decoder, depth + 1).filter(Value::is_number)?,
        _ => return None,
    })
}

/// Whether a collection has another item, after `count` of them. One of unknown length is ended by a break.
fn goes_on(decoder: &mut Decoder<'_>, length: Option<u64>, count: usize) -> Option<bool> {
    if let Some(length) = length {
        return Some((count as u64) < length);
    }
    let more = decoder.datatype().ok()? != Type::Break;
    if !more {
        decoder.skip().ok()?;
    }
    Some(more)
}

fn text(decoder: &mut Decoder<'_>) -> Option<String> {
    decoder.str_iter().ok()?.collect::<Result<String, _>>().ok()
}

/// Writes a body.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    put(&mut encoder, value, false).expect("a vector takes every byte, and each kind of value is written");
    encoder.into_writer()
}

fn put(encoder: &mut Encoder<Vec<u8>>, value: &Value, is_timestamp: bool) -> Result<(), Error<Infallible>> {
    match value {
        Value::Null => encoder.null()?,
        Value::Bool(value) => encoder.bool(*value)?,
        Value::Number(number) => {
            if is_timestamp {
                encoder.tag(EPOCH)?;
            }
            match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => encoder.u64(number)?,
                (None, Some(number)) => encoder.i64(number)?,
                (None, None) => encoder.f64(number.as_f64().unwrap_or_default())?,
            }
        }
        Value::String(text) => encoder.str(text)?,
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            for item in items {
                put(encoder, item, false)?;
            }
            encoder
        }
        Value::Object(members) => {
            encoder.map(members.len() as u64)?;
            for (name, value) in members {
                encoder.str(name)?;
                put(encoder, value, name.ends_with(TIMESTAMP))?;
            }
            encoder
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_survive_a_round_trip() {
        let value = json!({
            "AlarmNames": ["errors", "é"],
            "MaxRecords": 100,
            "Below": -7,
            "Threshold": 0.25,
            "Enabled": true,
            "Nothing": null,
            "StateUpdatedTimestamp": 1_700_000_000.125,
        });
        assert_eq!(read(&write(&value)), Some(value));
    }

    #[test]
    fn timestamps_are_tagged_and_nothing_else_is() {
        assert_eq!(
            write(&json!({"Timestamp": 1.5})),
            b"\xa1\x69Timestamp\xc1\xfb\x3f\xf8\0\0\0\0\0\0"
        );
        assert_eq!(
            write(&json!({"Threshold": 1.5})),
            b"\xa1\x69Threshold\xfb\x3f\xf8\0\0\0\0\0\0"
        );
    }

    #[test]
    fn what_sdks_write_is_read() {
        // {_ "AlarmNames": [_ "a", "b"], "Half": 1.5}, with "b" in two chunks and a float of 16 bits.
        let body = b"\xbf\x6aAlarmNames\x9f\x61a\x7f\x61b\x60\xff\xff\x64Half\xf9\x3e\x00\xff";
        assert_eq!(read(body), Some(json!({"AlarmNames": ["a", "b"], "Half": 1.5})));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = [vec![0x81; MAX_DEPTH + 1], vec![0x01]].concat();
        for bad in [
            &b""[..],
            b"\xa1",
            b"\xa1\x61a",
            b"\xa2\x61a\x01\x61a\x02",
            b"\xa0\xa0",
            b"\xa1\x01\x01",
            b"\x41x",
            b"\xf9\x7e\x00",
            b"\xc1\x61a",
            b"\xc2\x01",
            b"\xff",
            b"\xf7",
            &deep,
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
