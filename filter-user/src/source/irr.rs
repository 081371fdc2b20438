//! What the routing registries (IRR) have registered: questions to an `IRRd` server, and its answers. Never the only
//! source of a rule: anyone may register a route, and nobody has to announce what is registered. Only to check others by.
//!
//! Protocol: <https://irrd.readthedocs.io/en/stable/users/queries/whois/>, "`IRRd` style queries", over TCP port 43. The
//! questions of a session are sent at once; the server answers each but `!!` and `!q`, in their order:
//!
//! | answer                   | meaning                                                      |
//! |--------------------------|--------------------------------------------------------------|
//! | `A<length>`, data, `C`   | the data; the length counts the newline behind it            |
//! | `C`                      | done, and nothing to say                                     |
//! | `D`                      | nobody has registered that                                   |
//! | `E`                      | it is registered more than once (servers before version 4)   |
//! | `F <text>`               | the question was refused                                     |

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::quoted;
use crate::prefix::{Asn, Prefixes};

/// The most bytes to read of a session: ten times what the AS with the most routes has.
pub const MAX_REPLY: usize = 16 << 20;

/// The most ASes a set may stand for. A set of more holds the customers of a carrier, not an organisation.
pub const MAX_MEMBERS: usize = 10_000;

/// Why a registry's reply cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IrrError {
    /// A name that is no AS-set's (RFC 2622 section 5), and might be a question of its own.
    #[error("{0} is no name of an AS-set; write it like AS-EXAMPLE or AS64500:AS-EXAMPLE")]
    SetName(String),
    /// More than [`MAX_REPLY`].
    #[error("IRR reply is longer than {MAX_REPLY} bytes; check that the server is an IRR")]
    TooLong,
    /// The connection ended too early.
    #[error("IRR reply ends inside an answer; ask again")]
    Cut,
    /// An answer that the protocol does not have.
    #[error("IRR reply has {0} where an answer starts; check that the server speaks the protocol of IRRd")]
    Answer(String),
    /// The length and the end of an answer do not agree.
    #[error("IRR reply is damaged: an answer of {length} bytes does not end with its last line; ask again")]
    Length {
        /// The length the answer gives.
        length: usize,
    },
    /// More answers than questions.
    #[error("IRR reply goes on behind the last answer with {0}; check that the server is an IRR")]
    Trailing(String),
    /// `E`.
    #[error("IRR holds the key more than once; ask another server")]
    Ambiguous,
    /// `F`.
    #[error("IRR server refuses the question: {0}; ask another server, or later")]
    Refused(String),
    /// A word that does not answer the question.
    #[error("IRR reply names {word}, which is no {kind}; ask another server")]
    Word {
        /// The word.
        word: String,
        /// What was asked for.
        kind: &'static str,
    },
    /// `D` for an AS-set.
    #[error("AS-set is not registered; check its name")]
    NoSet,
    /// More than [`MAX_MEMBERS`].
    #[error("AS-set stands for more than {MAX_MEMBERS} ASes; name a smaller set, or the ASes themselves")]
    TooManyMembers,
}

/// A session that asks for the IPv4 and the IPv6 routes registered for `asn`, and ends.
#[must_use]
pub fn queries(asn: Asn) -> String {
    format!("!!\n!nweir\n!gAS{asn}\n!6AS{asn}\n!q\n")
}

/// The routes in the reply to [`queries`], each with `asn` as its origin; none where nothing is registered.
pub fn routes(reply: &[u8], asn: Asn) -> Result<Prefixes, IrrError> {
    let mut session = Session::new(reply)?;
    let mut prefixes = Prefixes::default();
    for kind in ["IPv4 prefix", "IPv6 prefix"] {
        for word in session.answer()?.unwrap_or_default().split_ascii_whitespace() {
            let net = word.parse().ok().filter(|net| matches!(net, IpNet::V4(_)) == (kind == "IPv4 prefix"));
            prefixes.push_net(net.ok_or_else(|| unfit(word, kind))?, asn);
        }
    }
    session.end()?;
    Ok(prefixes)
}

/// A session that asks for the ASes of an AS-set and of the sets in it, and ends.
pub fn members_queries(set: &str) -> Result<String, IrrError> {
    let mut parts = set.split(':');
    let is_part = |part: &str| {
        part.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("AS"))
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_name = |part: &str| part.as_bytes().get(2) == Some(&b'-') && part.len() > 3;
    if !parts.clone().all(is_part) || !parts.any(is_name) {
        return Err(IrrError::SetName(quoted(set.as_bytes())));
    }
    Ok(format!("!!\n!nweir\n!i{set},1\n!q\n"))
}

