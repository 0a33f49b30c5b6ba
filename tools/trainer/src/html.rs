//! What pages that need nothing beside them are made of: their style, and small pictures as SVG text (axes, lines, bands,
//! points, and matrices of counts).

use std::fmt::Write as _;

/// The look of a page and of the pictures on it.
pub(crate) const STYLE: &str = "
:root{--ink:#1d2433;--soft:#5c667a;--line:#d9dee8;--ours:#1f5fa8;--band:#1f5fa8;--other:#b4541a;--bad:#b3261e;--good:#2c7a4b}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:#fff;margin:0 auto;max-width:1180px;
padding:28px 24px 60px}h1{font-size:25px;line-height:1.25;margin:0 0 6px}h2{font-size:19px;margin:38px 0 6px;padding-top:14px;
border-top:2px solid var(--ink)}h3{font-size:15px;margin:22px 0 6px}p{max-width:82ch;margin:6px 0 10px}.soft{color:var(--soft)}
.warn{border-left:4px solid var(--other);background:#fdf5ef;padding:8px 14px;max-width:92ch}
table{border-collapse:collapse;margin:8px 0 14px;font-size:14px}th,td{padding:4px 12px 4px 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}th{font-weight:600;border-bottom:1.5px solid var(--ink)}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums;white-space:nowrap}td small{color:var(--soft);display:block;font-size:12px}
tr.paper td{color:var(--soft)}.scroll{overflow-x:auto}.panels{display:flex;flex-wrap:wrap;gap:6px 10px}figure{margin:10px 0 16px}
figcaption{color:var(--soft);font-size:13px;max-width:92ch}svg{font-family:inherit}svg .title{font-size:12.5px;font-weight:600;
fill:var(--ink)}svg .tick{font-size:10px;fill:var(--soft)}svg .axis{font-size:11px;fill:var(--soft)}svg .note{font-size:11px;
fill:var(--ink);paint-order:stroke;stroke:#fff;stroke-width:3px}svg .grid{stroke:var(--line);stroke-width:1;fill:none}
svg .ours{stroke:var(--ours);stroke-width:1.8;fill:none}svg .other{stroke:var(--other);stroke-width:1.8;fill:none}
svg .fold{stroke:var(--ours);stroke-width:.7;opacity:.35;fill:none}svg .foldother{stroke:var(--other);stroke-width:.7;opacity:.35;fill:none}
svg .band{fill:var(--band);opacity:.18;stroke:none}svg .chance{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3;fill:none}
svg .dot.ours{fill:var(--ours);stroke:none}svg .dot.other{fill:var(--other);stroke:none}svg .dot.fold,svg .dot.foldother{stroke:none;opacity:.2}
svg .cell{fill:#fff;stroke:var(--line)}svg .hit{fill:var(--good)}svg .miss{fill:var(--bad)}svg .count{font-size:14px;font-weight:600}
svg text.dark{fill:var(--ink)}svg text.light{fill:#fff}ol li,ul li{max-width:88ch;margin:3px 0}code{font-size:13px;background:#f3f5f9;
padding:1px 4px}pre{background:#f3f5f9;padding:10px 12px;overflow-x:auto;font-size:13px}.key{display:inline-block;width:22px;
border-top:2px solid;vertical-align:middle;margin:0 4px 0 10px}
";

/// Side of a panel without its margins, in pixels.
const SIDE: f64 = 168.0;
const LEFT: f64 = 38.0;
const TOP: f64 = 22.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 36.0;

/// What is drawn into a panel.
pub(crate) enum Mark<'a> {
    /// Through points.
    Line { points: Vec<(f64, f64)>, class: &'a str },
    /// Between two lines over the same places: place, low, high.
    Band { points: Vec<(f64, f64, f64)>, class: &'a str },
    /// Points with intervals: place, value, low, high.
    Intervals { points: Vec<(f64, f64, f64, f64)>, class: &'a str },
}

/// A panel with two axes.
pub(crate) struct Panel<'a> {
    pub(crate) title: String,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) x_range: (f64, f64),
    pub(crate) y_range: (f64, f64),
    pub(crate) marks: Vec<Mark<'a>>,
    /// At the lower right, over the curves.
    pub(crate) note: String,
}

/// `text` safe inside HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Round steps that cut a range into at most five parts.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let span = (high - low).max(1e-12);
    let step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        .into_iter()
        .find(|step| span / step <= 5.0)
        .unwrap_or(span / 5.0);
    let first = (low / step - 1e-9).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|value| *value <= high + step * 1e-6).collect()
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

impl Panel<'_> {
    /// The picture.
    pub(crate) fn draw(&self) -> String {
        let at_x = |x: f64| LEFT + SIDE * ((x - self.x_range.0) / (self.x_range.1 - self.x_range.0)).clamp(0.0, 1.0);
        let at_y =
            |y: f64| TOP + SIDE * (1.0 - (y - self.y_range.0) / (self.y_range.1 - self.y_range.0)).clamp(0.0, 1.0);
        let (width, height) = (LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
             aria-label=\"{}\"><text class=\"title\" x=\"{LEFT}\" y=\"14\">{}</text>",
            escape(&format!("{}: {} against {}", self.title, self.y, self.x)),
            escape(&self.title)
        );
        for x in ticks(self.x_range) {
            let place = at_x(x);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{place:.1} {TOP}V{:.1}\"/><text class=\"tick\" x=\"{place:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                TOP + SIDE,
                TOP + SIDE + 12.0,
                number(x)
            );
        }
        for y in ticks(self.y_range) {
            let place = at_y(y);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {place:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT + SIDE,
                LEFT - 4.0,
                place + 3.0,
                number(y)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(10 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + SIDE / 2.0,
            TOP + SIDE + 27.0,
            escape(self.x),
            TOP + SIDE / 2.0,
            escape(self.y)
        );
        for mark in &self.marks {
            match mark {
                Mark::Line { points, class } => {
                    let path: Vec<String> =
                        points.iter().map(|(x, y)| format!("{:.1} {:.1}", at_x(*x), at_y(*y))).collect();
                    if path.len() == 1 {
                        let (x, y) = points[0];
                        let _ = write!(
                            svg,
                            "<circle class=\"{class} dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                            at_x(x),
                            at_y(y)
                        );
                    } else if !path.is_empty() {
                        let _ = write!(svg, "<path class=\"{class}\" d=\"M{}\"/>", path.join("L"));
                    }
                }
                Mark::Band { points, class } => {
                    let there = points.iter().map(|(x, low, _)| format!("{:.1} {:.1}", at_x(*x), at_y(*low)));
                    let back = points.iter().rev().map(|(x, _, high)| format!("{:.1} {:.1}", at_x(*x), at_y(*high)));
                    let path: Vec<String> = there.chain(back).collect();
                    if !path.is_empty() {
                        let _ = write!(svg, "<path class=\"{class}\" d=\"M{}Z\"/>", path.join("L"));
                    }
                }
                Mark::Intervals { points, class } => {
                    for (x, y, low, high) in points {
                        let _ = write!(
                            svg,
                            "<path class=\"{class}\" d=\"M{x:.1} {:.1}V{:.1}\"/><circle class=\"{class} dot\" cx=\"{x:.1}\" \
                             cy=\"{:.1}\" r=\"2.5\"/>",
                            at_y(*low),
                            at_y(*high),
                            at_y(*y),
                            x = at_x(*x)
                        );
                    }
                }
            }
        }
        let _ = write!(
            svg,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
            LEFT + SIDE - 5.0,
            TOP + SIDE - 7.0,
            escape(&self.note)
        );
        svg
    }
}

/// Counts by predicted (rows) and actual class (columns), shaded by their share of the column.
pub(crate) fn matrix(title: &str, counts: &[[usize; 3]; 3]) -> String {
    const CELL: f64 = 56.0;
    const NAMES: [&str; 3] = ["Covid-19", "pneumonia", "normal"];
    let (left, top) = (78.0, 44.0);
    let (width, height) = (left + 3.0 * CELL + 6.0, top + 3.0 * CELL + 6.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Confusion matrix of {title}\"><text class=\"title\" x=\"{left}\" y=\"14\">{title}</text>\
         <text class=\"axis\" x=\"{:.1}\" y=\"27\" text-anchor=\"middle\">actual</text>\
         <text class=\"axis\" transform=\"translate(10 {:.1}) rotate(-90)\" text-anchor=\"middle\">predicted</text>",
        left + 1.5 * CELL,
        top + 1.5 * CELL,
        title = escape(title)
    );
    for (actual, name) in NAMES.iter().enumerate() {
        let centre = left + (actual as f64 + 0.5) * CELL;
        let _ = write!(svg, "<text class=\"tick\" x=\"{centre:.1}\" y=\"39\" text-anchor=\"middle\">{name}</text>");
    }
    for (predicted, row) in counts.iter().enumerate() {
        let y = top + predicted as f64 * CELL;
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 4.0,
            y + CELL / 2.0 + 3.0,
            NAMES[predicted]
        );
        for (actual, count) in row.iter().enumerate() {
            let x = left + actual as f64 * CELL;
            let of: usize = counts.iter().map(|row| row[actual]).sum();
            let share = *count as f64 / of.max(1) as f64;
            let kind = if predicted == actual { "hit" } else { "miss" };
            let ink = if share > 0.55 { "light" } else { "dark" };
            let _ = write!(
                svg,
                "<rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CELL}\" height=\"{CELL}\"/>\
                 <rect class=\"{kind}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CELL}\" height=\"{CELL}\" fill-opacity=\"{share:.3}\"/>\
                 <text class=\"count {ink}\" x=\"{cx:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{count}</text>\
                 <text class=\"tick {ink}\" x=\"{cx:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} %</text>",
                y + CELL / 2.0,
                y + CELL / 2.0 + 14.0,
                100.0 * share,
                cx = x + CELL / 2.0
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((1.0, 10.0)), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(number(0.6000000000000001), "0.6");
        assert_eq!(number(10.0), "10");
    }

    #[test]
    fn what_is_written_into_a_picture_cannot_break_it() {
        let panel = Panel {
            title: "<b> & \"c\"".into(),
            x: "x",
            y: "y",
            x_range: (0.0, 1.0),
            y_range: (0.0, 1.0),
            marks: vec![Mark::Line { points: vec![(0.0, 2.0), (1.0, 0.5)], class: "a" }],
            note: String::new(),
        };
        let svg = panel.draw();
        assert!(svg.contains("&lt;b&gt; &amp; &quot;c&quot;") && !svg.contains("<b>"), "{svg}");
        // Beyond the range is at its edge.
        assert!(svg.contains(&format!("M{LEFT}.0 {TOP}.0L")), "{svg}");
    }
}
