//! Pictures: lines over the number of people, both axes in powers of ten, as SVG (1.1) that needs nothing else.

use std::fmt::Write as _;

/// A line: its name, and its points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
/// Left, top, right, bottom.
const ROOM: [f64; 4] = [70.0, 48.0, 150.0, 46.0];
/// Told apart without colours, too, by their dashes.
const STROKES: [(&str, &str); 4] =
    [("#0b5fa5", ""), ("#b3400f", "7 4"), ("#3a7d1f", "2 3"), ("#6b3fa0", "10 3 2 3")];

/// A picture of these lines.
pub(crate) fn chart(title: &str, across: &str, up: &str, lines: &[Line]) -> String {
    let of = |axis: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flat_map(|line| &line.points).map(axis);
        let (least, most) =
            all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), n| (low.min(n), high.max(n)));
        let (least, most) = (least.max(0.01).log10().floor(), most.max(0.1).log10().ceil());
        (least, if most > least { most } else { least + 1.0 })
    };
    let (x, y) = (of(|point| point.0), of(|point| point.1));
    let [left, top, right, bottom] = ROOM;
    let place = |(low, high): (f64, f64), n: f64, span: f64| {
        (n.max(0.01).log10() - low) / (high - low) * span
    };
    let (wide, high) = (WIDTH - left - right, HEIGHT - top - bottom);
    let at = |point: &(f64, f64)| {
        (left + place(x, point.0, wide), HEIGHT - bottom - place(y, point.1, high))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\" aria-label=\"{title}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"26\" font-size=\"16\">{title}</text>\n"
    );
    for power in powers(x) {
        let (at, _) = at(&(power, 1.0));
        line(&mut svg, (at, top), (at, HEIGHT - bottom));
        text(&mut svg, (at, HEIGHT - bottom + 18.0), "middle", &number(power));
    }
    for power in powers(y) {
        let (_, at) = at(&(1.0, power));
        line(&mut svg, (left, at), (left + wide, at));
        text(&mut svg, (left - 8.0, at + 4.0), "end", &number(power));
    }
    text(&mut svg, (left + wide / 2.0, HEIGHT - 8.0), "middle", across);
    text(&mut svg, (left, top - 6.0), "start", up);
    for (nth, line) in lines.iter().enumerate() {
        let (colour, dashes) = STROKES[nth % STROKES.len()];
        let points: Vec<String> =
            line.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" \
             stroke-dasharray=\"{dashes}\"/>",
            points.join(" ")
        );
        if let Some((x, y)) = line.points.last().map(at) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
                x + 8.0,
                y + 4.0,
                line.name
            );
        }
    }
    svg + "</svg>\n"
}

fn powers((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    let count = (high - low).round().clamp(0.0, 12.0) as i32;
    (0..=count).map(move |n| 10f64.powi(low as i32 + n))
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#333\">{words}</text>",
        at.0, at.1
    );
}

fn number(n: f64) -> String {
    if n < 1.0 { format!("{n}") } else { format!("{n:.0}") }
}
