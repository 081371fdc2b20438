//! The part of an address after `?`: names and values, percent-decoded. Pure. Whatever is not asked for is refused, so that a
//! name that is spelt wrong is no silent default.

use std::fmt::Display;
use std::str::FromStr;

use super::problem::Problem;

/// Names and values that were not taken yet.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in text.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let name = decode(name)?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Problem::bad(format!("{name:?} is given twice; give it once")));
            }
            fields.push((name, decode(value)?));
        }
        Ok(Self(fields))
    }

    /// Takes the value of `name`.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the value of `name` as something else; `accepted` says what it may be.
    pub(super) fn value<T: FromStr>(&mut self, name: &str, accepted: impl Display) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refused = || Problem::bad(format!("{name} {text:?} is not accepted; give {accepted}"));
        text.parse().map(Some).map_err(|_| refused())
    }

    /// Takes the value of `name` as a whole number in decimal digits.
    pub(super) fn number(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = text.len() <= 19 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|value| digits && (least..=most).contains(value));
        let refused = || Problem::bad(format!("{name} {text:?} is not accepted; give a number from {least} to {most}"));
        value.map(Some).ok_or_else(refused)
    }

    /// Refuses what is left; `known` names what there is.
    pub(super) fn end(self, known: &str) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad(format!("{name:?} is not known here; known: {known}"))),
        }
    }
}

fn decode(text: &str) -> Result<String, Problem> {
    let refused = || Problem::bad(format!("{text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                high.zip(low).map(|(high, low)| (high << 4 | low) as u8).ok_or_else(refused)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_taken_once() {
        let mut query = Query::parse("address=2001%3adb8%3A%3a1&by=rule&note=a+b%26c&empty").unwrap();
        assert_eq!(query.text("address").as_deref(), Some("2001:db8::1"));
        assert_eq!(query.text("address"), None);
        assert_eq!(query.text("note").as_deref(), Some("a b&c"));
        assert_eq!(query.text("empty").as_deref(), Some(""));
        let problem = query.end("by").unwrap_err();
        assert_eq!(problem.detail, "\"by\" is not known here; known: by");
    }

    #[test]
    fn what_is_given_twice_or_badly_encoded_is_refused() {
        for text in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1", "a=1&%61=2"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_plain_and_in_their_range() {
        let number = |text: &str| Query::parse(&format!("n={text}")).unwrap().number("n", 1, 100).ok().flatten();
        assert_eq!((number("1"), number("100"), number("007")), (Some(1), Some(100), Some(7)));
        for text in ["0", "101", "-1", "%2B1", "1.0", "1e1", "", "%201", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_percent_encoded_is_decoded_to_itself(value in ".*") {
            let encoded: Vec<String> = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(Query::parse(&format!("v={}", encoded.concat())).unwrap().text("v"), Some(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = Query::parse(&text);
        }
    }
}
