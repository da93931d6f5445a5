//! Plots of curves, as SVG and PNG.

use crate::failure::{Failure, Kind, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::sync::OnceLock;

/// A plot: panels side by side, which share their legend and the range of the vertical axis.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Its title.
    pub title: String,
    /// The horizontal axis.
    pub x: String,
    /// The vertical axis.
    pub y: String,
    /// Whether both axes are logarithmic; values must then be above 0.
    pub logarithmic: bool,
    /// The panels.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// Its curves.
    pub curves: Vec<Curve>,
}

/// A curve.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// Its name in the legend. Curves of one name have one colour.
    pub name: String,
    /// Its points: horizontal place, value and standard deviation.
    pub points: Vec<(f64, f64, f64)>,
}

/// Colours that people with any colour vision can distinguish (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(148, 148, 148),
];

/// Pixels.
const PANEL: (u32, u32) = (340, 320);
const TITLE: u32 = 34;
const LEGEND_LINE: u32 = 20;
const FONT: &str = "sans-serif";

impl Plot {
    /// The plot as SVG.
    ///
    /// # Errors
    /// None in practice.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, self.size()).into_drawing_area())?;
        Ok(text)
    }

    /// The plot as PNG.
    ///
    /// # Errors
    /// None in practice.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut pixels = vec![0u8; (width * height * 3) as usize];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|error| Failure::new(Kind::Bug, format!("a plot as PNG: {error}")))?;
        Ok(bytes)
    }

    /// The names of all curves, each once.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for curve in self.panels.iter().flat_map(|panel| &panel.curves) {
            if !names.contains(&curve.name.as_str()) {
                names.push(&curve.name);
            }
        }
        names
    }

    fn size(&self) -> (u32, u32) {
        let columns = self.columns();
        let lines = (self.names().len() as u32).div_ceil(columns);
        (PANEL.0 * columns, TITLE + PANEL.1 + LEGEND_LINE * lines + 10)
    }

    /// The columns of panels, and of the legend below them.
    fn columns(&self) -> u32 {
        self.panels.len().max(2) as u32
    }

    /// The place of a value on an axis.
    fn place(&self, value: f64) -> f64 {
        if self.logarithmic { value.log10() } else { value }
    }

    /// The ranges of both axes over all panels, a little wider than the points.
    fn ranges(&self) -> [(f64, f64); 2] {
        let all = || self.panels.iter().flat_map(|p| &p.curves).flat_map(|curve| &curve.points);
        let points = || all().map(|&(x, y, std)| (self.place(x), self.place(y), std));
        let range = |values: &mut dyn Iterator<Item = f64>, least: f64| {
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            values.filter(|value| value.is_finite()).for_each(|value| {
                (low, high) = (low.min(value), high.max(value));
            });
            if low > high {
                return (0.0, 1.0);
            }
            let margin = (0.05 * (high - low)).max(least);
            (low - margin, high + margin)
        };
        let xs = range(&mut points().map(|(x, ..)| x), 1e-3);
        let ys = range(&mut points().flat_map(|(_, y, std)| [y - std, y + std]), 5e-3);
        [xs, ys]
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        font();
        self.try_draw(area).map_err(|error| Failure::new(Kind::Bug, format!("a plot: {error}")))
    }

    fn try_draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        let names = self.names();
        area.draw_text(&self.title, &(FONT, 18).into_text_style(area), (12, 8))?;
        let [(left, right), (low, high)] = self.ranges();
        let width = self.size().0 / self.panels.len().max(1) as u32;
        for (number, panel) in self.panels.iter().enumerate() {
            let corner = (number as i32 * width as i32, TITLE as i32);
            let place = area.clone().shrink(corner, (width, PANEL.1));
            let mut chart = ChartBuilder::on(&place)
                .caption(&panel.title, (FONT, 15))
                .margin(8)
                .x_label_area_size(38)
                .y_label_area_size(48)
                .build_cartesian_2d(left..right, low..high)?;
            let power = |exponent: &f64| match 10f64.powf(*exponent) {
                value if value < 9.95 => format!("{value:.2}"),
                value => format!("{value:.0}"),
            };
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(&self.x).y_desc(&self.y).x_labels(6).y_labels(8);
            mesh.label_style((FONT, 12)).light_line_style(WHITE);
            if self.logarithmic {
                mesh.x_label_formatter(&power).y_label_formatter(&power);
            }
            mesh.draw()?;
            for curve in &panel.curves {
                let place = names.iter().position(|name| *name == curve.name).unwrap_or(0);
                let colour = COLOURS[place % COLOURS.len()];
                let line = curve.points.iter().map(|&(x, y, _)| (self.place(x), self.place(y)));
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
                let bars = curve.points.iter().filter(|(_, _, std)| *std > 0.0);
                chart.draw_series(bars.map(|&(x, y, std)| {
                    let [x, low, high] = [x, y - std, y + std].map(|value| self.place(value));
                    PathElement::new([(x, low), (x, high)], colour.mix(0.5))
                }))?;
                let marks = curve
                    .points
                    .iter()
                    .map(|&(x, y, _)| mark((self.place(x), self.place(y)), place, colour));
                chart.draw_series(marks)?;
            }
        }
        let top = (TITLE + PANEL.1) as i32;
        for (place, name) in names.iter().enumerate() {
            let (line, column) = (place as u32 / self.columns(), place as u32 % self.columns());
            let (x, y) = ((column * PANEL.0) as i32, top + 4 + (line * LEGEND_LINE) as i32);
            let colour = COLOURS[place % COLOURS.len()];
            area.draw(&PathElement::new(
                [(x + 16, y + 8), (x + 44, y + 8)],
                colour.stroke_width(2),
            ))?;
            area.draw(&mark((x + 30, y + 8), place, colour))?;
            area.draw_text(name, &(FONT, 13).into_text_style(area), (x + 52, y + 1))?;
        }
        area.present()
    }
}

