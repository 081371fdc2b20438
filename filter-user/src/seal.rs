//! Signatures of reports and the chain that links them. Bytes in, text out: touches no file, and knows nothing of what a
//! report says.
//!
//! A signature is in the format of minisign (<https://jedisct1.github.io/minisign/>): ed25519 over a hash of the
//! file, and over the comment. The chain is a text with one [`Link`] as JSON on each line, in the order of the reports.

use std::fmt::{self, Write as _};
use std::io::Cursor;

use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};
use serde::{Deserialize, Serialize};

/// What is wrong with a report, its signature or the chain. Each says it in words that end with a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The secret key cannot be used.
    #[error("it is no minisign key without a password; restore it, or remove it together with its chain to begin anew")]
    SecretKey,
    /// The public key cannot be read.
    #[error("it is no minisign public key; give the report.pub of the host that made the report")]
    PublicKey,
    /// The system gave no random numbers, or the library failed.
    #[error("cannot sign: {0}; try again")]
    Sign(String),
    /// The signature cannot be read.
    #[error("it is no minisign signature; get the .minisig file that was made with the report")]
    Signature,
    /// The signature is of another key.
    #[error(
        "the report is signed with key {found}, not with {expected}; give the key of the host that made it with --key"
    )]
    OtherKey {
        /// Id of the key that signed.
        found: String,
        /// Id of the key that should have.
        expected: String,
    },
    /// Report and signature do not belong together.
    #[error(
        "the report does not match its signature: one of the two was changed or belongs to another report; get both again \
         from the host that made them"
    )]
    Changed,
    /// The comment was changed.
    #[error("the signature's comment was changed; get the .minisig file again from the host that made the report")]
    Comment,
    /// Signed with the right key, and no report.
    #[error("the signature is good, but not of a weir report: its comment is \"{0}\"; check that it is the right file")]
    Foreign(String),
    /// A line of the chain cannot be read.
    #[error("line {line} of the chain is no link: {problem}; restore the chain from a copy")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the line is.
        problem: String,
    },
    /// A link is missing, or not in its place.
    #[error(
        "line {line} of the chain has serial {found} where {line} should be: links are missing or moved; restore it from a copy"
    )]
    Order {
        /// Counted from 1.
        line: usize,
        /// The serial there.
        found: u64,
    },
    /// A link does not follow the one before it.
    #[error("line {line} of the chain does not follow line {}: one of them was changed; restore the chain from a copy", line - 1)]
    Broken {
        /// Counted from 1.
        line: usize,
    },
    /// The chain ends before this report.
    #[error(
        "the chain ends with serial {last} and lacks report {serial}: it was cut, or is of another host; restore it from a copy"
    )]
    Missing {
        /// The report's serial.
        serial: u64,
        /// The last one in the chain.
        last: u64,
    },
    /// The chain has another report in its place.
    #[error(
        "the chain has another report with serial {serial}: this one was replaced, or is of another host; get the report again"
    )]
    Replaced {
        /// The report's serial.
        serial: u64,
    },
    /// Report and chain name different predecessors.
    #[error(
        "report {serial} follows another report than the chain says: the chain was changed; restore it from a copy"
    )]
    Predecessor {
        /// The report's serial.
        serial: u64,
    },
}

/// What a report is to the chain; the trusted comment of its signature says so, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The report's number; the first one is 1.
    pub serial: u64,
    /// SHA-256 of the report before it.
    pub previous: Option<String>,
    /// The host's name.
    pub host: String,
}

const NO_PREVIOUS: &str = "none";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let previous = self.previous.as_deref().unwrap_or(NO_PREVIOUS);
        // The comment is one line, and minisign trims it.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '?' };
        let host: String = self.host.chars().map(plain).collect();
        write!(f, "weir report serial={} previous={previous} host={host}", self.serial)
    }
}

