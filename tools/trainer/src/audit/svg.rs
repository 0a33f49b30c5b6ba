//! Line charts as inline SVG: nothing that a browser would have to fetch.

use std::fmt::Write as _;

use super::page::escaped;

const SIDE: f64 = 260.0;
const MARGIN: f64 = 42.0;
/// Told apart by people who do not see all colours (Okabe and Ito 2008), and by their dashes.
const STYLES: [(&str, &str); 4] = [("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 2"), ("#cc79a7", "8 2 2 2")];

/// A line.
pub(super) struct Series {
    pub(super) name: String,
    /// From 0 to 1 either way.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether the points themselves are drawn.
    pub(super) dots: bool,
}

/// A chart of lines, both axes from 0 to 1.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    /// The line from corner to corner.
    pub(super) diagonal: bool,
    pub(super) series: Vec<Series>,
}

impl Chart {
    pub(super) fn svg(&self) -> String {
        let legend = 16.0 * self.series.len() as f64;
        let (width, height) = (SIDE + MARGIN + 12.0, SIDE + MARGIN + 30.0 + legend);
        let x = |v: f64| MARGIN + v.clamp(0.0, 1.0) * SIDE;
        let y = |v: f64| 24.0 + (1.0 - v.clamp(0.0, 1.0)) * SIDE;
        let mut s = format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title)
        );
        let _ = write!(s, "<text x=\"{MARGIN}\" y=\"15\" class=\"title\">{}</text>", escaped(&self.title));
        for tick in 0..=5 {
            let v = f64::from(tick) / 5.0;
            let (px, py) = (x(v), y(v));
            let _ = write!(
                s,
                "<path d=\"M{px:.1} {:.1}V{:.1}M{:.1} {py:.1}H{:.1}\" class=\"grid\"/>\
                 <text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{v:.1}</text>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{v:.1}</text>",
                y(0.0),
                y(1.0),
                x(0.0),
                x(1.0),
                y(0.0) + 14.0,
                x(0.0) - 5.0,
                py + 4.0
            );
        }
        if self.diagonal {
            let _ =
                write!(s, "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" class=\"diagonal\"/>", x(0.0), y(0.0), x(1.0), y(1.0));
        }
        let _ = write!(
            s,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"11\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 11 {:.1})\">{}</text>",
            x(0.5),
            y(0.0) + 29.0,
            escaped(self.across),
            y(0.5),
            y(0.5),
            escaped(self.up)
        );
        for (number, series) in self.series.iter().enumerate() {
            let (colour, dashes) = STYLES[number % STYLES.len()];
            let mut path = String::new();
            for (i, (a, b)) in series.points.iter().enumerate() {
                let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, x(*a), y(*b));
            }
            let stroke = format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"");
            let _ = write!(s, "<path d=\"{path}\" fill=\"none\" stroke-width=\"2\" {stroke}/>");
            if series.dots {
                for (a, b) in &series.points {
                    let _ = write!(s, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b));
                }
            }
            let line = y(0.0) + 44.0 + 16.0 * number as f64;
            let _ = write!(
                s,
                "<path d=\"M{:.1} {:.1}h22\" stroke-width=\"2\" {stroke}/><text x=\"{:.1}\" y=\"{line:.1}\">{}</text>",
                x(0.0),
                line - 4.0,
                x(0.0) + 28.0,
                escaped(&series.name)
            );
        }
        s.push_str("</svg>");
        s
    }
}
