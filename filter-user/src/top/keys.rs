//! What a key does to what is shown. Pure: an answer to a question becomes a wish, and others fulfil it.

use super::rows::{Sort, Table};

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// To the next table.
    Tab,
    /// To the table before.
    BackTab,
    /// A row up.
    Up,
    /// A row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// Done.
    Enter,
    /// Not so.
    Escape,
    /// Takes the last character away.
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

/// What the person wants that this side cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// End.
    Quit,
    /// Let block rules only count for five minutes.
    Pause,
    /// Block again.
    Resume,
}

/// What the next key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The tables.
    #[default]
    Tables,
    /// The filter.
    Filter,
    /// Yes or no.
    Question(Wish),
    /// Any key ends it.
    Help,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) mode: Mode,
    pub(super) table: Table,
    pub(super) sorts: [Sort; 3],
    pub(super) filter: String,
    /// The first row that is shown; the screen holds it to the rows there are.
    pub(super) first: usize,
    /// Rows that were shown last: a page.
    pub(super) page: usize,
}

impl Default for View {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            table: Table::default(),
            sorts: Table::ALL.map(Sort::first),
            filter: String::new(),
            first: 0,
            page: 0,
        }
    }
}

/// Characters of a filter, at most.
const MAX_FILTER: usize = 40;

impl View {
    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        if key == Key::Interrupt {
            return Some(Wish::Quit);
        }
        match self.mode {
            Mode::Tables => self.press_in_tables(key),
            Mode::Filter => {
                self.press_in_filter(key);
                None
            }
            Mode::Question(wish) => {
                self.mode = Mode::Tables;
                matches!(key, Key::Char('y' | 'Y')).then_some(wish)
            }
            Mode::Help => {
                self.mode = Mode::Tables;
                (key == Key::Char('q')).then_some(Wish::Quit)
            }
        }
    }

    fn press_in_tables(&mut self, key: Key) -> Option<Wish> {
        let page = self.page.max(1);
        match key {
            Key::Char('q') => return Some(Wish::Quit),
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('p') => self.mode = Mode::Question(Wish::Pause),
            Key::Char('r') => self.mode = Mode::Question(Wish::Resume),
            Key::Char('s') => {
                let columns = self.table.columns().len();
                self.sort().column = (self.sort().column + 1) % columns;
            }
            Key::Char('S') => self.sort().reversed = !self.sort().reversed,
            Key::Char('1') => self.show(Table::Rules),
            Key::Char('2') => self.show(Table::Clients),
            Key::Char('3') => self.show(Table::Devices),
            Key::Tab => self.turn(1),
            Key::BackTab => self.turn(Table::ALL.len() - 1),
            Key::Up | Key::Char('k') => self.first = self.first.saturating_sub(1),
            Key::Down | Key::Char('j') => self.first = self.first.saturating_add(1),
            Key::PageUp => self.first = self.first.saturating_sub(page),
            Key::PageDown => self.first = self.first.saturating_add(page),
            Key::Home => self.first = 0,
            Key::End => self.first = usize::MAX,
            Key::Escape => self.filter.clear(),
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt => {}
        }
        None
    }

    fn press_in_filter(&mut self, key: Key) {
        self.first = 0;
        match key {
            Key::Char(c) if !c.is_control() && self.filter.chars().count() < MAX_FILTER => self.filter.push(c),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.mode = Mode::Tables,
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::Tables;
            }
            _ => {}
        }
    }

    fn turn(&mut self, by: usize) {
        let next = (self.table as usize + by) % Table::ALL.len();
        self.show(Table::ALL.get(next).copied().unwrap_or_default());
    }

    fn show(&mut self, table: Table) {
        self.table = table;
        self.first = 0;
    }

    fn sort(&mut self) -> &mut Sort {
        let [rules, clients, devices] = &mut self.sorts;
        match self.table {
            Table::Rules => rules,
            Table::Clients => clients,
            Table::Devices => devices,
        }
    }

    /// How the table that is shown is sorted.
    pub(super) fn sorted(&self) -> Sort {
        let [rules, clients, devices] = self.sorts;
        match self.table {
            Table::Rules => rules,
            Table::Clients => clients,
            Table::Devices => devices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, keys: &str) -> Option<Wish> {
        keys.chars().map(|c| view.press(Key::Char(c))).last().flatten()
    }

    #[test]
    fn a_pause_is_only_wished_after_a_yes() {
        for (keys, wish) in [
            ("p", None),
            ("py", Some(Wish::Pause)),
            ("pY", Some(Wish::Pause)),
            ("pn", None),
            ("pp", None),
            ("pny", None),
            ("ry", Some(Wish::Resume)),
            ("r y", None),
            ("y", None),
            ("pq", None),
            ("q", Some(Wish::Quit)),
            ("?q", Some(Wish::Quit)),
            ("?p", None),
            ("?py", None),
            ("/py", None),
            ("/q", None),
        ] {
            assert_eq!(press(&mut View::default(), keys), wish, "{keys}");
        }
        for mode in [Mode::Tables, Mode::Filter, Mode::Help, Mode::Question(Wish::Pause)] {
            let mut view = View { mode, ..View::default() };
            assert_eq!(view.press(Key::Interrupt), Some(Wish::Quit), "{mode:?}");
        }
        let mut view = View::default();
        press(&mut view, "p");
        assert_eq!(view.press(Key::Enter), None, "Enter is no yes");
        assert_eq!(view.mode, Mode::Tables);
    }

    #[test]
    fn tables_are_switched_and_keep_their_order() {
        let mut view = View::default();
        press(&mut view, "sS");
        let sorted = view.sorted();
        assert_eq!((sorted.column, sorted.reversed), (Sort::first(Table::Rules).column + 1, true));
        view.press(Key::Tab);
        assert_eq!((view.table, view.sorted()), (Table::Clients, Sort::first(Table::Clients)));
        view.press(Key::Tab);
        view.press(Key::Tab);
        assert_eq!((view.table, view.sorted()), (Table::Rules, sorted));
        view.press(Key::BackTab);
        assert_eq!(view.table, Table::Devices);
        press(&mut view, "2");
        assert_eq!(view.table, Table::Clients);
        press(&mut view, &"s".repeat(Table::Clients.columns().len()));
        assert_eq!(view.sorted(), Sort::first(Table::Clients), "once round");
    }

    #[test]
    fn the_filter_takes_every_key_but_its_end() {
        let mut view = View::default();
        press(&mut view, "/tikq1p");
        view.press(Key::Backspace);
        assert_eq!((view.filter.as_str(), view.mode), ("tikq1", Mode::Filter));
        view.press(Key::Char('\u{1b}'));
        view.press(Key::Enter);
        assert_eq!((view.filter.as_str(), view.mode), ("tikq1", Mode::Tables));
        view.press(Key::Escape);
        assert_eq!(view.filter, "");
        press(&mut view, &("/".to_owned() + &"x".repeat(1000)));
        assert_eq!(view.filter.len(), MAX_FILTER);
        view.press(Key::Escape);
        assert_eq!((view.filter.as_str(), view.mode), ("", Mode::Tables));
    }
}