impl Mark {
    fn parse(comment: &str) -> Option<Self> {
        let (serial, rest) = comment.strip_prefix("weir report serial=")?.split_once(" previous=")?;
        let (previous, host) = rest.split_once(" host=")?;
        let previous = Some(previous).filter(|previous| *previous != NO_PREVIOUS).map(Into::into);
        Some(Self { serial: serial.parse().ok()?, previous, host: host.into() })
    }
}

/// The key that signs.
#[derive(Debug)]
pub struct Signer {
    secret: SecretKey,
    public: PublicKey,
}

impl Signer {
    /// A new key, and its text for a file that only its owner reads.
    pub fn generate() -> Result<(Self, String), SealError> {
        let failed = |error: minisign::PError| SealError::Sign(error.to_string());
        let KeyPair { sk: secret, pk: public } = KeyPair::generate_unencrypted_keypair().map_err(failed)?;
        let text = secret.to_box(Some("weir report key, keep it secret")).map_err(failed)?.into_string();
        Ok((Self { secret, public }, text))
    }

    /// The key from its text.
    pub fn read(text: &str) -> Result<Self, SealError> {
        // The library takes a missing line for granted.
        let secret = SecretKeyBox::from_string(text)
            .and_then(SecretKeyBox::into_unencrypted_secret_key)
            .map_err(|_| SealError::SecretKey)?;
        let public = PublicKey::from_secret_key(&secret).map_err(|_| SealError::SecretKey)?;
        Ok(Self { secret, public })
    }

    /// The public key as a file for everyone.
    pub fn public(&self) -> Result<String, SealError> {
        self.public.to_box().map(PublicKeyBox::into_string).map_err(|error| SealError::Sign(error.to_string()))
    }

    /// The signature of a report, as the content of a `.minisig` file.
    pub fn sign(&self, report: &[u8], mark: &Mark) -> Result<String, SealError> {
        let (comment, trusted) = ("signature of a weir report", mark.to_string());
        minisign::sign(Some(&self.public), &self.secret, Cursor::new(report), Some(&trusted), Some(comment))
            .map(SignatureBox::into_string)
            .map_err(|error| SealError::Sign(error.to_string()))
    }
}

/// Base64 of 64 bytes, the length of the signature over the comment.
const COMMENT_SIGNATURE: usize = 88;

/// Checks a report against its signature and the public key; gives what the signature says it is.
pub fn verify(report: &[u8], signature: &str, public: &str) -> Result<Mark, SealError> {
    let public = PublicKeyBox::from_string(public).and_then(PublicKey::from_box).map_err(|_| SealError::PublicKey)?;
    // The library does not look at its length.
    if signature.lines().nth(3).is_none_or(|line| line.trim().len() != COMMENT_SIGNATURE) {
        return Err(SealError::Signature);
    }
    let signature = SignatureBox::from_string(signature).map_err(|_| SealError::Signature)?;
    if signature.keynum() != public.keynum() {
        return Err(SealError::OtherKey { found: key_id(signature.keynum()), expected: key_id(public.keynum()) });
    }
    minisign::verify(&public, &signature, Cursor::new(report), true, false, false).map_err(|error| {
        if error.to_string().contains("Comment signature") { SealError::Comment } else { SealError::Changed }
    })?;
    let comment = signature.trusted_comment().map_err(|_| SealError::Signature)?;
    Mark::parse(&comment).ok_or(SealError::Foreign(comment))
}

/// As minisign writes it.
fn key_id(number: &[u8]) -> String {
    number.iter().rev().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// One report in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The report's number, one more than that of the link before.
    pub serial: u64,
    /// When the report was made, Unix seconds.
    pub created: i64,
    /// SHA-256 of the report's file.
    pub sha256: String,
    /// SHA-256 of the report before it; `None` for the first.
    pub previous: Option<String>,
}

/// All reports of a host, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain(Vec<Link>);

