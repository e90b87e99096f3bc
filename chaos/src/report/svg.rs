//! What the drawings of the page share: scales, ticks, paths, and the hatches that tell areas apart without colours.

use std::fmt::Write as _;

use maud::{Markup, html};

/// How wide the timeline is, in its own units, which are pixels on a wide screen.
pub(super) const WIDTH: f64 = 1160.0;

/// Where its time axis begins: names and ticks are left of it.
pub(super) const LEFT: f64 = 156.0;

/// Where its time axis ends.
pub(super) const RIGHT: f64 = 1150.0;

/// Maps numbers to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Scale {
    /// `from` lies at `begin` and `to` at `end`.
    pub(super) fn new((from, to): (f64, f64), (begin, end): (f64, f64)) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, begin, end }
    }

    /// Where `number` lies; what is outside lies at the border.
    pub(super) fn at(&self, number: f64) -> f64 {
        let share = ((number - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        px(self.begin + share * (self.end - self.begin))
    }
}

/// A tenth of a pixel is as fine as anybody sees, and short to write.
pub(super) fn px(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// Some `about` round numbers from 0 to `until`.
pub(super) fn ticks(until: f64, about: f64) -> Vec<f64> {
    if !(until > 0.0 && until.is_finite()) {
        return vec![0.0];
    }
    let rough = until / about;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(magnitude * 10.0);
    (0..=(until / step * 1.000_001) as u64).map(|count| count as f64 * step).collect()
}

/// The label of a tick: no more decimals than it needs.
pub(super) fn tick(number: f64) -> String {
    let rounded = (number * 1000.0).round() / 1000.0;
    rounded.to_string()
}

/// A line that keeps each height for the whole of its step, and is broken where there is none.
pub(super) fn steps(edges: impl Iterator<Item = (f64, f64, Option<f64>)>) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (from, to, height) in edges {
        match height {
            Some(height) if drawing => write!(path, "V{height}H{to}"),
            Some(height) => write!(path, "M{from} {height}H{to}"),
            None => Ok(()),
        }
        .expect("a string takes all that is written");
        drawing = height.is_some();
    }
    path
}

/// A line from point to point.
pub(super) fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let verb = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{verb}{x} {y}").expect("a string takes all that is written");
    }
    path
}

/// The hatches, once a page; drawings name them by `url(#hatch)` and `url(#dots)`.
pub(super) fn hatches() -> Markup {
    html! {
        svg.hidden width="0" height="0" aria-hidden="true" {
            defs {
                pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.ground width="6" height="6" {}
                    rect.stroke width="2.5" height="6" {}
                }
                pattern #dots width="5" height="5" patternUnits="userSpaceOnUse" {
                    rect.ground width="5" height="5" {}
                    circle.stroke cx="2.5" cy="2.5" r="1.2" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_stay_inside() {
        assert_eq!(ticks(10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(123.0, 5.0), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(0.0, 5.0), [0.0]);
        assert_eq!(ticks(f64::NAN, 5.0), [0.0]);
    }

    #[test]
    fn a_line_of_steps_is_broken_where_there_is_nothing() {
        let edges = [(0.0, 1.0, Some(5.0)), (1.0, 2.0, Some(6.0)), (2.0, 3.0, None), (3.0, 4.0, Some(7.0))];
        assert_eq!(steps(edges.into_iter()), "M0 5H1V6H2M3 7H4");
    }

    #[test]
    fn what_is_outside_the_scale_lies_at_its_border() {
        let scale = Scale::new((0.0, 10.0), (100.0, 200.0));
        assert_eq!([-1.0, 5.0, 99.0].map(|number| scale.at(number)), [100.0, 150.0, 200.0]);
        assert!(Scale::new((0.0, 0.0), (0.0, 1.0)).at(0.0).is_finite());
    }
}
