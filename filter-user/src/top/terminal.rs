//! The screen of `weir top`: hands readings, keys and signals to the pure part and draws what it says. The only part that
//! touches a terminal, a clock or the control socket; whatever ends it, the terminal is left as it was found.

use std::io;
use std::panic;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::text::Text;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Key, Look, Now, Top, Wish};
use crate::control::{self, Answer, Request};
use crate::report::Status;

/// How long `p` pauses.
const PAUSE: Duration = Duration::from_mins(5);

/// What wakes the loop.
enum News {
    Key(Key),
    Resized,
    Read(Result<Box<Status>, String>, Duration),
    Told(String),
    /// The terminal is gone.
    Lost(io::Error),
}

/// Shows the daemon of `run_dir` until the person or a signal ends it.
pub fn watch(run_dir: &Path, interval: Duration, look: Look) -> io::Result<()> {
    // Its panic hook restores the terminal, too: a release build ends in it. The cursor it leaves hidden.
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let _ = execute!(io::stdout(), Show);
            hook(panic);
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&mut terminal, run_dir, interval, look))
    });
    shown.and(ratatui::try_restore())
}

async fn run(terminal: &mut DefaultTerminal, run_dir: &Path, interval: Duration, look: Look) -> io::Result<()> {
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(interrupt), Ok(terminate), Ok(hangup)] = &mut ends else {
        return Err(io::Error::other("cannot wait for signals"));
    };
    let begun = Instant::now();
    let (news, mut inbox) = unbounded_channel();
    let (requests, wishes) = channel();
    let (keyboard, run_dir) = (news.clone(), run_dir.to_owned());
    // Both end with the process: neither a read of the terminal nor a daemon that hangs can be called off.
    thread::spawn(move || read_keys(&keyboard));
    thread::spawn(move || ask(&run_dir, interval, begun, &wishes, &news));
    let mut top = Top::default();
    loop {
        draw(terminal, &mut top, look, begun.elapsed())?;
        let woken = tokio::select! {
            woken = inbox.recv() => woken,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        };
        match woken {
            None => return Err(io::Error::other("weir top lost its own threads")),
            Some(News::Lost(error)) => return Err(error),
            Some(News::Resized) => {}
            Some(News::Read(answer, at)) => top.take(answer.map(|status| *status), at),
            Some(News::Told(note)) => top.tell(note),
            Some(News::Key(key)) => match top.press(key) {
                Some(Wish::Quit) => return Ok(()),
                Some(wish) => fulfil(wish, &requests, &mut top),
                None => {}
            },
        }
    }
}

fn fulfil(wish: Wish, requests: &Sender<Request>, top: &mut Top) {
    let request = if wish == Wish::Pause { Request::Pause { secs: PAUSE.as_secs() } } else { Request::Resume };
    let sent = requests.send(request);
    top.tell(
        if sent.is_ok() { "asking weir ..." } else { "weir cannot be asked any more; start weir top again" }.into(),
    );
}

fn draw(terminal: &mut DefaultTerminal, top: &mut Top, look: Look, at: Duration) -> io::Result<()> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        let lines = top.lines(look, (area.width, area.height), Now { at, unix });
        frame.render_widget(Text::from(lines), area);
    });
    drawn.map(drop)
}

fn read_keys(news: &UnboundedSender<News>) {
    loop {
        let woken = match event::read() {
            Ok(Event::Key(event)) if event.kind != KeyEventKind::Release => match key(event) {
                Some(key) => News::Key(key),
                None => continue,
            },
            Ok(Event::Resize(..)) => News::Resized,
            Ok(_) => continue,
            Err(error) => {
                let _ = news.send(News::Lost(error));
                return;
            }
        };
        if news.send(woken).is_err() {
            return;
        }
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    let held = |modifier| event.modifiers.contains(modifier);
    Some(match event.code {
        KeyCode::Char('c') if held(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(c) if !held(KeyModifiers::CONTROL) && !held(KeyModifiers::ALT) => Key::Char(c),
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Asks for the status at each beat, and passes wishes on as they come.
fn ask(run_dir: &Path, interval: Duration, begun: Instant, wishes: &Receiver<Request>, news: &UnboundedSender<News>) {
    let mut beat = Instant::now();
    loop {
        let answer = status(run_dir);
        if news.send(News::Read(answer, begun.elapsed())).is_err() {
            return;
        }
        // A daemon that was slow is not asked more often afterwards.
        beat = (beat + interval).max(Instant::now());
        loop {
            match wishes.recv_timeout(beat.saturating_duration_since(Instant::now())) {
                Ok(request) => {
                    let note = match control::ask(run_dir, &request) {
                        Ok(Answer::Done(text)) => text,
                        Ok(_) => "weir answered something else: is it another version?".into(),
                        Err(error) => error.to_string(),
                    };
                    let _ = news.send(News::Told(note));
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn status(run_dir: &Path) -> Result<Box<Status>, String> {
    match control::ask(run_dir, &Request::Status) {
        Ok(Answer::Status(status)) => Ok(status),
        Ok(_) => Err("weir answered something else: is it another version?".into()),
        Err(error) => Err(error.to_string()),
    }
}
