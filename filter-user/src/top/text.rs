//! Names and figures as a terminal may show them: names made harmless and cut to size, rates short. Pure.

use ratatui::buffer::CellWidth as _;

/// Shows what moves the cursor, turns the writing round or takes no place as an escape: names are not trusted.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || columns(c) == 0 { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

fn columns(c: char) -> usize {
    usize::from(c.encode_utf8(&mut [0; 4]).cell_width())
}

/// Columns that clean text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// At most `width` columns of clean text; `~` at the end says that there is more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.into();
    }
    let Some(room) = most.checked_sub(1) else { return String::new() };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += columns(*c);
        taken <= room
    };
    text.chars().take_while(fits).chain(['~']).collect()
}

/// Exactly `to` columns of clean text, cut or filled with spaces, on the right for figures.
pub(super) fn fill(text: &str, to: usize, right: bool) -> String {
    let text = cut(text, to);
    let space = " ".repeat(to.saturating_sub(width(&text)));
    if right { space + &text } else { text + &space }
}

/// A figure in three digits and a decimal unit prefix: `0`, `3.5`, `120`, `1.25 k`, `98.1 M`.
pub(super) fn short(value: f64) -> String {
    const PREFIXES: [&str; 6] = ["", " k", " M", " G", " T", " P"];
    if value <= 0.0 {
        return "0".into();
    }
    if value < 0.1 {
        return "<0.1".into();
    }
    let (mut value, mut prefixes) = (value, PREFIXES.iter());
    let mut prefix = prefixes.next().copied().unwrap_or_default();
    while value >= 999.5
        && let Some(next) = prefixes.next()
    {
        value /= 1000.0;
        prefix = next;
    }
    let digits = match (prefix, value) {
        ("", v) if v >= 9.95 => 0,
        ("", v) => usize::from(v.fract() > 0.0),
        (_, v) if v < 9.995 => 2,
        (_, v) if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("abc\u{202e}cba\u{200b}\u{2066}"), "abc\\u{202e}cba\\u{200b}\\u{2066}");
        assert_eq!(clean("Straße 网络"), "Straße 网络");
    }

    #[test]
    fn text_is_cut_and_filled_by_the_columns_it_takes() {
        assert_eq!(fill("abc", 5, false), "abc  ");
        assert_eq!(fill("abc", 5, true), "  abc");
        assert_eq!(fill("abcdef", 5, false), "abcd~");
        // Each takes two columns: half of one cannot be shown.
        assert_eq!(fill("网络网络", 6, false), "网络~ ");
        assert_eq!(fill("abc", 0, false), "");
        assert_eq!(fill("abc", 1, true), "~");
        assert_eq!(width("网a"), 3);
    }

    #[test]
    fn figures_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.02, "<0.1"),
            (3.0, "3"),
            (3.46, "3.5"),
            (9.97, "10"),
            (120.4, "120"),
            (999.4, "999"),
            (999.6, "1.00 k"),
            (1250.0, "1.25 k"),
            (98_123_456.0, "98.1 M"),
            (123e9, "123 G"),
            (5e18, "5000 P"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }
}
