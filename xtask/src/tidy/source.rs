//! A source file as the rules see it: which lines are code, which are tests, and code without comments and strings.

use std::path::Path;

/// A file of the workspace.
pub(super) struct Source<'a> {
    /// Relative to the workspace, with `/`.
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    /// The text with comments and literals blanked; empty where the file is not Rust. Same line numbers.
    code: String,
    /// Lines before the test module.
    product_lines: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &'a str) -> Self {
        let code = if is_rust(path) { blank(text) } else { String::new() };
        let product_lines = if is_test_file(path) { 0 } else { first_test_line(&code) };
        Self { path, text, code, product_lines }
    }

    pub(super) fn is_rust(&self) -> bool {
        is_rust(self.path)
    }

    /// Numbered lines of code, tests included.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// Numbered lines of code outside tests.
    pub(super) fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take(self.product_lines)
    }

    pub(super) fn product_lines(&self) -> usize {
        self.product_lines
    }
}

pub(super) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Test code is held to other rules: it may panic, and it may be long.
fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    path.starts_with("fuzz/") || parts.any(|part| ["tests", "benches", "tests.rs"].contains(&part))
}

/// The number of lines before the last-standing `#[cfg(test)] mod … {`.
fn first_test_line(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let opens_module = |after: &[&str]| {
        let item = after.iter().find(|line| !line.is_empty() && !line.starts_with("#["));
        item.is_some_and(|item| item.split(' ').any(|word| word == "mod") && item.ends_with('{'))
    };
    (0..lines.len())
        .find(|&index| lines[index].starts_with("#[cfg(test)]") && opens_module(&lines[index + 1..]))
        .unwrap_or(lines.len())
}

/// Replaces comments and the insides of literals by spaces and keeps every line break.
fn blank(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let goes_on = in_word && first.is_alphanumeric();
        let skipped = if goes_on { 0 } else { literal(rest) };
        let skipped = if skipped == 0 { comment(rest) } else { skipped };
        if skipped == 0 {
            in_word = first.is_alphanumeric() || first == '_';
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the comment that `text` starts with, or 0.
fn comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string, byte string or character that `text` starts with, or 0. A lifetime is none.
fn literal(text: &str) -> usize {
    let prefix = text.len() - text.trim_start_matches(['b', 'c']).len();
    let body = &text[prefix.min(1)..];
    let prefix = prefix.min(1);
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(inside) = raw[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = inside.find(&end).map_or(inside.len(), |index| index + end.len());
            return prefix + 1 + hashes + 1 + length;
        }
    }
    if let Some(inside) = body.strip_prefix('"') {
        return prefix + 1 + until(inside, '"');
    }
    match body.strip_prefix('\'') {
        Some(inside) if inside.starts_with('\\') || inside.chars().nth(1) == Some('\'') => {
            prefix + 1 + until(inside, '\'')
        }
        _ => 0,
    }
}

/// The length up to and with the closing quote.
fn until(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        if c == quote && !escaped {
            return index + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_and_keeps_the_lines() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */\n d */ e", "a             \n      e"),
            ("f(\"a\\\"b\", 'x', '\\'')", "f(      ,    ,     )"),
            ("r#\"a\"b\"# + br\"c\" + b'd'", "         +       +     "),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("xr\"a\"", "xr   "),
        ];
        for (text, expected) in cases {
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn product_ends_where_the_test_module_opens() {
        let lines = |text| Source::new("a.rs", text).product_lines();
        assert_eq!(lines("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines("#[cfg(test)]\n#[expect(x)]\npub(in crate::a) mod tests {\n}\n"), 0);
        assert_eq!(lines("#[cfg(test)]\nmod tests;\n\nfn a() {}\n"), 4);
        assert_eq!(lines("#[cfg(test)]\nfn f() {}\nfn a() {}\n"), 3);
        for (path, product) in [("tests/src/lib.rs", 0), ("fuzz/src/lib.rs", 0), ("xtask/src/fuzz/run.rs", 1)] {
            assert_eq!(Source::new(path, "fn a() {}\n").product_lines(), product, "{path}");
        }
    }
}
