//! Draws a [`Reading`]: a page of panels as wide as the terminal and as high as it needs to be, of which a terminal shows a part
//! and plain text all. Colour only repeats what words and bars say.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Sparkline, Table, Widget};

use super::figures::Reading;
use super::sections;

/// From so many columns on panels stand side by side.
const WIDE: u16 = 100;
/// Columns that are drawn at least: on a narrower terminal lines are cut.
const NARROWEST: u16 = 60;
/// Rows above the panels.
const HEAD: u16 = 2;
const KEYS: &str = " q quit   space pause   tab or ←→ worker   ↑↓ scroll";

/// Which styles there are.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// With or without colour.
    pub const fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn with(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }

    /// Of bars and curves.
    pub fn bar(self) -> Style {
        self.with(Color::Cyan, Modifier::empty())
    }

    /// Of what is well.
    pub fn good(self) -> Style {
        self.with(Color::Green, Modifier::empty())
    }

    /// Of what somebody should see to.
    pub fn bad(self) -> Style {
        self.with(Color::Red, Modifier::BOLD)
    }

    /// Of titles.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of headers and remarks.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// A framed part of the page.
pub(super) struct Panel {
    /// On its frame.
    pub title: Line<'static>,
    /// Rows within the frame.
    pub rows: u16,
    /// What is drawn there.
    pub body: Body,
}

/// What a panel holds.
pub(super) enum Body {
    /// Rows of cells.
    Table(Table<'static>),
    /// A curve.
    Curve(Sparkline<'static>),
}

impl Panel {
    fn height(&self) -> u16 {
        self.rows.saturating_add(2)
    }

    fn draw(self, area: Rect, buffer: &mut Buffer) {
        let block = Block::bordered().title(self.title);
        match self.body {
            Body::Table(table) => Widget::render(table.block(block), area, buffer),
            Body::Curve(curve) => curve.block(block).render(area, buffer),
        }
    }
}

/// The whole page.
pub fn page(reading: &Reading, width: u16, paint: Paint) -> Buffer {
    let width = width.max(NARROWEST);
    let bands = bands(reading, width, paint);
    let heights: Vec<u16> = bands.iter().map(|band| band.iter().map(Panel::height).max().unwrap_or(0)).collect();
    let height = heights.iter().fold(HEAD, |sum, height| sum.saturating_add(*height));
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    Paragraph::new(sections::head(reading, paint)).render(Rect::new(0, 0, width, HEAD), &mut buffer);
    let mut top = HEAD;
    for (band, height) in bands.into_iter().zip(heights) {
        let area = Rect::new(0, top, width, height).intersection(buffer.area);
        let parts = Layout::horizontal(vec![Constraint::Fill(1); band.len()]).split(area);
        for (panel, area) in band.into_iter().zip(parts.iter()) {
            panel.draw(*area, &mut buffer);
        }
        top = top.saturating_add(height);
    }
    buffer
}

/// Panels that stand side by side where there is room, from above.
fn bands(reading: &Reading, width: u16, paint: Paint) -> Vec<Vec<Panel>> {
    let half = if width >= WIDE { width / 2 } else { width };
    let bands = vec![
        vec![sections::workers(reading, paint)],
        sections::complaints(reading, paint).into_iter().collect(),
        vec![sections::throughput(reading, paint), sections::trend(reading, half, paint)],
        vec![sections::lag(reading, paint), sections::limits(reading, paint)],
        vec![sections::stages(reading, width, paint)],
        vec![sections::dead_letters(reading, paint)],
        vec![sections::sentiment(reading, half, paint), sections::troubles(reading, paint)],
    ];
    if width >= WIDE { bands } else { bands.into_iter().flatten().map(|panel| vec![panel]).collect() }
}

/// What of the page a terminal shows: from row `scroll` on, above a line that tells the keys. Returns the last row that it makes
/// sense to scroll to.
pub fn draw(frame: &mut Frame<'_>, reading: &Reading, scroll: u16, is_paused: bool, paint: Paint) -> u16 {
    let area = frame.area();
    let page = page(reading, area.width, paint);
    let shown = area.height.saturating_sub(1);
    let last = page.area.height.saturating_sub(shown);
    let scroll = scroll.min(last);
    let buffer = frame.buffer_mut();
    for (x, y) in (0..shown).flat_map(|y| (0..area.width).map(move |x| (x, y))) {
        if let (Some(from), Some(to)) = (page.cell((x, y + scroll)), buffer.cell_mut((x, y))) {
            *to = from.clone();
        }
    }
    let more = if scroll < last { "   more below" } else { "" };
    let (state, style) = if is_paused { ("   PAUSED", paint.title()) } else { ("", paint.quiet()) };
    let line = Line::styled(format!("{KEYS}{more}{state}"), style);
    Paragraph::new(line).render(Rect::new(0, shown, area.width, 1).intersection(area), buffer);
    last
}

/// The page as plain text.
pub fn text(page: &Buffer) -> String {
    let width = usize::from(page.area.width.max(1));
    let row = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    page.content().chunks(width).map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
}
