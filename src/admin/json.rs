//! JSON without duplicate keys: parsers disagree about their meaning (RFC 8259, section 4).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Parses JSON; the error is for the client.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    let parsed: Result<UniqueKeys, _> = serde_json::from_slice(text);
    match parsed {
        Ok(UniqueKeys(value)) => Ok(value),
        // Only duplicate keys are data errors.
        Err(error) if error.is_data() => Err(format!("the body has {error}")),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(UniqueKeys(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, UniqueKeys(value))) = object.next_entry::<String, _>()? {
            if members.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format!("the duplicate key {shown:?}")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_serde_json_does() {
        for text in [
            "null",
            "true",
            "-3",
            "18446744073709551615",
            "-2.5e-3",
            "\"a\\u0000ü\"",
            "[]",
            "[1,[{}],\"\"]",
            "{}",
            r#"{"a":{"b":1},"b":{"b":[2]},"":null}"#,
            r#" { "a" : [ { "x": 1 }, { "x": 1 } ] } "#,
        ] {
            let wanted: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn errors() {
        for (text, said) in [
            ("{\"a\":1,\"a\":1}", "the body has the duplicate key \"a\" at line 1 column 13"),
            ("{\"a\":1,\"\\u0061\":2}", "the duplicate key \"a\""),
            ("[{\"b\":{\"c\":1,\"d\":2,\"c\":3}}]", "the duplicate key \"c\""),
            ("{\"\":1,\"\":1}", "the duplicate key \"\""),
            ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
            ("{\"a\":1,}", "the body is not JSON: trailing comma"),
            ("{\"a\":1} x", "the body is not JSON: trailing characters"),
            ("1e999", "the body is not JSON: number out of range"),
            ("\"\\ud800\"", "the body is not JSON: "),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = "k".repeat(60_000);
        let error = parse(format!("{{\"{long}\":1,\"{long}\":2}}").as_bytes()).unwrap_err();
        assert!(error.len() < 200, "{error}");
        assert!(parse("[".repeat(60_000).as_bytes()).unwrap_err().contains("recursion limit"));
    }
}