/// The ASes in the reply to [`members_queries`].
pub fn members(reply: &[u8]) -> Result<BTreeSet<Asn>, IrrError> {
    let mut session = Session::new(reply)?;
    let mut members = BTreeSet::new();
    for word in session.answer()?.ok_or(IrrError::NoSet)?.split_ascii_whitespace() {
        let number =
            word.strip_prefix("AS").or_else(|| word.strip_prefix("as")).filter(|digits| !digits.starts_with('+'));
        members.insert(number.and_then(|digits| digits.parse().ok()).ok_or_else(|| unfit(word, "AS number"))?);
        if members.len() > MAX_MEMBERS {
            return Err(IrrError::TooManyMembers);
        }
    }
    session.end()?;
    Ok(members)
}

fn unfit(word: &str, kind: &'static str) -> IrrError {
    IrrError::Word { word: quoted(word.as_bytes()), kind }
}

/// The answers that are still to be read.
struct Session<'a> {
    rest: &'a [u8],
}

impl<'a> Session<'a> {
    /// Starts behind the answer to `!n`.
    fn new(reply: &'a [u8]) -> Result<Self, IrrError> {
        if reply.len() > MAX_REPLY {
            return Err(IrrError::TooLong);
        }
        let mut session = Self { rest: reply };
        match session.answer()? {
            Some("") => Ok(session),
            other => Err(IrrError::Answer(quoted(other.unwrap_or("D").as_bytes()))),
        }
    }

    /// The next answer's data, empty for `C`; `None` for `D`.
    fn answer(&mut self) -> Result<Option<&'a str>, IrrError> {
        let line = self.line()?;
        match line {
            b"C" => Ok(Some("")),
            b"D" => Ok(None),
            b"E" => Err(IrrError::Ambiguous),
            [b'F', b' ', text @ ..] => Err(IrrError::Refused(quoted(text))),
            [b'A', digits @ ..] => {
                let length = length(digits).ok_or_else(|| IrrError::Answer(quoted(line)))?;
                self.data(length).map(Some)
            }
            _ => Err(IrrError::Answer(quoted(line))),
        }
    }

    /// The data of `length` bytes, and `C` behind them.
    fn data(&mut self, length: usize) -> Result<&'a str, IrrError> {
        let (data, rest) = self.rest.split_at_checked(length).ok_or(IrrError::Cut)?;
        self.rest = rest;
        let data = data.strip_suffix(b"\n").ok_or(IrrError::Length { length })?;
        if self.line()? != b"C" {
            return Err(IrrError::Length { length });
        }
        std::str::from_utf8(data).map_err(|_| IrrError::Word { word: quoted(data), kind: "text" })
    }

    /// The next line without its newline.
    fn line(&mut self) -> Result<&'a [u8], IrrError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or(IrrError::Cut)?;
        let (line, rest) = self.rest.split_at_checked(end).ok_or(IrrError::Cut)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    fn end(self) -> Result<(), IrrError> {
        if self.rest.is_empty() { Ok(()) } else { Err(IrrError::Trailing(quoted(self.rest))) }
    }
}