/// The mark of a curve's points: its form changes with every round of colours.
fn mark<C: Clone + Send + Sync + 'static, B: DrawingBackend>(
    at: C,
    place: usize,
    colour: RGBColor,
) -> plotters::element::DynElement<'static, B, C> {
    match (place / COLOURS.len()) % 3 {
        0 => Circle::new(at, 3, colour.filled()).into_dyn(),
        1 => TriangleMarker::new(at, 5, colour.filled()).into_dyn(),
        _ => Cross::new(at, 4, colour.stroke_width(2)).into_dyn(),
    }
}

/// Registers the font, once. It comes with the program: a machine without fonts makes the same picture.
fn font() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        // A font that cannot be read leaves a plot without text; the test below would fail.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let curve = |name: &str, slope: f64| Curve {
            name: name.into(),
            points: (0..5)
                .map(|i| (0.25 * f64::from(i), 0.8 - slope * f64::from(i), 0.01))
                .collect(),
        };
        let panel = |title: &str| Panel {
            title: title.into(),
            curves: vec![curve("MPUC, zeros", 0.05), curve("VAVL", 0.02)],
        };
        Plot {
            title: "Accuracy".into(),
            x: "share of samples without the modality".into(),
            y: "accuracy".into(),
            logarithmic: false,
            panels: vec![panel("voice"), panel("faces")],
        }
    }

    #[test]
    fn both_pictures_hold_curves_and_text() -> Result<()> {
        let plot = plot();
        let svg = plot.svg()?;
        for text in ["MPUC, zeros", "VAVL", "voice", "faces", "share of samples"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.trim_end().ends_with("</svg>"));
        let bytes = plot.png()?;
        let decoder = png::Decoder::new(std::io::Cursor::new(&bytes));
        let mut reader = decoder.read_info().map_err(|e| Failure::new(Kind::Bug, e))?;
        let mut pixels = vec![0; reader.output_buffer_size().unwrap_or(0)];
        reader.next_frame(&mut pixels).map_err(|e| Failure::new(Kind::Bug, e))?;
        let count = |colour: RGBColor| {
            pixels.chunks(3).filter(|p| p == &[colour.0, colour.1, colour.2]).count()
        };
        assert!(count(COLOURS[0]) > 200 && count(COLOURS[1]) > 200);
        // The title's letters are dark on white.
        let title = pixels[..reader.info().width as usize * 3 * TITLE as usize].chunks(3);
        assert!(title.filter(|p| p.iter().all(|&v| v < 90)).count() > 30);
        assert_eq!(plot.png()?, bytes);
        Ok(())
    }

    #[test]
    fn plots_without_points_are_drawn() -> Result<()> {
        let mut plot = plot();
        plot.panels[0].curves[0].points.clear();
        plot.panels.truncate(1);
        plot.svg()?;
        Plot::default().svg().map(drop)
    }
}
