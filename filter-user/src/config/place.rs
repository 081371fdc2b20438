//! Where a value stands in the configuration's text, so that every refusal names file and line. Knows no key.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::ConfigError;

/// The text of one file, and its path.
pub(crate) struct Place<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl<'a> Place<'a> {
    /// The place of `bytes`; refused where they are no UTF-8.
    pub(crate) fn new(file: &'a Path, bytes: &'a [u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|error| ConfigError {
            file: file.into(),
            line: 1 + bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count(),
            problem: "the configuration must be UTF-8 text".into(),
        })?;
        Ok(Self { file, text })
    }

    /// The TOML text as `T`.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text)
            .map_err(|error| self.refusal(&error.span().unwrap_or_default(), error.message().trim()))
    }

    /// A refusal of what stands at `span`.
    pub(crate) fn error(&self, span: &Range<usize>, problem: impl fmt::Display) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        ConfigError { file: self.file.into(), line, problem: one_line(&problem.to_string()) }
    }

    /// What the TOML reader refuses, with the key, which it leaves out.
    fn refusal(&self, span: &Range<usize>, message: &str) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let value = self.text.get(span.clone()).unwrap_or_default();
        if message.starts_with("invalid type: map, expected a sequence") && value.starts_with('[') {
            return self.error(span, format!("{value} must have double brackets; write [{value}]"));
        }
        match line.split_once('=') {
            Some((key, _)) => self.error(span, format!("{}: {message}", key.trim())),
            None => self.error(span, message),
        }
    }

    /// The text at `span` as it was written.
    pub(crate) fn written(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// A path of the file: relative ones count from the file's directory.
    pub(crate) fn path(&self, path: &Spanned<String>) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path.get_ref())
    }

    /// `convert` of every value; its refusal is prefixed with `owner`.
    pub(crate) fn each<T, U>(
        &self,
        owner: &str,
        values: &[Spanned<T>],
        convert: impl Fn(&T) -> Result<U, String>,
    ) -> Result<Vec<U>, ConfigError> {
        let one = |value: &Spanned<T>| {
            convert(value.get_ref()).map_err(|problem| self.error(&value.span(), format!("{owner}: {problem}")))
        };
        values.iter().map(one).collect()
    }
}

/// Characters of a refusal, at most: it quotes what was written, which may be anything.
const MAX_PROBLEM: usize = 400;

/// `problem` as one line that a terminal shows as it is.
pub(crate) fn one_line(problem: &str) -> String {
    let mut line = String::new();
    for (count, c) in problem.chars().enumerate() {
        if count == MAX_PROBLEM {
            line.push_str("...");
            break;
        }
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