/// A length as the protocol writes it: digits only.
fn length(digits: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(digits).ok()?;
    // A number may have a sign, a length may not.
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Listed;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// As `IRRd` 4 writes it (`irrd/server/whois/query_response.py`).
    fn answer(data: &str) -> String {
        if data.is_empty() { "D\n".to_owned() } else { format!("A{}\n{data}\nC\n", data.len() + 1) }
    }

    fn refused(reply: &str) -> String {
        routes(reply.as_bytes(), 64500).unwrap_err().to_string()
    }

    #[test]
    fn a_session_names_its_client_and_asks_for_both_families() {
        assert_eq!(queries(396_986), "!!\n!nweir\n!gAS396986\n!6AS396986\n!q\n");
        assert_eq!(members_queries("AS-BYTEDANCE").unwrap(), "!!\n!nweir\n!iAS-BYTEDANCE,1\n!q\n");
    }

    #[test]
    fn registered_routes_of_both_families_carry_the_as() {
        let reply = "C\nA29\n192.0.2.0/24 198.51.100.0/25\nC\nA14\n2001:db8::/32\nC\n";
        let Prefixes { v4, v6 } = routes(reply.as_bytes(), 64500).unwrap();
        let expected = [(0xc000_0200, 0xc000_02ff), (0xc633_6400, 0xc633_647f)];
        assert_eq!(v4, expected.map(|(first, last)| Listed { first, last, asn: 64500 }));
        let first = 0x2001_0db8 << 96;
        assert_eq!(v6, [Listed { first, last: first | u128::MAX >> 32, asn: 64500 }]);
    }

    #[test]
    fn nothing_registered_is_no_error_for_an_as_but_for_a_set() {
        for reply in ["C\nC\nC\n", "C\nD\nD\n", "C\nD\nC\n"] {
            assert!(routes(reply.as_bytes(), 64500).unwrap().is_empty());
        }
        assert_eq!(members(b"C\nC\n").unwrap(), BTreeSet::new());
        assert_eq!(members(b"C\nD\n").unwrap_err().to_string(), "AS-set is not registered; check its name");
    }

    #[test]
    fn answers_may_have_several_lines() {
        assert_eq!(routes(b"C\nA24\n192.0.2.0/25\n10.0.0.0/8\nC\nD\n", 1).unwrap().v4.len(), 2);
    }

    #[test]
    fn errors_of_the_server_are_told() {
        assert_eq!(
            refused("C\nF Invalid AS number\x1b[2J: ASX\n"),
            "IRR server refuses the question: \"Invalid AS number\\u{1b}[2J: ASX\"; ask another server, or later"
        );
        assert_eq!(refused("C\nE\n"), "IRR holds the key more than once; ask another server");
        let closed = "F Access denied\n";
        assert!(refused(closed).starts_with("IRR server refuses the question: \"Access denied\""), "{closed}");
    }

    #[test]
    fn a_reply_cut_anywhere_is_refused() {
        let reply = format!("C\n{}{}", answer("192.0.2.0/24"), answer("2001:db8::/32"));
        for length in 0..reply.len() {
            assert_eq!(refused(&reply[..length]), "IRR reply ends inside an answer; ask again", "{length} bytes");
        }
        assert!(routes(reply.as_bytes(), 1).is_ok());
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let damaged = |length| {
            format!("IRR reply is damaged: an answer of {length} bytes does not end with its last line; ask again")
        };
        assert_eq!(refused("C\nA12\n192.0.2.0/24\nC\nD\n"), damaged(12));
        assert_eq!(refused("C\nA12\n192.0.2.0/24C\nD\n"), damaged(12));
        assert_eq!(refused("C\nA15\n192.0.2.0/24\nC\nD\n"), damaged(15));
        assert_eq!(refused("C\nA0\n\nC\nD\n"), damaged(0));
        assert_eq!(refused("C\nA13\n192.0.2.0/24\nD\nD\n"), damaged(13));
        assert_eq!(refused("C\nA99\n192.0.2.0/24\nC\nD\n"), "IRR reply ends inside an answer; ask again");
        for head in ["A", "A+13", "A-1", "A13 ", "A99999999999999999999999"] {
            let expected = format!(
                "IRR reply has {head:?} where an answer starts; check that the server speaks the protocol of IRRd"
            );
            assert_eq!(refused(&format!("C\n{head}\n192.0.2.0/24\nC\nD\n")), expected);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for reply in ["HTTP/1.1 400 Bad Request\r\n", "D\n", "C\nC \n", "C\nFailed\n", "c\n"] {
            let message = refused(reply);
            assert!(message.contains(" where an answer starts; check that the server speaks"), "{message}");
        }
        assert!(refused("A2\nx\nC\nD\nD\n").starts_with("IRR reply has \"x\" where an answer starts"));
        let trailing = "IRR reply goes on behind the last answer with \"D\\n\"; check that the server is an IRR";
        assert_eq!(refused("C\nD\nD\nD\n"), trailing);
    }

    #[test]
    fn words_that_do_not_answer_the_question_are_refused() {
        let v4 = |words: &str| refused(&format!("C\n{}D\n", answer(words)));
        for word in ["2001:db8::/32", "192.0.2.0", "192.0.2.0/33", "AS64500", "192.0.2.0/24^-32"] {
            let expected = format!("IRR reply names \"{word}\", which is no IPv4 prefix; ask another server");
            assert_eq!(v4(&format!("198.51.100.0/24 {word}")), expected);
        }
        let v6 = refused(&format!("C\nD\n{}", answer("192.0.2.0/24")));
        assert_eq!(v6, "IRR reply names \"192.0.2.0/24\", which is no IPv6 prefix; ask another server");
        let binary = routes(b"C\nA3\n\xff\xfe\nC\nD\n", 1).unwrap_err().to_string();
        assert_eq!(binary, "IRR reply names \"\\xff\\xfe\", which is no text; ask another server");
    }

    #[test]
    fn the_ases_of_a_set_are_read_once_each() {
        let reply = format!("C\n{}", answer("AS64500 AS1 as4294967295 AS1"));
        assert_eq!(members(reply.as_bytes()).unwrap(), BTreeSet::from([1, 64500, u32::MAX]));
        for word in ["AS-OTHER", "64500", "AS4294967296", "AS+1", "AS", "192.0.2.0/24"] {
            let error = members(format!("C\n{}", answer(word)).as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("IRR reply names \"{word}\", which is no AS number; ask another server"));
        }
    }

    #[test]
    fn a_set_of_too_many_ases_is_refused() {
        let set = |count: usize| {
            let words: Vec<_> = (0..count).map(|asn| format!("AS{asn}")).collect();
            members(format!("C\n{}", answer(&words.join(" "))).as_bytes())
        };
        assert_eq!(set(MAX_MEMBERS).unwrap().len(), MAX_MEMBERS);
        let message = "AS-set stands for more than 10000 ASes; name a smaller set, or the ASes themselves";
        assert_eq!(set(MAX_MEMBERS + 1).unwrap_err().to_string(), message);
    }

    #[test]
    fn too_long_a_reply_is_refused() {
        let reply = vec![b'C'; MAX_REPLY + 1];
        let message = routes(&reply, 1).unwrap_err().to_string();
        assert_eq!(message, "IRR reply is longer than 16777216 bytes; check that the server is an IRR");
        assert_eq!(routes(&reply[1..], 1), Err(IrrError::Cut));
    }

    #[test]
    fn a_set_name_cannot_be_another_question() {
        for name in ["AS-X", "as-x_1", "AS64500:AS-X", "AS64500:AS-X:AS-Y"] {
            assert!(members_queries(name).is_ok(), "{name}");
        }
        for name in ["", "AS64500", "AS-", "AS-X\n!q", "AS-X,1", "AS-X Y", "RS-X", "AS-É", "AS64500:", "AS-X:RS-Y"] {
            let error = members_queries(name).unwrap_err().to_string();
            let expected = "is no name of an AS-set; write it like AS-EXAMPLE or AS64500:AS-EXAMPLE";
            assert_eq!(error, format!("{name:?} {expected}"));
        }
    }

    proptest! {
        #[test]
        fn what_a_server_writes_is_read_back(
            v4 in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..20),
            v6 in prop::collection::vec((any::<u128>(), 0_u8..=128), 0..20),
            asn: Asn,
        ) {
            let net = |address: IpAddr, length| IpNet::new(address, length).unwrap().trunc();
            let v4: Vec<_> = v4.into_iter().map(|(bits, length)| net(Ipv4Addr::from(bits).into(), length)).collect();
            let v6: Vec<_> = v6.into_iter().map(|(bits, length)| net(Ipv6Addr::from(bits).into(), length)).collect();
            let words = |nets: &[IpNet]| nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ");
            let mut expected = Prefixes::default();
            v4.iter().chain(&v6).for_each(|&net| expected.push_net(net, asn));
            let reply = format!("C\n{}{}", answer(&words(&v4)), answer(&words(&v6)));
            prop_assert_eq!(routes(reply.as_bytes(), asn).unwrap(), expected);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = routes(&bytes, 1);
            let _ = members(&bytes);
            let _ = routes(&[b"C\n", &bytes[..]].concat(), 1);
        }

        #[test]
        fn damaged_replies_never_panic_and_give_one_line(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut reply = b"C\nA26\n192.0.2.0/24 10.0.0.0/255\nC\nA14\n2001:db8::/32\nC\n".to_vec();
            for (at, value) in damage {
                let at = at.index(reply.len());
                reply[at] = value;
            }
            for error in [routes(&reply, 1).err(), members(&reply).err()].into_iter().flatten() {
                prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
            }
        }
    }
}
