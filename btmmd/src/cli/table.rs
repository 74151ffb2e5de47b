//! Aligned columns, and colour where a terminal shows it.

use super::words::printable;

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Not as it should be.
    Bad,
    /// A heading.
    Heading,
}

impl Paint {
    /// `text`, coloured when allowed.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
            Tone::Heading => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Rows under headings. Columns are two spaces apart and as wide as their widest cell; the last one is not padded.
#[derive(Debug)]
pub struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    pub fn new(headings: [&'static str; N]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row at the bottom.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The lines, each ended.
    pub fn render(&self, paint: Paint) -> String {
        let headings = self.headings.map(str::to_owned);
        let mut widths = [0; N];
        for row in self.rows.iter().chain([&headings]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = paint.tone(Tone::Heading, &line(&headings, &widths)) + "\n";
        for row in &self.rows {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

/// Names and values under each other, the values aligned. A value of several lines is indented.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters_and_lines_end_without_spaces() {
        let mut table = Table::new(["NAME", "N", "LAST"]);
        table.row(["é".to_owned(), "12345".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "1".to_owned(), "x".to_owned()]);
        assert_eq!(table.render(Paint(false)), "NAME    N      LAST\né       12345\nlonger  1      x\n");
    }

    #[test]
    fn cells_cannot_bring_their_own_escapes() {
        let mut table = Table::new(["NAME"]);
        table.row(["\u{1b}[31m".to_owned()]);
        assert!(!table.render(Paint(false)).contains('\u{1b}'));
    }
}