impl Chain {
    /// Reads a chain; every link must follow the one before it.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let mut links: Vec<Link> = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let link: Link = serde_json::from_str(content).map_err(|error| {
                let problem = error.to_string();
                SealError::Line { line, problem: problem.split(" at line ").next().unwrap_or_default().into() }
            })?;
            if usize::try_from(link.serial) != Ok(line) {
                return Err(SealError::Order { line, found: link.serial });
            }
            if link.previous.as_ref() != links.last().map(|last| &last.sha256) {
                // Of the first line, only the begin can be missing.
                return Err(if line == 1 { SealError::Order { line, found: 0 } } else { SealError::Broken { line } });
            }
            links.push(link);
        }
        Ok(Self(links))
    }

    /// What the next report of this host is.
    #[must_use]
    pub fn next(&self, host: &str) -> Mark {
        let last = self.0.last();
        Mark {
            serial: last.map_or(1, |link| link.serial + 1),
            previous: last.map(|link| link.sha256.clone()),
            host: host.into(),
        }
    }

    /// Whether it has no report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the next report.
    pub fn push(&mut self, mark: &Mark, created: i64, sha256: String) {
        self.0.push(Link { serial: mark.serial, created, sha256, previous: mark.previous.clone() });
    }

    /// The chain as text.
    #[must_use]
    pub fn text(&self) -> String {
        // Numbers and text always have a JSON form.
        self.0.iter().map(|link| serde_json::to_string(link).unwrap_or_default() + "\n").collect()
    }

    /// Whether the report with this mark and this SHA-256 is in its place.
    pub fn check(&self, mark: &Mark, sha256: &str) -> Result<(), SealError> {
        let &Mark { serial, ref previous, .. } = mark;
        let link = self.0.iter().find(|link| link.serial == serial);
        let Some(link) = link else {
            return Err(SealError::Missing { serial, last: self.0.last().map_or(0, |link| link.serial) });
        };
        if link.sha256 != sha256 {
            return Err(SealError::Replaced { serial });
        }
        if link.previous != *previous {
            return Err(SealError::Predecessor { serial });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::copy::checksum;
    use proptest::prelude::*;

    fn mark(serial: u64) -> Mark {
        let previous = (serial > 1).then(|| checksum(format!("report {}", serial - 1).as_bytes()));
        Mark { serial, previous, host: "router".into() }
    }

    fn chain(length: u64) -> Chain {
        let mut chain = Chain::default();
        for serial in 1..=length {
            let mark = chain.next("router");
            assert_eq!(mark, self::mark(serial));
            chain.push(&mark, 1_763_942_400, checksum(format!("report {serial}").as_bytes()));
        }
        chain
    }

    #[test]
    fn a_signed_report_verifies_and_says_what_it_is() {
        let (signer, text) = Signer::generate().unwrap();
        let public = signer.public().unwrap();
        let signature = Signer::read(&text).unwrap().sign(b"report 2", &mark(2)).unwrap();
        assert_eq!(verify(b"report 2", &signature, &public), Ok(mark(2)));
        assert_eq!(chain(3).check(&mark(2), &checksum(b"report 2")), Ok(()));
        let odd = Mark { host: "a b\nuntrusted comment: x ".into(), ..mark(1) };
        let signature = signer.sign(b"x", &odd).unwrap();
        assert_eq!(verify(b"x", &signature, &public).unwrap().host, "a?b?untrusted?comment??x?");
        assert_eq!(signature.lines().count(), 4);
    }

    #[test]
    fn every_tampering_has_a_message_of_its_own() {
        let (signer, _) = Signer::generate().unwrap();
        let public = signer.public().unwrap();
        let signature = signer.sign(b"report 1", &mark(1)).unwrap();
        let of_another = signer.sign(b"report 2", &mark(2)).unwrap();
        let lines: Vec<&str> = signature.lines().collect();
        let put = |at: usize, line: &str| {
            let mut lines = lines.clone();
            lines[at] = line;
            lines.join("\n")
        };
        let stranger = Signer::generate().unwrap().0;
        let by_stranger = stranger.sign(b"report 1", &mark(1)).unwrap();
        let forged = by_stranger.lines().nth(1).unwrap();
        let renumbered = lines[2].replace("serial=1", "serial=9");
        let told = |report: &[u8], signature: &str| verify(report, signature, &public).unwrap_err();
        assert_eq!(told(b"report l", &signature), SealError::Changed);
        assert_eq!(told(b"report 1", &of_another), SealError::Changed);
        assert!(matches!(told(b"report 1", &by_stranger), SealError::OtherKey { .. }));
        assert!(matches!(told(b"report 1", &put(1, forged)), SealError::OtherKey { .. }));
        assert_eq!(told(b"report 1", &put(2, &renumbered)), SealError::Comment);
        assert_eq!(told(b"report 1", &put(3, of_another.lines().nth(3).unwrap())), SealError::Comment);
        for broken in ["", "x", &put(1, "AAAA"), &put(2, "x"), &put(3, "AAAA"), &put(0, "x"), &signature[..150]] {
            assert_eq!(told(b"report 1", broken), SealError::Signature, "{broken}");
        }
        assert_eq!(verify(b"report 1", &signature, "x\ny\n"), Err(SealError::PublicKey));
        let minisigned = minisign::sign(None, &signer.secret, Cursor::new(b"x"), Some("hello"), None).unwrap();
        assert_eq!(told(b"x", &minisigned.into_string()), SealError::Foreign("hello".into()));
        assert_eq!(Signer::read("x").unwrap_err(), SealError::SecretKey);
        assert_eq!(Signer::read("untrusted comment: x\nAAAA\n").unwrap_err(), SealError::SecretKey);
    }

    #[test]
    fn a_chain_that_was_cut_or_reordered_or_changed_is_refused() {
        let text = chain(4).text();
        let lines: Vec<&str> = text.lines().collect();
        let parse = |lines: &[&str]| Chain::parse(&lines.join("\n"));
        assert_eq!(parse(&lines), Ok(chain(4)));
        assert_eq!(Chain::parse(""), Ok(Chain::default()));
        assert_eq!(parse(&lines[1..]), Err(SealError::Order { line: 1, found: 2 }));
        assert_eq!(parse(&[lines[0], lines[2], lines[3]]), Err(SealError::Order { line: 2, found: 3 }));
        assert_eq!(parse(&[lines[0], lines[2], lines[1]]), Err(SealError::Order { line: 2, found: 3 }));
        let changed = lines[1].replace(&checksum(b"report 2"), &checksum(b"report B"));
        assert_eq!(parse(&[lines[0], &changed, lines[2]]), Err(SealError::Broken { line: 3 }));
        assert!(matches!(parse(&[lines[0], "{"]), Err(SealError::Line { line: 2, .. })));
        // Numbered anew after its begin was cut off.
        let renumbered = lines[1].replace("\"serial\":2", "\"serial\":1");
        assert_eq!(parse(&[&renumbered]), Err(SealError::Order { line: 1, found: 0 }));
        assert_eq!(chain(3).check(&mark(4), &checksum(b"report 4")), Err(SealError::Missing { serial: 4, last: 3 }));
        assert_eq!(chain(4).check(&mark(4), &checksum(b"report D")), Err(SealError::Replaced { serial: 4 }));
        let other = Mark { previous: Some(checksum(b"x")), ..mark(4) };
        assert_eq!(chain(4).check(&other, &checksum(b"report 4")), Err(SealError::Predecessor { serial: 4 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_signature_file_makes_weir_panic(bytes in "(?s).{0,300}", cut in 0..400_usize, put in any::<char>()) {
            let (signer, _) = Signer::generate().unwrap();
            let public = signer.public().unwrap();
            let good = signer.sign(b"report 1", &mark(1)).unwrap();
            let mut changed: Vec<char> = good.chars().collect();
            let at = cut % changed.len();
            changed[at] = put;
            for text in [bytes.clone(), good.chars().take(cut).collect(), changed.iter().collect()] {
                let _ = verify(b"report 1", &text, &public);
                let _ = verify(b"report 1", &good, &text);
                let _ = Signer::read(&text);
                let _ = Chain::parse(&text);
            }
        }
    }
}
