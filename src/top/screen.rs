//! The live page on a terminal: draws, listens to keys, and leaves the terminal as it was however it ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Board;
use super::ask::Told;
use super::view::{self, Paint};

/// Between two looks at what was told.
const FRAME: Duration = Duration::from_millis(250);
const PAGE: u16 = 10;

/// A terminal that is given back.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| drop(ratatui::try_restore()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic the hook that `try_init` sets has done so already, before it told what happened.
        if !std::thread::panicking() {
            // Fails only where the terminal is gone.
            let _ = ratatui::try_restore();
        }
    }
}

/// What of it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    worker: Option<usize>,
    scroll: u16,
    paused: Option<Instant>,
}

/// Draws what the workers tell until a key or `stop` ends it.
///
/// # Errors
/// A terminal that cannot be used.
pub fn run(board: &mut Board, told: &Receiver<Told>, stop: &AtomicBool, paint: Paint) -> io::Result<()> {
    let mut screen = Screen::open()?;
    let mut chosen = Chosen::default();
    while !stop.load(Ordering::Relaxed) {
        // What is told while the page stands still is let go: counters go on where they are.
        told.try_iter().filter(|_| chosen.paused.is_none()).for_each(|told| board.take(told));
        let reading = board.reading(chosen.worker, chosen.paused.unwrap_or_else(Instant::now));
        let mut last = 0;
        screen.0.draw(|frame| last = view::draw(frame, &reading, chosen.scroll, chosen.paused.is_some(), paint))?;
        chosen.scroll = chosen.scroll.min(last);
        if event::poll(FRAME)?
            && let Event::Key(key) = event::read()?
            && chosen.press(key, board.workers()) == Go::Away
        {
            break;
        }
    }
    Ok(())
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Go {
    On,
    Away,
}

impl Chosen {
    fn press(&mut self, key: KeyEvent, workers: usize) -> Go {
        if key.kind == KeyEventKind::Release {
            return Go::On;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Go::Away,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Go::Away,
            KeyCode::Char(' ') => self.paused = if self.paused.is_some() { None } else { Some(Instant::now()) },
            KeyCode::Tab | KeyCode::Right => {
                self.worker =
                    self.worker.map_or(Some(0), |worker| worker.checked_add(1)).filter(|next| *next < workers);
            }
            KeyCode::BackTab | KeyCode::Left => {
                self.worker = self.worker.map_or(workers.checked_sub(1), |worker| worker.checked_sub(1));
            }
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Go::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose_pause_scroll_and_leave() {
        let mut chosen = Chosen::default();
        let mut press = |code: KeyCode| {
            let went = chosen.press(KeyEvent::new(code, KeyModifiers::NONE), 2);
            (went, chosen.worker, chosen.scroll, chosen.paused.is_some())
        };
        assert_eq!(press(KeyCode::Tab), (Go::On, Some(0), 0, false));
        assert_eq!(press(KeyCode::Right), (Go::On, Some(1), 0, false));
        assert_eq!(press(KeyCode::Tab), (Go::On, None, 0, false), "behind the last come all");
        assert_eq!(press(KeyCode::Left), (Go::On, Some(1), 0, false));
        assert_eq!(press(KeyCode::PageDown), (Go::On, Some(1), 10, false));
        assert_eq!(press(KeyCode::Up), (Go::On, Some(1), 9, false));
        assert_eq!(press(KeyCode::Char(' ')), (Go::On, Some(1), 9, true));
        assert_eq!(press(KeyCode::Char(' ')), (Go::On, Some(1), 9, false));
        assert_eq!(
            press(KeyCode::Char('c')),
            (Go::On, Some(1), 9, false),
            "without Control it is no more than a letter"
        );
        assert_eq!(press(KeyCode::Esc).0, Go::Away);
        assert_eq!(press(KeyCode::Char('q')).0, Go::Away);
        assert_eq!(chosen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), 2), Go::Away);
    }
}
